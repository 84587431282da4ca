// AVX-512 (F, BW, DQ, VL) without VNNI: 16 lanes, a panel line is one register.
//   dot() as on AVX2; there is no vpsignb, a masked subtraction gives x the sign of w.
#pragma once
#include "../scalar/ops.hpp"

#if defined(__x86_64__)
QNT_REGION_BEGIN(QNT_TARGET_AVX512)
namespace qnt::isa::inline QNT_BASELINE::avx512 {

struct ops {
    static constexpr int lanes = 16, parts = 1;
    static constexpr int int_rows = 4, exact_rows = 4, exact_block_rows = 6, block_rows = 8, block_panels = 1, chains = 8;
    static constexpr bool expands_codes = false;
    using tiles = void;
    using f32 = __m512;
    using i32 = __m512i;
    using bytes = __m512i;
    struct f64 {
        __m512d low, high;
    };

    // ---- floats ----
    static QNT_INLINE f32 set1(float a) { return _mm512_set1_ps(a); }
    static QNT_INLINE f32 load(const float* p) { return _mm512_loadu_ps(p); }
    static QNT_INLINE void store(float* p, f32 a) { _mm512_storeu_ps(p, a); }
    static QNT_INLINE __mmask16 first(std::size_t n) { return n >= 16 ? __mmask16(0xffff) : __mmask16((1u << n) - 1u); }
    static QNT_INLINE f32 load_n(const float* p, std::size_t n) { return _mm512_maskz_loadu_ps(first(n), p); }
    static QNT_INLINE void store_n(float* p, f32 a, std::size_t n) { _mm512_mask_storeu_ps(p, first(n), a); }
    static QNT_INLINE f32 add(f32 a, f32 b) { return _mm512_add_ps(a, b); }
    static QNT_INLINE f32 sub(f32 a, f32 b) { return _mm512_sub_ps(a, b); }
    static QNT_INLINE f32 mul(f32 a, f32 b) {
        f32 p = _mm512_mul_ps(a, b);
        asm("" : "+v"(p));
        return p;
    }
    static QNT_INLINE f32 div(f32 a, f32 b) { return _mm512_div_ps(a, b); }
    static QNT_INLINE f32 fma(f32 a, f32 b, f32 c) { return _mm512_fmadd_ps(a, b, c); }
    static QNT_INLINE f32 sqrt(f32 a) { return _mm512_sqrt_ps(a); }
    static QNT_INLINE f32 max(f32 a, f32 b) { return _mm512_max_ps(a, b); }
    static QNT_INLINE f32 min(f32 a, f32 b) { return _mm512_min_ps(a, b); }
    static QNT_INLINE f32 as_f32(i32 a) { return _mm512_castsi512_ps(a); }
    static QNT_INLINE i32 as_i32(f32 a) { return _mm512_castps_si512(a); }
    static QNT_INLINE f32 to_f32(i32 a) { return _mm512_cvtepi32_ps(a); }
    static QNT_INLINE f32 load_f16(const std::uint16_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
    static QNT_INLINE void store_f16(std::uint16_t* p, f32 a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(a, 0)); }
    static QNT_INLINE f32 load_bf16(const std::uint16_t* p) {
        return as_f32(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16));
    }

