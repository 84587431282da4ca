// The vocabulary in plain C++: four lanes in an array. It is the reference for all others and what runs on a processor that has
// none of their instruction sets.
//
// What every `ops` provides (L = lanes, a power of two from 4 to 16; a panel line of 64 bytes is `parts` registers of 4 L bytes):
//   f32 i32 bytes f64     registers of L floats, L int32, 4 L bytes, L doubles
//   operands(w)           signed bytes as the operands of products: bias is what it adds to them
//   prepared              operands ready for dot()
//   dot(acc, w, x)        acc[lane] + sum of 4 products of signed bytes in [-127, 127], exact
//   nibble_acc            sums products of unsigned nibbles with x for at most 4 lines between two fold()s, exact
//   sum_chains(c0..c3)    lane (c_j, 4 i + t) summed over t as (0 + 1) + (2 + 3), in the order of rows
#pragma once
#include "../intrinsics.hpp"

namespace qnt::isa::inline QNT_BASELINE::scalar {

struct ops {
    static constexpr int lanes = 4, parts = 16 / lanes;
    static constexpr int int_rows = 1, exact_rows = 1;      // rows of x that share a panel line, with their float sums in registers
    static constexpr int exact_block_rows = 1;              // the same, in a block whose lines are decoded already
    static constexpr int block_rows = 4, block_panels = 1;  // the same, and panels; float sums in memory
    static constexpr int chains = 4;                        // integer sums that must be under way at once to hide the latency of dot()
    static constexpr bool expands_codes = false;            // is decoding what keeps dot() waiting, so that many rows share decoded lines?
    using tiles = void;                                     // or what multiplies 16 rows of x by a panel at once (amx_int8)

    struct f32 {
        float v[lanes];
    };
    struct i32 {
        std::int32_t v[lanes];
    };
    struct bytes {
        std::int8_t v[4 * lanes];
    };
    struct f64 {
        double v[lanes];
    };

    template <class R, class F> static QNT_INLINE R make(F&& f) {
        R r;
        for (int i = 0; i < lanes; ++i) r.v[i] = f(i);
        return r;
    }

