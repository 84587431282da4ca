// NEON (Armv8.0-A): 4 lanes, a panel line is four registers.
//   dot(): signed bytes multiply into 16 bits; a pair is at most 2 * 127 * 127 = 32,258 < 2^15, then pairs add into 32 bits.
#pragma once
#include "../scalar/ops.hpp"

#if defined(__aarch64__)
namespace qnt::isa::inline QNT_BASELINE::neon {

struct ops {
    static constexpr int lanes = 4, parts = 4;
    static constexpr int int_rows = 2, exact_rows = 4, exact_block_rows = 4, block_rows = 4, block_panels = 1, chains = 8;
    static constexpr bool expands_codes = false;
    using tiles = void;
    using f32 = float32x4_t;
    using i32 = int32x4_t;
    using bytes = int8x16_t;
    struct f64 {
        float64x2_t low, high;
    };

    // ---- floats ----
    static QNT_INLINE f32 set1(float a) { return vdupq_n_f32(a); }
    static QNT_INLINE f32 load(const float* p) { return vld1q_f32(p); }
    static QNT_INLINE void store(float* p, f32 a) { vst1q_f32(p, a); }
    static QNT_INLINE f32 load_n(const float* p, std::size_t n) {
        float t[4] = {};
        std::memcpy(t, p, (n < 4 ? n : 4) * sizeof(float));
        return load(t);
    }
    static QNT_INLINE void store_n(float* p, f32 a, std::size_t n) {
        float t[4];
        store(t, a);
        std::memcpy(p, t, (n < 4 ? n : 4) * sizeof(float));
    }
    static QNT_INLINE f32 add(f32 a, f32 b) { return vaddq_f32(a, b); }
    static QNT_INLINE f32 sub(f32 a, f32 b) { return vsubq_f32(a, b); }
    static QNT_INLINE f32 mul(f32 a, f32 b) {
        f32 p = vmulq_f32(a, b);
        asm("" : "+w"(p));
        return p;
    }
    static QNT_INLINE f32 div(f32 a, f32 b) { return vdivq_f32(a, b); }
    static QNT_INLINE f32 fma(f32 a, f32 b, f32 c) { return vfmaq_f32(c, a, b); }
    static QNT_INLINE f32 sqrt(f32 a) { return vsqrtq_f32(a); }
    static QNT_INLINE f32 max(f32 a, f32 b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }  // b if either is NaN, as on x86
    static QNT_INLINE f32 min(f32 a, f32 b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
    static QNT_INLINE f32 as_f32(i32 a) { return vreinterpretq_f32_s32(a); }
    static QNT_INLINE i32 as_i32(f32 a) { return vreinterpretq_s32_f32(a); }
    static QNT_INLINE f32 to_f32(i32 a) { return vcvtq_f32_s32(a); }
    static QNT_INLINE f32 load_f16(const std::uint16_t* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
    static QNT_INLINE void store_f16(std::uint16_t* p, f32 a) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(a))); }
    static QNT_INLINE f32 load_bf16(const std::uint16_t* p) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16)); }

    // ---- integers ----
    static QNT_INLINE i32 set1_i(std::int32_t a) { return vdupq_n_s32(a); }
    static QNT_INLINE i32 add_i(i32 a, i32 b) { return vaddq_s32(a, b); }
    static QNT_INLINE i32 neg_i(i32 a) { return vnegq_s32(a); }
    static QNT_INLINE i32 and_i(i32 a, i32 b) { return vandq_s32(a, b); }
    static QNT_INLINE i32 max_i(i32 a, i32 b) { return vmaxq_s32(a, b); }
    template <int N> static QNT_INLINE i32 shift_left(i32 a) { return vshlq_n_s32(a, N); }
    template <int N> static QNT_INLINE i32 shift_right(i32 a) { return vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_s32(a), N)); }
    static QNT_INLINE i32 count_greater(i32 acc, f32 a, f32 b) { return vsubq_s32(acc, vreinterpretq_s32_u32(vcgtq_f32(a, b))); }
    static QNT_INLINE i32 mul_add(i32 acc, i32 a, i32 b) { return vmlaq_s32(acc, a, b); }
    static QNT_INLINE i32 round_to_i32(f32 a) { return vcvtnq_s32_f32(a); }
    static QNT_INLINE void store_i8(std::int8_t* p, i32 a) {
        const int8x8_t b = vmovn_s16(vcombine_s16(vmovn_s32(a), vdup_n_s16(0)));
        std::memcpy(p, &b, 4);
    }
    static QNT_INLINE i32 load_u8(const std::uint8_t* p) {
        std::uint32_t v;
        std::memcpy(&v, p, sizeof v);
        return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(v))))));
    }
    static QNT_INLINE f32 load_i8(const std::uint8_t* p) {
        std::int32_t v;
        std::memcpy(&v, p, sizeof v);
        return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(v))))));
    }
    static QNT_INLINE std::int32_t sum_i(i32 a) { return vaddvq_s32(a); }
    static QNT_INLINE std::int32_t top_i(i32 a) { return vmaxvq_s32(a); }

    // ---- doubles ----
    static QNT_INLINE f64 load_d(const double* p) { return {vld1q_f64(p), vld1q_f64(p + 2)}; }
    static QNT_INLINE f64 load_d(const float* p) {
        const f32 a = vld1q_f32(p);
        return {vcvt_f64_f32(vget_low_f32(a)), vcvt_high_f64_f32(a)};
    }
    static QNT_INLINE f64 add_products(f64 acc, f64 a, f64 b) { return {vfmaq_f64(acc.low, a.low, b.low), vfmaq_f64(acc.high, a.high, b.high)}; }
    static QNT_INLINE float64x2_t square(float64x2_t a) {
        float64x2_t p = vmulq_f64(a, a);
        asm("" : "+w"(p));
        return p;
    }
    static QNT_INLINE f64 add_squared_difference(f64 acc, f64 a, f64 b) {
        return {vaddq_f64(acc.low, square(vsubq_f64(a.low, b.low))), vaddq_f64(acc.high, square(vsubq_f64(a.high, b.high)))};
    }
    static QNT_INLINE void store_d(double* p, f64 a) {
        vst1q_f64(p, a.low);
        vst1q_f64(p + 2, a.high);
    }

    // ---- weights against int8 activations ----
    using prepared = bytes;
    static constexpr int bias = 0;
    static QNT_INLINE bytes load_bytes(const std::uint8_t* p) { return vreinterpretq_s8_u8(vld1q_u8(p)); }
    static QNT_INLINE void store_bytes(std::uint8_t* p, bytes b) { vst1q_u8(p, vreinterpretq_u8_s8(b)); }
    static QNT_INLINE bytes broadcast4(const std::int8_t* x) {
        std::int32_t v;
        std::memcpy(&v, x, sizeof v);
        return vreinterpretq_s8_s32(vdupq_n_s32(v));
    }
    static QNT_INLINE bytes operands(bytes w) { return w; }
    static QNT_INLINE prepared prepare(bytes w) { return w; }
    static QNT_INLINE i32 dot(i32 acc, prepared w, bytes x) {
        const int16x8_t low = vmull_s8(vget_low_s8(w), vget_low_s8(x)), high = vmull_high_s8(w, x);
        return vpadalq_s16(acc, vpaddq_s16(low, high));
    }
    using codebook = int8x16_t;
    static QNT_INLINE codebook make_codebook(const std::int8_t* values) { return vld1q_s8(values); }
    static QNT_INLINE bytes low(bytes raw) { return vandq_s8(raw, vdupq_n_s8(15)); }
    static QNT_INLINE bytes high(bytes raw) { return vreinterpretq_s8_u8(vshrq_n_u8(vreinterpretq_u8_s8(raw), 4)); }
    static QNT_INLINE bytes lookup(codebook c, bytes nibbles) { return vqtbl1q_s8(c, vreinterpretq_u8_s8(nibbles)); }
    struct nibble_acc {
        i32 sum;
        QNT_INLINE void start(i32 seed) { sum = seed; }
        QNT_INLINE void add(bytes raw, bytes x_low, bytes x_high) { sum = dot(dot(sum, low(raw), x_low), high(raw), x_high); }
        QNT_INLINE void fold() {}
        QNT_INLINE i32 total() const { return sum; }
    };

    // ---- weights against float activations ----
    static QNT_INLINE f32 broadcast_x4(const float* x) { return vld1q_f32(x); }
    struct float_table {
        uint8x16x4_t bytes;
    };
    static constexpr bool looks_up_low_bits = false;
    static QNT_INLINE float_table make_float_table(const float* values) { return {vld1q_u8_x4(reinterpret_cast<const std::uint8_t*>(values))}; }
    static QNT_INLINE f32 lookup(float_table t, i32 index) {  // byte b of value i is byte 4 i + b of the table
        const int32x4_t at = vmlaq_s32(vdupq_n_s32(0x03020100), index, vdupq_n_s32(0x04040404));
        return vreinterpretq_f32_u8(vqtbl4q_u8(t.bytes, vreinterpretq_u8_s32(at)));
    }
    static QNT_INLINE f32 sum_chains(f32 c0, f32 c1, f32 c2, f32 c3) { return vpaddq_f32(vpaddq_f32(c0, c1), vpaddq_f32(c2, c3)); }
};

}  // namespace qnt::isa::inline QNT_BASELINE::neon
#endif
