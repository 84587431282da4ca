// Every allocation of a piece of work refused in turn. One source of a test program includes this: it replaces the global operators.
//
//     test::refuse_every_allocation({"parse_json", [] { return drop(qnt::parse_json(text)); }}, [] { CHECK(folder.files() == 0); });
#pragma once
#include <qnt/core/error.hpp>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <new>

#include "catch.hpp"

// The global operators of this program count and refuse while a budget of this thread says so; else they are those of the system.
namespace test {

struct allocation_budget {
    std::size_t refused_at = 0;  // the how manieth allocation is refused; 0: none, and nothing is counted
    bool and_later = false;      // all after it too
    std::size_t asked = 0;
    std::ptrdiff_t live = 0;
};
inline thread_local allocation_budget* budget = nullptr;

inline void* allocate(std::size_t bytes, std::size_t alignment) noexcept {
    if (budget && ++budget->asked >= budget->refused_at && (budget->asked == budget->refused_at || budget->and_later)) return nullptr;
    void* p = nullptr;
    if (::posix_memalign(&p, std::max(alignment, sizeof(void*)), bytes) != 0) return nullptr;
    if (budget) ++budget->live;
    return p;
}
inline void* allocate_or_throw(std::size_t bytes, std::size_t alignment) {
    if (void* p = allocate(bytes, alignment)) return p;
    throw std::bad_alloc();
}
inline void release(void* p) noexcept {
    if (p && budget) --budget->live;
    std::free(p);
}
inline constexpr std::size_t usual = __STDCPP_DEFAULT_NEW_ALIGNMENT__;

}  // namespace test

void* operator new(std::size_t n) { return test::allocate_or_throw(n, test::usual); }
void* operator new[](std::size_t n) { return test::allocate_or_throw(n, test::usual); }
void* operator new(std::size_t n, std::align_val_t a) { return test::allocate_or_throw(n, std::size_t(a)); }
void* operator new[](std::size_t n, std::align_val_t a) { return test::allocate_or_throw(n, std::size_t(a)); }
void* operator new(std::size_t n, const std::nothrow_t&) noexcept { return test::allocate(n, test::usual); }
void* operator new[](std::size_t n, const std::nothrow_t&) noexcept { return test::allocate(n, test::usual); }
void* operator new(std::size_t n, std::align_val_t a, const std::nothrow_t&) noexcept { return test::allocate(n, std::size_t(a)); }
void* operator new[](std::size_t n, std::align_val_t a, const std::nothrow_t&) noexcept { return test::allocate(n, std::size_t(a)); }
void operator delete(void* p) noexcept { test::release(p); }
void operator delete[](void* p) noexcept { test::release(p); }
void operator delete(void* p, std::size_t) noexcept { test::release(p); }
void operator delete[](void* p, std::size_t) noexcept { test::release(p); }
void operator delete(void* p, std::align_val_t) noexcept { test::release(p); }
void operator delete[](void* p, std::align_val_t) noexcept { test::release(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { test::release(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { test::release(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { test::release(p); }
void operator delete[](void* p, const std::nothrow_t&) noexcept { test::release(p); }
void operator delete(void* p, std::align_val_t, const std::nothrow_t&) noexcept { test::release(p); }
void operator delete[](void* p, std::align_val_t, const std::nothrow_t&) noexcept { test::release(p); }

namespace test {

// Takes and gives back all of its memory inside the call.
struct operation {
    const char* name;
    std::function<qnt::result<void>()> run;
};

enum class outcome { ok, out_of_memory, other };

inline outcome run_with(allocation_budget& b, const operation& op) {
    budget = &b;
    outcome o = outcome::other;
    try {
        const auto r = op.run();
        o = r ? outcome::ok : r.error().code == qnt::errc::out_of_memory ? outcome::out_of_memory : outcome::other;
    } catch (const std::bad_alloc&) {
        o = outcome::out_of_memory;
    }
    budget = nullptr;
    return o;
}

// after_failure() says whether nothing is left of it, after_success() clears away what is.
inline void refuse_every_allocation(
    const operation& op, const std::function<bool()>& after_failure = [] { return true; }, const std::function<void()>& after_success = [] {}) {
    INFO(op.name);
    allocation_budget all;
    all.refused_at = ~std::size_t{0};
    REQUIRE(run_with(all, op) == outcome::ok);  // and what is made once per program is made
    after_success();
    std::size_t refused = 0, failures = 0;
    for (const bool and_later : {false, true}) {
        for (std::size_t n = 1;; ++n) {
            allocation_budget b{n, and_later};
            const outcome o = run_with(b, op);
            const bool is_over = b.asked < n;
            const bool is_good = o == (is_over ? outcome::ok : outcome::out_of_memory) && b.live == 0 && (is_over || after_failure());
            if (!is_good) {
                INFO("allocation " << n << " of " << all.asked << (and_later ? " and all later" : "") << ": outcome " << int(o) << ", " << b.live
                                   << " allocations live");
                CHECK(is_good);
                if (++failures == 5) return;
            }
            if (is_over) break;
            ++refused;
        }
        after_success();
    }
    CHECK(refused >= 2);
}

}  // namespace test
