// Default rounding and denormals for the duration of a scope: a caller that runs with flush-to-zero or another rounding mode gets
// the same bits as everybody else, and its own mode back.
#pragma once
#include "config.hpp"

namespace qnt {
inline namespace QNT_BASELINE {

class fp_env {
public:
#if defined(__x86_64__)
    QNT_INLINE fp_env() {
        asm volatile("stmxcsr %0" : "=m"(saved_));
        const std::uint32_t wanted = saved_ & ~0xe040u;  // round to nearest, FTZ off, DAZ off; the exception masks stay the caller's
        changed_ = wanted != saved_;
        if (changed_) asm volatile("ldmxcsr %0" : : "m"(wanted) : "memory");
    }
    QNT_INLINE ~fp_env() {
        if (changed_) asm volatile("ldmxcsr %0" : : "m"(saved_) : "memory");
    }

private:
    std::uint32_t saved_ = 0;
    bool changed_ = false;
#elif defined(__aarch64__)
    QNT_INLINE fp_env() {
        asm volatile("mrs %0, fpcr" : "=r"(saved_));
        const std::uint64_t wanted = saved_ & ~std::uint64_t{0x1c80000};  // RMode, FZ, FZ16
        changed_ = wanted != saved_;
        if (changed_) asm volatile("msr fpcr, %0" : : "r"(wanted) : "memory");
    }
    QNT_INLINE ~fp_env() {
        if (changed_) asm volatile("msr fpcr, %0" : : "r"(saved_) : "memory");
    }

private:
    std::uint64_t saved_ = 0;
    bool changed_ = false;
#else
    fp_env() = default;
#endif
public:
    fp_env(const fp_env&) = delete;
    fp_env& operator=(const fp_env&) = delete;
};

}  // namespace QNT_BASELINE
}  // namespace qnt
