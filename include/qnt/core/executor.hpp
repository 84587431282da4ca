// How work is spread over threads: the library asks, the caller's executor answers. No thread is ever started behind its back.
#pragma once
#include <concepts>
#include <memory>
#include <type_traits>
#include <utility>

#include "config.hpp"

namespace qnt {

// A borrowed callable void(begin, end) for a range of work items.
class range_function {
public:
    template <class F>
        requires(!std::same_as<std::remove_cvref_t<F>, range_function> && std::invocable<F&, std::size_t, std::size_t>)
    range_function(F&& f)
        : object_(const_cast<void*>(static_cast<const void*>(std::addressof(f)))),
          call_([](void* o, std::size_t begin, std::size_t end) { (*static_cast<std::remove_reference_t<F>*>(o))(begin, end); }) {}
    void operator()(std::size_t begin, std::size_t end) const { call_(object_, begin, end); }

private:
    void* object_;
    void (*call_)(void*, std::size_t, std::size_t);
};

// parallel_for(n, grain, f) calls f on disjoint ranges that cover [0, n), each (but the last) a multiple of `grain` items,
// from any threads in any order, and returns when all are done. size() is how many threads may run at once.
template <class E>
concept executor = requires(E& e, std::size_t n, range_function f) {
    { e.size() } -> std::convertible_to<std::size_t>;
    e.parallel_for(n, n, f);
};

// Runs everything on the calling thread.
struct serial {
    static constexpr std::size_t size() { return 1; }
    static void parallel_for(std::size_t n, std::size_t, range_function f) {
        if (n) f(0, n);
    }
};

// Any executor by reference; the default is serial. The executor must outlive it.
class executor_ref {
public:
    executor_ref() : executor_ref(instance_) {}
    template <class E>
        requires(!std::same_as<std::remove_cvref_t<E>, executor_ref> && executor<E>)
    executor_ref(E& e)
        : object_(const_cast<void*>(static_cast<const void*>(std::addressof(e)))),
          size_([](void* o) { return std::size_t(static_cast<E*>(o)->size()); }),
          run_([](void* o, std::size_t n, std::size_t grain, range_function f) { static_cast<E*>(o)->parallel_for(n, grain, f); }) {}

    std::size_t size() const { return size_(object_); }
    void parallel_for(std::size_t n, std::size_t grain, range_function f) const { run_(object_, n, grain, f); }

private:
    static inline serial instance_{};
    void* object_;
    std::size_t (*size_)(void*);
    void (*run_)(void*, std::size_t, std::size_t, range_function);
};

}  // namespace qnt
