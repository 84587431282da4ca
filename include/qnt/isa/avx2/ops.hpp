// AVX2 + FMA + F16C: 8 lanes, a panel line is two registers.
//   dot(): |w| as unsigned times x with the sign of w as signed bytes (vpmaddubsw): both factors are at most 127, so a pair is at most
//   2 * 127 * 127 = 32,258 < 2^15 and nothing saturates. 4-bit codes are unsigned as they are; eight pairs of 2 * 15 * 127 fit 16 bits.
#pragma once
#include "../scalar/ops.hpp"

#if defined(__x86_64__)
QNT_REGION_BEGIN(QNT_TARGET_AVX2)
namespace qnt::isa::inline QNT_BASELINE::avx2 {

struct ops {
    static constexpr int lanes = 8, parts = 2;
    static constexpr int int_rows = 2, exact_rows = 2, exact_block_rows = 3, block_rows = 4, block_panels = 1, chains = 8;
    static constexpr bool expands_codes = false;
    using tiles = void;
    using f32 = __m256;
    using i32 = __m256i;
    using bytes = __m256i;
    struct f64 {
        __m256d low, high;
    };

    // ---- floats ----
    static QNT_INLINE f32 set1(float a) { return _mm256_set1_ps(a); }
    static QNT_INLINE f32 load(const float* p) { return _mm256_loadu_ps(p); }
    static QNT_INLINE void store(float* p, f32 a) { _mm256_storeu_ps(p, a); }
    static QNT_INLINE i32 first(std::size_t n) {  // all ones in the first n lanes
        return _mm256_cmpgt_epi32(_mm256_set1_epi32(int(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    }
    static QNT_INLINE f32 load_n(const float* p, std::size_t n) { return _mm256_maskload_ps(p, first(n)); }
    static QNT_INLINE void store_n(float* p, f32 a, std::size_t n) { _mm256_maskstore_ps(p, first(n), a); }
    static QNT_INLINE f32 add(f32 a, f32 b) { return _mm256_add_ps(a, b); }
    static QNT_INLINE f32 sub(f32 a, f32 b) { return _mm256_sub_ps(a, b); }
    static QNT_INLINE f32 mul(f32 a, f32 b) {
        f32 p = _mm256_mul_ps(a, b);
        asm("" : "+x"(p));
        return p;
    }
    static QNT_INLINE f32 div(f32 a, f32 b) { return _mm256_div_ps(a, b); }
    static QNT_INLINE f32 fma(f32 a, f32 b, f32 c) { return _mm256_fmadd_ps(a, b, c); }
    static QNT_INLINE f32 sqrt(f32 a) { return _mm256_sqrt_ps(a); }
    static QNT_INLINE f32 max(f32 a, f32 b) { return _mm256_max_ps(a, b); }
    static QNT_INLINE f32 min(f32 a, f32 b) { return _mm256_min_ps(a, b); }
    static QNT_INLINE f32 as_f32(i32 a) { return _mm256_castsi256_ps(a); }
    static QNT_INLINE i32 as_i32(f32 a) { return _mm256_castps_si256(a); }
    static QNT_INLINE f32 to_f32(i32 a) { return _mm256_cvtepi32_ps(a); }
    static QNT_INLINE f32 load_f16(const std::uint16_t* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
    static QNT_INLINE void store_f16(std::uint16_t* p, f32 a) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(a, 0)); }
    static QNT_INLINE f32 load_bf16(const std::uint16_t* p) {
        return as_f32(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 16));
    }

    // ---- integers ----
    static QNT_INLINE i32 set1_i(std::int32_t a) { return _mm256_set1_epi32(a); }
    static QNT_INLINE i32 add_i(i32 a, i32 b) { return _mm256_add_epi32(a, b); }
    static QNT_INLINE i32 neg_i(i32 a) { return _mm256_sub_epi32(_mm256_setzero_si256(), a); }
    static QNT_INLINE i32 and_i(i32 a, i32 b) { return _mm256_and_si256(a, b); }
    static QNT_INLINE i32 max_i(i32 a, i32 b) { return _mm256_max_epi32(a, b); }
    template <int N> static QNT_INLINE i32 shift_left(i32 a) { return _mm256_slli_epi32(a, N); }
    template <int N> static QNT_INLINE i32 shift_right(i32 a) { return _mm256_srli_epi32(a, N); }
    static QNT_INLINE i32 count_greater(i32 acc, f32 a, f32 b) { return _mm256_sub_epi32(acc, as_i32(_mm256_cmp_ps(a, b, _CMP_GT_OQ))); }
    static QNT_INLINE i32 mul_add(i32 acc, i32 a, i32 b) { return _mm256_add_epi32(acc, _mm256_madd_epi16(a, b)); }  // a's high halves are 0
    static QNT_INLINE i32 round_to_i32(f32 a) { return _mm256_cvtps_epi32(a); }
    static QNT_INLINE void store_i8(std::int8_t* p, i32 a) {
        const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
        _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
    }
    static QNT_INLINE i32 load_u8(const std::uint8_t* p) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))); }
    static QNT_INLINE f32 load_i8(const std::uint8_t* p) {
        return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
    }
    static QNT_INLINE std::int32_t sum_i(i32 a) {
        __m128i h = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
        h = _mm_add_epi32(h, _mm_shuffle_epi32(h, 0x4e));
        return _mm_cvtsi128_si32(_mm_add_epi32(h, _mm_shuffle_epi32(h, 0xb1)));
    }
    static QNT_INLINE std::int32_t top_i(i32 a) {
        __m128i h = _mm_max_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
        h = _mm_max_epi32(h, _mm_shuffle_epi32(h, 0x4e));
        return _mm_cvtsi128_si32(_mm_max_epi32(h, _mm_shuffle_epi32(h, 0xb1)));
    }

    // ---- doubles ----
    static QNT_INLINE f64 load_d(const double* p) { return {_mm256_loadu_pd(p), _mm256_loadu_pd(p + 4)}; }
    static QNT_INLINE f64 load_d(const float* p) { return {_mm256_cvtps_pd(_mm_loadu_ps(p)), _mm256_cvtps_pd(_mm_loadu_ps(p + 4))}; }
    static QNT_INLINE f64 add_products(f64 acc, f64 a, f64 b) {
        return {_mm256_fmadd_pd(a.low, b.low, acc.low), _mm256_fmadd_pd(a.high, b.high, acc.high)};
    }
    static QNT_INLINE __m256d square(__m256d a) {
        __m256d p = _mm256_mul_pd(a, a);
        asm("" : "+x"(p));
        return p;
    }
    static QNT_INLINE f64 add_squared_difference(f64 acc, f64 a, f64 b) {
        return {_mm256_add_pd(acc.low, square(_mm256_sub_pd(a.low, b.low))), _mm256_add_pd(acc.high, square(_mm256_sub_pd(a.high, b.high)))};
    }
    static QNT_INLINE void store_d(double* p, f64 a) {
        _mm256_storeu_pd(p, a.low);
        _mm256_storeu_pd(p + 4, a.high);
    }

    // ---- weights against int8 activations ----
    struct prepared {
        bytes w, magnitude;
    };
    static constexpr int bias = 0;
    static QNT_INLINE bytes load_bytes(const std::uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
    static QNT_INLINE void store_bytes(std::uint8_t* p, bytes b) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), b); }
    static QNT_INLINE bytes broadcast4(const std::int8_t* x) {
        std::int32_t v;
        std::memcpy(&v, x, sizeof v);
        return _mm256_set1_epi32(v);
    }
    static QNT_INLINE bytes operands(bytes w) { return w; }
    static QNT_INLINE prepared prepare(bytes w) { return {w, _mm256_abs_epi8(w)}; }
    static QNT_INLINE i32 widen(__m256i words) { return _mm256_madd_epi16(words, _mm256_set1_epi16(1)); }
    static QNT_INLINE i32 dot(i32 acc, prepared w, bytes x) {
        i32 sum = _mm256_add_epi32(acc, widen(_mm256_maddubs_epi16(w.magnitude, _mm256_sign_epi8(x, w.w))));
        asm("" : "+x"(sum));  // as in nibble_acc
        return sum;
    }
    using codebook = __m256i;
    static QNT_INLINE codebook make_codebook(const std::int8_t* values) {
        return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(values)));
    }
    static QNT_INLINE bytes low(bytes raw) { return _mm256_and_si256(raw, _mm256_set1_epi8(15)); }
    static QNT_INLINE bytes high(bytes raw) { return low(_mm256_srli_epi16(raw, 4)); }
    static QNT_INLINE bytes lookup(codebook c, bytes nibbles) { return _mm256_shuffle_epi8(c, nibbles); }
    struct nibble_acc {
        i32 sum, words;
        QNT_INLINE void start(i32 seed) {
            sum = seed;
            words = _mm256_setzero_si256();
        }
        QNT_INLINE void add(bytes raw, bytes x_low, bytes x_high) {
            words = _mm256_add_epi16(words, _mm256_maddubs_epi16(low(raw), x_low));
            words = _mm256_add_epi16(words, _mm256_maddubs_epi16(high(raw), x_high));
            asm("" : "+x"(words));  // g++ else sums all products of a run as a tree, most of them in memory
        }
        QNT_INLINE void fold() {
            sum = _mm256_add_epi32(sum, widen(words));
            words = _mm256_setzero_si256();
        }
        QNT_INLINE i32 total() const { return sum; }
    };

    // ---- weights against float activations ----
    static QNT_INLINE f32 broadcast_x4(const float* x) { return _mm256_broadcast_ps(reinterpret_cast<const __m128*>(x)); }
    struct float_table {
        f32 low, high;
    };
    static constexpr bool looks_up_low_bits = false;
    static QNT_INLINE float_table make_float_table(const float* values) { return {load(values), load(values + 8)}; }
    static QNT_INLINE f32 lookup(float_table t, i32 index) {  // the blend looks at bit 31: bit 3 of the index moved there
        return _mm256_blendv_ps(_mm256_permutevar8x32_ps(t.low, index), _mm256_permutevar8x32_ps(t.high, index),
                                as_f32(_mm256_slli_epi32(index, 28)));
    }
    static QNT_INLINE f32 sum_chains(f32 c0, f32 c1, f32 c2, f32 c3) {
        const f32 a = add(_mm256_shuffle_ps(c0, c1, 0x88), _mm256_shuffle_ps(c0, c1, 0xdd));
        const f32 b = add(_mm256_shuffle_ps(c2, c3, 0x88), _mm256_shuffle_ps(c2, c3, 0xdd));
        const f32 d = add(_mm256_shuffle_ps(a, b, 0x88), _mm256_shuffle_ps(a, b, 0xdd));  // lane 4 l + j: row 2 j + l
        return _mm256_permutevar8x32_ps(d, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    }
};

}  // namespace qnt::isa::inline QNT_BASELINE::avx2
QNT_REGION_END
#endif