    // ---- integers ----
    static QNT_INLINE i32 set1_i(std::int32_t a) { return _mm512_set1_epi32(a); }
    static QNT_INLINE i32 add_i(i32 a, i32 b) { return _mm512_add_epi32(a, b); }
    static QNT_INLINE i32 neg_i(i32 a) { return _mm512_sub_epi32(_mm512_setzero_si512(), a); }
    static QNT_INLINE i32 and_i(i32 a, i32 b) { return _mm512_and_si512(a, b); }
    static QNT_INLINE i32 max_i(i32 a, i32 b) { return _mm512_max_epi32(a, b); }
    template <int N> static QNT_INLINE i32 shift_left(i32 a) { return _mm512_slli_epi32(a, N); }
    template <int N> static QNT_INLINE i32 shift_right(i32 a) { return _mm512_srli_epi32(a, N); }
    static QNT_INLINE i32 count_greater(i32 acc, f32 a, f32 b) {
        return _mm512_mask_sub_epi32(acc, _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), acc, _mm512_set1_epi32(-1));
    }
    static QNT_INLINE i32 mul_add(i32 acc, i32 a, i32 b) { return _mm512_add_epi32(acc, _mm512_madd_epi16(a, b)); }
    static QNT_INLINE i32 round_to_i32(f32 a) { return _mm512_cvtps_epi32(a); }
    static QNT_INLINE void store_i8(std::int8_t* p, i32 a) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(a)); }
    static QNT_INLINE i32 load_u8(const std::uint8_t* p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
    static QNT_INLINE f32 load_i8(const std::uint8_t* p) {
        return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
    }
    static QNT_INLINE std::int32_t sum_i(i32 a) { return _mm512_reduce_add_epi32(a); }
    static QNT_INLINE std::int32_t top_i(i32 a) { return _mm512_reduce_max_epi32(a); }

    // ---- doubles ----
    static QNT_INLINE f64 load_d(const double* p) { return {_mm512_loadu_pd(p), _mm512_loadu_pd(p + 8)}; }
    static QNT_INLINE f64 load_d(const float* p) { return {_mm512_cvtps_pd(_mm256_loadu_ps(p)), _mm512_cvtps_pd(_mm256_loadu_ps(p + 8))}; }
    static QNT_INLINE f64 add_products(f64 acc, f64 a, f64 b) {
        return {_mm512_fmadd_pd(a.low, b.low, acc.low), _mm512_fmadd_pd(a.high, b.high, acc.high)};
    }
    static QNT_INLINE __m512d square(__m512d a) {
        __m512d p = _mm512_mul_pd(a, a);
        asm("" : "+v"(p));
        return p;
    }
    static QNT_INLINE f64 add_squared_difference(f64 acc, f64 a, f64 b) {
        return {_mm512_add_pd(acc.low, square(_mm512_sub_pd(a.low, b.low))), _mm512_add_pd(acc.high, square(_mm512_sub_pd(a.high, b.high)))};
    }
    static QNT_INLINE void store_d(double* p, f64 a) {
        _mm512_storeu_pd(p, a.low);
        _mm512_storeu_pd(p + 8, a.high);
    }

    // ---- weights against int8 activations ----
    struct prepared {
        bytes magnitude;
        __mmask64 negative;
    };
    static constexpr int bias = 0;
    // The barrier makes it one load: g++ else folds the load into both of its users and reads every line twice.
    static QNT_INLINE bytes load_bytes(const std::uint8_t* p) {
        bytes b = _mm512_loadu_si512(p);
        asm("" : "+v"(b));
        return b;
    }
    static QNT_INLINE void store_bytes(std::uint8_t* p, bytes b) { _mm512_storeu_si512(p, b); }
    static QNT_INLINE bytes broadcast4(const std::int8_t* x) {
        std::int32_t v;
        std::memcpy(&v, x, sizeof v);
        return _mm512_set1_epi32(v);
    }
    static QNT_INLINE bytes operands(bytes w) { return w; }
    static QNT_INLINE prepared prepare(bytes w) { return {_mm512_abs_epi8(w), _mm512_movepi8_mask(w)}; }
    static QNT_INLINE i32 widen(__m512i words) { return _mm512_madd_epi16(words, _mm512_set1_epi16(1)); }
    static QNT_INLINE i32 dot(i32 acc, prepared w, bytes x) {
        const bytes signed_x = _mm512_mask_sub_epi8(x, w.negative, _mm512_setzero_si512(), x);
        i32 sum = _mm512_add_epi32(acc, widen(_mm512_maddubs_epi16(w.magnitude, signed_x)));
        asm("" : "+v"(sum));  // as in nibble_acc
        return sum;
    }
    using codebook = __m512i;
    static QNT_INLINE codebook make_codebook(const std::int8_t* values) {
        return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(values)));
    }
    static QNT_INLINE bytes low(bytes raw) { return _mm512_and_si512(raw, _mm512_set1_epi8(15)); }
    static QNT_INLINE bytes high(bytes raw) { return low(_mm512_srli_epi16(raw, 4)); }
    static QNT_INLINE bytes lookup(codebook c, bytes nibbles) { return _mm512_shuffle_epi8(c, nibbles); }
    struct nibble_acc {
        i32 sum, words;
        QNT_INLINE void start(i32 seed) {
            sum = seed;
            words = _mm512_setzero_si512();
        }
        QNT_INLINE void add(bytes raw, bytes x_low, bytes x_high) {
            words = _mm512_add_epi16(words, _mm512_maddubs_epi16(low(raw), x_low));
            words = _mm512_add_epi16(words, _mm512_maddubs_epi16(high(raw), x_high));
            asm("" : "+v"(words));  // g++ else sums all products of a run as a tree, most of them in memory
        }
        QNT_INLINE void fold() {
            sum = _mm512_add_epi32(sum, widen(words));
            words = _mm512_setzero_si512();
        }
        QNT_INLINE i32 total() const { return sum; }
    };

    // ---- weights against float activations ----
    static QNT_INLINE f32 broadcast_x4(const float* x) { return _mm512_broadcast_f32x4(_mm_loadu_ps(x)); }
    using float_table = f32;
    static constexpr bool looks_up_low_bits = true;
    static QNT_INLINE float_table make_float_table(const float* values) { return load(values); }
    static QNT_INLINE f32 lookup(float_table t, i32 index) { return _mm512_permutexvar_ps(index, t); }
    static QNT_INLINE f32 sum_chains(f32 c0, f32 c1, f32 c2, f32 c3) {
        const f32 a = add(_mm512_shuffle_ps(c0, c1, 0x88), _mm512_shuffle_ps(c0, c1, 0xdd));
        const f32 b = add(_mm512_shuffle_ps(c2, c3, 0x88), _mm512_shuffle_ps(c2, c3, 0xdd));
        const f32 d = add(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xdd));  // lane 4 l + j: row 4 j + l
        return _mm512_permutexvar_ps(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), d);
    }
};

}  // namespace qnt::isa::inline QNT_BASELINE::avx512
QNT_REGION_END
#endif
