// AVX2 with AVX-VNNI: vpdpbusd on 8 lanes, see avx512vnni.
#pragma once
#include "../avx2/ops.hpp"

#if defined(__x86_64__)
QNT_REGION_BEGIN(QNT_TARGET_AVXVNNI)
namespace qnt::isa::inline QNT_BASELINE::avxvnni {

struct ops : avx2::ops {
    static constexpr int int_rows = 2, block_rows = 6, chains = 12;
    static constexpr bool expands_codes = true;
    using prepared = bytes;
    static constexpr int bias = 128;
    static QNT_INLINE bytes operands(bytes w) { return _mm256_xor_si256(w, _mm256_set1_epi8(char(-128))); }
    static QNT_INLINE prepared prepare(bytes operands) { return operands; }
    static QNT_INLINE i32 dot(i32 acc, prepared w, bytes x) { return _mm256_dpbusd_avx_epi32(acc, w, x); }
    static QNT_INLINE codebook make_codebook(const std::int8_t* values) { return operands(avx2::ops::make_codebook(values)); }
    struct nibble_acc {
        i32 in_low, in_high;
        QNT_INLINE void start(i32 seed) {
            in_low = seed;
            in_high = _mm256_setzero_si256();
        }
        QNT_INLINE void add(bytes raw, bytes x_low, bytes x_high) {
            in_low = _mm256_dpbusd_avx_epi32(in_low, low(raw), x_low);
            in_high = _mm256_dpbusd_avx_epi32(in_high, _mm256_and_si256(raw, _mm256_set1_epi8(char(0xf0))), x_high);
        }
        QNT_INLINE void fold() {}
        QNT_INLINE i32 total() const { return _mm256_add_epi32(in_low, _mm256_srai_epi32(in_high, 4)); }
    };
};

}  // namespace qnt::isa::inline QNT_BASELINE::avxvnni
QNT_REGION_END
#endif
