// The two kinds of errors.
//
// What the outside world and the data can do (files, numbers, unsupported requests) is a value: result<T>, whose error names the
// file, tensor, field or element. Mistakes of the calling program (shapes that do not fit) are contract violations: checked in O(1),
// always, before any output is touched, and thrown as contract_error; built without exceptions they go to a replaceable handler.
#pragma once
#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include "config.hpp"

namespace qnt {

enum class errc {
    invalid_argument,  // an option or a shape that cannot work
    not_finite,        // NaN or infinity where numbers are needed
    scale_range,       // a scale that its type cannot hold
    unsupported,       // asked for something this machine or this format cannot do
    not_found,         // no such name, file or rule
    io,                // the operating system refused
    corrupt,           // the bytes of a file are not what they should be
    cancelled,         // the caller's progress callback said stop
    out_of_memory,
};

struct error {
    errc code;
    std::string message;
};

class exception : public std::runtime_error {
public:
    explicit exception(const error& e) : std::runtime_error(e.message), code_(e.code) {}
    errc code() const noexcept { return code_; }

private:
    errc code_;
};

class contract_error : public std::logic_error {
public:
    using std::logic_error::logic_error;
};

// Called instead of throwing when exceptions are off. It must not return. Default: std::terminate.
using failure_handler = void (*)(const char* message);
inline failure_handler on_failure = nullptr;

namespace detail {
inline namespace QNT_BASELINE {
[[noreturn]] inline void fail_without_exceptions(const char* message) {
    if (on_failure) on_failure(message);
    std::terminate();
}
[[noreturn]] QNT_NOINLINE inline void contract_violation(const std::string& message) {
#if QNT_EXCEPTIONS
    throw contract_error(message);
#else
    fail_without_exceptions(message.c_str());
#endif
}
[[noreturn]] QNT_NOINLINE inline void throw_error(const error& e) {
#if QNT_EXCEPTIONS
    throw exception(e);
#else
    fail_without_exceptions(e.message.c_str());
#endif
}
[[noreturn]] QNT_NOINLINE inline void out_of_memory() {
#if QNT_EXCEPTIONS
    throw std::bad_alloc();
#else
    fail_without_exceptions("qnt: out of memory");
#endif
}
}  // namespace QNT_BASELINE
}  // namespace detail

// T or an error. value() throws qnt::exception when there is no T. T must not throw when it is moved.
template <class T> class [[nodiscard]] result {
public:
    result(T value) noexcept : has_value_(true) { ::new (&value_) T(std::move(value)); }
    result(qnt::error e) noexcept : has_value_(false) { ::new (&error_) qnt::error(std::move(e)); }
    result(result&& other) noexcept : has_value_(other.has_value_) { construct(std::move(other)); }
    result(const result& other)
        requires std::is_copy_constructible_v<T>
        : has_value_(other.has_value_) {
        construct(other);
    }
    result& operator=(result other) noexcept {
        destroy();
        has_value_ = other.has_value_;
        construct(std::move(other));
        return *this;
    }
    ~result() { destroy(); }

    bool has_value() const noexcept { return has_value_; }
    explicit operator bool() const noexcept { return has_value_; }

    T& value() & { return check(), value_; }
    const T& value() const& { return check(), value_; }
    T&& value() && { return check(), std::move(value_); }
    T& operator*() & { return value(); }
    const T& operator*() const& { return value(); }
    T* operator->() { return &value(); }
    const T* operator->() const { return &value(); }
    const qnt::error& error() const {
        if (has_value_) detail::contract_violation("result::error(): there is a value, not an error");
        return error_;
    }

private:
    void check() const {
        if (!has_value_) detail::throw_error(error_);
    }
    template <class Other> void construct(Other&& other) {
        if (has_value_) ::new (&value_) T(std::forward<Other>(other).value_);
        else ::new (&error_) qnt::error(std::forward<Other>(other).error_);
    }
    void destroy() noexcept {
        if (has_value_) value_.~T();
        else error_.~error();
    }

    bool has_value_;
    union {
        T value_;
        qnt::error error_;
    };
};

template <> class [[nodiscard]] result<void> {
public:
    result() = default;
    result(qnt::error e) : has_value_(false), error_(std::move(e)) {}

    bool has_value() const noexcept { return has_value_; }
    explicit operator bool() const noexcept { return has_value_; }
    void value() const {
        if (!has_value_) detail::throw_error(error_);
    }
    const qnt::error& error() const {
        if (has_value_) detail::contract_violation("result::error(): there is no error");
        return error_;
    }

private:
    bool has_value_ = true;
    qnt::error error_{};
};

}  // namespace qnt

// Leaves the calling function with the error of `expression`, a result<T>, if it has one.
#define QNT_TRY(expression)                               \
    do {                                                  \
        auto&& qnt_try = (expression);                    \
        if (!qnt_try.has_value()) return qnt_try.error(); \
    } while (false)
