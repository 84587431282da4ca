// AVX-512 with VNNI: vpdpbusd multiplies unsigned by signed bytes, so weights go in with 128 added (the seed takes it back), and
// sums four products straight into int32. The high nibbles of 4-bit codes stay in place, times 16, in an accumulator of their own:
// one exact shift per segment instead of one per line.
#pragma once
#include "../avx512/ops.hpp"

#if defined(__x86_64__)
QNT_REGION_BEGIN(QNT_TARGET_AVX512VNNI)
namespace qnt::isa::inline QNT_BASELINE::avx512vnni {

struct ops : avx512::ops {
    // Intel has two units of latency 5: ten sums under way at least.
    static constexpr int int_rows = 8, block_rows = 4, block_panels = 3, chains = 16;
    static constexpr bool expands_codes = true;
    using prepared = bytes;
    static constexpr int bias = 128;
    static QNT_INLINE bytes operands(bytes w) { return _mm512_xor_si512(w, _mm512_set1_epi8(char(-128))); }
    static QNT_INLINE prepared prepare(bytes operands) { return operands; }
    static QNT_INLINE i32 dot(i32 acc, prepared w, bytes x) { return _mm512_dpbusd_epi32(acc, w, x); }
    static QNT_INLINE codebook make_codebook(const std::int8_t* values) { return operands(avx512::ops::make_codebook(values)); }
    struct nibble_acc {
        i32 in_low, in_high;
        QNT_INLINE void start(i32 seed) {
            in_low = seed;
            in_high = _mm512_setzero_si512();
        }
        QNT_INLINE void add(bytes raw, bytes x_low, bytes x_high) {
            in_low = _mm512_dpbusd_epi32(in_low, low(raw), x_low);
            in_high = _mm512_dpbusd_epi32(in_high, _mm512_and_si512(raw, _mm512_set1_epi8(char(0xf0))), x_high);
        }
        QNT_INLINE void fold() {}
        QNT_INLINE i32 total() const { return _mm512_add_epi32(in_low, _mm512_srai_epi32(in_high, 4)); }
    };
};

}  // namespace qnt::isa::inline QNT_BASELINE::avx512vnni
QNT_REGION_END
#endif