    // ---- floats ----
    static QNT_INLINE f32 set1(float a) {
        return make<f32>([&](int) { return a; });
    }
    static QNT_INLINE f32 load(const float* p) {
        return make<f32>([&](int i) { return p[i]; });
    }
    static QNT_INLINE void store(float* p, f32 a) { std::memcpy(p, a.v, sizeof a.v); }
    static QNT_INLINE f32 load_n(const float* p, std::size_t n) {
        return make<f32>([&](int i) { return std::size_t(i) < n ? p[i] : 0.0f; });
    }
    static QNT_INLINE void store_n(float* p, f32 a, std::size_t n) { std::memcpy(p, a.v, n * sizeof(float)); }
    static QNT_INLINE f32 add(f32 a, f32 b) {
        return make<f32>([&](int i) { return a.v[i] + b.v[i]; });
    }
    static QNT_INLINE f32 sub(f32 a, f32 b) {
        return make<f32>([&](int i) { return a.v[i] - b.v[i]; });
    }
    static QNT_INLINE f32 mul(f32 a, f32 b) {
        return make<f32>([&](int i) { return qnt::mul(a.v[i], b.v[i]); });
    }
    static QNT_INLINE f32 div(f32 a, f32 b) {
        return make<f32>([&](int i) { return a.v[i] / b.v[i]; });
    }
    static QNT_INLINE f32 fma(f32 a, f32 b, f32 c) {
        return make<f32>([&](int i) { return qnt::fma(a.v[i], b.v[i], c.v[i]); });
    }
    static QNT_INLINE f32 sqrt(f32 a) {
        return make<f32>([&](int i) { return std::sqrt(a.v[i]); });
    }
    static QNT_INLINE f32 max(f32 a, f32 b) {
        return make<f32>([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
    }  // b if either is NaN
    static QNT_INLINE f32 min(f32 a, f32 b) {
        return make<f32>([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
    }
    static QNT_INLINE f32 as_f32(i32 a) { return std::bit_cast<f32>(a); }
    static QNT_INLINE i32 as_i32(f32 a) { return std::bit_cast<i32>(a); }
    static QNT_INLINE f32 to_f32(i32 a) {
        return make<f32>([&](int i) { return float(a.v[i]); });
    }
    static QNT_INLINE f32 load_f16(const std::uint16_t* p) {
        return make<f32>([&](int i) { return float(f16::from_bits(p[i])); });
    }
    static QNT_INLINE f32 load_bf16(const std::uint16_t* p) {
        return make<f32>([&](int i) { return float(bf16::from_bits(p[i])); });
    }
    static QNT_INLINE void store_f16(std::uint16_t* p, f32 a) {
        for (int i = 0; i < lanes; ++i) p[i] = f16(a.v[i]).bits;
    }

    // ---- integers ----
    static QNT_INLINE i32 set1_i(std::int32_t a) {
        return make<i32>([&](int) { return a; });
    }
    static QNT_INLINE i32 add_i(i32 a, i32 b) {
        return make<i32>([&](int i) { return a.v[i] + b.v[i]; });
    }
    static QNT_INLINE i32 neg_i(i32 a) {
        return make<i32>([&](int i) { return -a.v[i]; });
    }
    static QNT_INLINE i32 and_i(i32 a, i32 b) {
        return make<i32>([&](int i) { return a.v[i] & b.v[i]; });
    }
    static QNT_INLINE i32 max_i(i32 a, i32 b) {
        return make<i32>([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
    }
    template <int N> static QNT_INLINE i32 shift_left(i32 a) {
        return make<i32>([&](int i) { return std::int32_t(std::uint32_t(a.v[i]) << N); });
    }
    template <int N> static QNT_INLINE i32 shift_right(i32 a) {
        return make<i32>([&](int i) { return std::int32_t(std::uint32_t(a.v[i]) >> N); });
    }
    static QNT_INLINE i32 count_greater(i32 acc, f32 a, f32 b) {  // acc + (a > b)
        return make<i32>([&](int i) { return acc.v[i] + (a.v[i] > b.v[i] ? 1 : 0); });
    }
    // acc + a * b for 0 <= a <= 255 and |b| < 2^15
    static QNT_INLINE i32 mul_add(i32 acc, i32 a, i32 b) {
        return make<i32>([&](int i) { return acc.v[i] + a.v[i] * b.v[i]; });
    }
    static QNT_INLINE i32 round_to_i32(f32 a) {  // |a| <= 2^22
        return make<i32>([&](int i) { return std::int32_t(round_even(a.v[i])); });
    }
    static QNT_INLINE void store_i8(std::int8_t* p, i32 a) {  // values in [-128, 127]
        for (int i = 0; i < lanes; ++i) p[i] = std::int8_t(a.v[i]);
    }
    static QNT_INLINE i32 load_u8(const std::uint8_t* p) {
        return make<i32>([&](int i) { return std::int32_t(p[i]); });
    }
    static QNT_INLINE f32 load_i8(const std::uint8_t* p) {
        return make<f32>([&](int i) { return float(std::int8_t(p[i])); });
    }

    static QNT_INLINE std::int32_t sum_i(i32 a) { return a.v[0] + a.v[1] + a.v[2] + a.v[3]; }
    static QNT_INLINE std::int32_t top_i(i32 a) {
        const std::int32_t low = a.v[0] > a.v[1] ? a.v[0] : a.v[1], high = a.v[2] > a.v[3] ? a.v[2] : a.v[3];
        return low > high ? low : high;
    }

    // ---- doubles ----
    static QNT_INLINE f64 load_d(const double* p) {
        return make<f64>([&](int i) { return p[i]; });
    }
    static QNT_INLINE f64 load_d(const float* p) {  // widened
        return make<f64>([&](int i) { return double(p[i]); });
    }
    static QNT_INLINE f64 add_products(f64 acc, f64 a, f64 b) {  // acc + a * b of floats
        return make<f64>([&](int i) { return acc.v[i] + a.v[i] * b.v[i]; });
    }
    static QNT_INLINE f64 add_squared_difference(f64 acc, f64 a, f64 b) {  // acc + (a - b)^2, the square rounded
        return make<f64>([&](int i) {
            const double d = a.v[i] - b.v[i];
            return acc.v[i] + qnt::mul(d, d);
        });
    }
    static QNT_INLINE void store_d(double* p, f64 a) { std::memcpy(p, a.v, sizeof a.v); }

    // ---- weights against int8 activations ----
    using prepared = bytes;
    static constexpr int bias = 0;
    static QNT_INLINE bytes load_bytes(const std::uint8_t* p) {
        bytes b;
        std::memcpy(b.v, p, sizeof b.v);
        return b;
    }
    static QNT_INLINE void store_bytes(std::uint8_t* p, bytes b) { std::memcpy(p, b.v, sizeof b.v); }
    static QNT_INLINE bytes broadcast4(const std::int8_t* x) {
        bytes b;
        for (int i = 0; i < lanes; ++i) std::memcpy(b.v + 4 * i, x, 4);
        return b;
    }
    static QNT_INLINE bytes operands(bytes w) { return w; }
    static QNT_INLINE prepared prepare(bytes w) { return w; }
    static QNT_INLINE i32 dot(i32 acc, prepared w, bytes x) {
        return make<i32>([&](int i) {
            std::int32_t s = acc.v[i];
            for (int t = 0; t < 4; ++t) s += w.v[4 * i + t] * x.v[4 * i + t];
            return s;
        });
    }
    struct codebook {
        const std::int8_t* operands;
    };
    static QNT_INLINE codebook make_codebook(const std::int8_t* values) { return {values}; }
    static QNT_INLINE bytes lookup(codebook c, bytes nibbles) {
        for (auto& b : nibbles.v) b = c.operands[b];
        return nibbles;
    }
    static QNT_INLINE bytes low(bytes raw) {
        for (auto& b : raw.v) b &= 15;
        return raw;
    }
    static QNT_INLINE bytes high(bytes raw) {
        for (auto& b : raw.v) b = std::int8_t(std::uint8_t(b) >> 4);
        return raw;
    }
    struct nibble_acc {
        i32 sum;
        QNT_INLINE void start(i32 seed) { sum = seed; }
        QNT_INLINE void add(bytes raw, bytes x_low, bytes x_high) {
            for (int i = 0; i < lanes; ++i)
                for (int t = 4 * i; t < 4 * i + 4; ++t) sum.v[i] += (raw.v[t] & 15) * x_low.v[t] + (std::uint8_t(raw.v[t]) >> 4) * x_high.v[t];
        }
        QNT_INLINE void fold() {}
        QNT_INLINE i32 total() const { return sum; }
    };

    // ---- weights against float activations ----
    static QNT_INLINE f32 broadcast_x4(const float* x) { return load(x); }
    struct float_table {
        const float* values;
    };
    static constexpr bool looks_up_low_bits = false;  // lookup() in one operation, whatever the bits of an index above the lowest four
    static QNT_INLINE float_table make_float_table(const float* values) { return {values}; }  // 16 values
    static QNT_INLINE f32 lookup(float_table t, i32 index) {
        return make<f32>([&](int i) { return t.values[index.v[i]]; });
    }
    static QNT_INLINE f32 sum_chains(f32 c0, f32 c1, f32 c2, f32 c3) {
        const f32* c[4] = {&c0, &c1, &c2, &c3};
        return make<f32>([&](int i) { return (c[i]->v[0] + c[i]->v[1]) + (c[i]->v[2] + c[i]->v[3]); });
    }
};

}  // namespace qnt::isa::inline QNT_BASELINE::scalar
