// NEON with the dot product instructions (Armv8.2-A dotprod): sdot sums four products of signed bytes straight into int32.
#pragma once
#include "../neon/ops.hpp"

#if defined(__aarch64__)
QNT_REGION_BEGIN(QNT_TARGET_DOTPROD)
namespace qnt::isa::inline QNT_BASELINE::dotprod {

struct ops : neon::ops {
    static constexpr bool expands_codes = true;
    // Written out: clang 14 hides vdotq_s32 unless the whole file is compiled for it.
    static QNT_INLINE i32 dot(i32 acc, prepared w, bytes x) {
        asm("sdot %0.4s, %1.16b, %2.16b" : "+w"(acc) : "w"(w), "w"(x));
        return acc;
    }
    struct nibble_acc {
        i32 sum;
        QNT_INLINE void start(i32 seed) { sum = seed; }
        QNT_INLINE void add(bytes raw, bytes x_low, bytes x_high) { sum = dot(dot(sum, low(raw), x_low), high(raw), x_high); }
        QNT_INLINE void fold() {}
        QNT_INLINE i32 total() const { return sum; }
    };
};

}  // namespace qnt::isa::inline QNT_BASELINE::dotprod
QNT_REGION_END
#endif
