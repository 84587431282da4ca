// The tensor types of GGUF and their blocks: what ggml stores, decoded to f32 and encoded as its reference quantizers do
// (ggml-common.h, ggml-quants.c).
//
//     std::vector<float> w(64);
//     qnt::gguf_decode(std::uint32_t(qnt::gguf_type::q8_0), bytes, w).value();                   // 68 bytes: two blocks
//     std::vector<std::byte> blocks = qnt::gguf_encode(qnt::gguf_type::q4_0, w, pool).value();  // 36 bytes
//
// A block is a stretch of one row, its numbers little-endian, f16 scales, nibbles as two halves: of n elements, element j is the low
// nibble of byte j, element j + n/2 the high one. Every decoded value has the bits of ggml's: each product here is exact in f32 (11 bits of
// an f16, at most 12 of a scale and a code together), so no fused addition can change one.
#pragma once
#include <array>
#include <optional>
#include <vector>

#include "../any_format.hpp"

namespace qnt {

// clang-format off
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"  // g++ 12 sees the format qnt::q8_0 hidden by an enumerator, which is scoped
enum class gguf_type : std::uint32_t {
    f32 = 0, f16 = 1, q4_0 = 2, q4_1 = 3, q5_0 = 6, q5_1 = 7, q8_0 = 8, q8_1 = 9, q2_k = 10, q3_k = 11, q4_k = 12, q5_k = 13, q6_k = 14,
    q8_k = 15, iq2_xxs = 16, iq2_xs = 17, iq3_xxs = 18, iq1_s = 19, iq4_nl = 20, iq3_s = 21, iq2_s = 22, iq4_xs = 23, i8 = 24, i16 = 25,
    i32 = 26, i64 = 27, f64 = 28, iq1_m = 29, bf16 = 30, tq1_0 = 34, tq2_0 = 35, mxfp4 = 39, nvfp4 = 40, q1_0 = 41, q2_0 = 42,
};
#pragma GCC diagnostic pop
// clang-format on

struct gguf_type_info {
    const char* name;
    std::size_t block;  // elements of a block
    std::size_t bytes;  // of a block
    bool decodes;       // by gguf_decode
};

namespace detail {
inline namespace QNT_BASELINE {

// ---- decoding: one block at b to y ----

inline float f16_at(const std::uint8_t* b) { return float(f16::from_bits(std::uint16_t(b[0] | b[1] << 8))); }
inline std::uint32_t u32_at(const std::uint8_t* b) {
    std::uint32_t v;
    std::memcpy(&v, b, sizeof v);
    return v;
}

inline void decode_f16(const std::uint8_t* b, float* y) { *y = f16_at(b); }
inline void decode_bf16(const std::uint8_t* b, float* y) { *y = float(bf16::from_bits(std::uint16_t(b[0] | b[1] << 8))); }

// f16 d, i8 q[32]: d * q
inline void decode_q8_0(const std::uint8_t* b, float* y) {
    const float d = f16_at(b);
    for (std::size_t j = 0; j < 32; ++j) y[j] = d * float(std::int8_t(b[2 + j]));
}

// f16 d, nibbles[32]: d * (q - 8)
inline void decode_q4_0(const std::uint8_t* b, float* y) {
    const float d = f16_at(b);
    for (std::size_t j = 0; j < 16; ++j) {
        y[j] = d * float(int(b[2 + j] & 15) - 8);
        y[j + 16] = d * float(int(b[2 + j] >> 4) - 8);
    }
}

// f16 d, f16 m, nibbles[32]: d * q + m
inline void decode_q4_1(const std::uint8_t* b, float* y) {
    const float d = f16_at(b), m = f16_at(b + 2);
    for (std::size_t j = 0; j < 16; ++j) {
        y[j] = d * float(b[4 + j] & 15) + m;
        y[j + 16] = d * float(b[4 + j] >> 4) + m;
    }
}

// f16 d, 32 fifth bits, nibbles[32]: d * (q - 16)
inline void decode_q5_0(const std::uint8_t* b, float* y) {
    const float d = f16_at(b);
    const std::uint32_t high = u32_at(b + 2);
    for (std::uint32_t j = 0; j < 16; ++j) {
        y[j] = d * float(int((b[6 + j] & 15u) | (high >> j & 1) << 4) - 16);
        y[j + 16] = d * float(int(b[6 + j] >> 4 | (high >> (j + 16) & 1) << 4) - 16);
    }
}

// f16 d, f16 m, 32 fifth bits, nibbles[32]: d * q + m
inline void decode_q5_1(const std::uint8_t* b, float* y) {
    const float d = f16_at(b), m = f16_at(b + 2);
    const std::uint32_t high = u32_at(b + 4);
    for (std::uint32_t j = 0; j < 16; ++j) {
        y[j] = d * float((b[8 + j] & 15u) | (high >> j & 1) << 4) + m;
        y[j + 16] = d * float(b[8 + j] >> 4 | (high >> (j + 16) & 1) << 4) + m;
    }
}

// 16 bytes of a 4-bit scale and, above it, a 4-bit minimum, pairs of bits[256], f16 d, f16 dmin: (d * scale) * q - dmin * minimum, groups
// of 16. Of each 128 elements, quarter k has its pairs at bit 2k of 32 bytes.
inline void decode_q2_k(const std::uint8_t* b, float* y) {
    const float d = f16_at(b + 80), dmin = f16_at(b + 82);
    for (std::size_t g = 0; g < 16; ++g) {
        const float scale = d * float(b[g] & 15), minimum = dmin * float(b[g] >> 4);
        const std::uint8_t* q = b + 16 + g / 8 * 32 + g % 2 * 16;
        const int shift = int(g / 2 % 4) * 2;
        for (std::size_t j = 0; j < 16; ++j) y[g * 16 + j] = scale * float(q[j] >> shift & 3) - minimum;
    }
}

// 32 bytes of third bits, pairs of bits[256] as in Q2_K, 12 bytes of scales, f16 d: (d * (scale - 32)) * (q - 4), groups of 16. The third bit
// of element j of 32-element part k is bit k of byte j. Of the scales, 8 bytes hold the lower nibbles (two halves), 4 the upper pairs.
inline void decode_q3_k(const std::uint8_t* b, float* y) {
    const float d = f16_at(b + 108);
    for (std::size_t g = 0; g < 16; ++g) {
        const int low = g < 8 ? b[96 + g] & 15 : b[88 + g] >> 4, high = b[104 + g % 4] >> g / 4 * 2 & 3;
        const float scale = d * float((low | high << 4) - 32);
        const std::uint8_t *third = b + g % 2 * 16, *q = b + 32 + g / 8 * 32 + g % 2 * 16;
        const int shift = int(g / 2 % 4) * 2, bit = int(g / 2);
        for (std::size_t j = 0; j < 16; ++j) y[g * 16 + j] = scale * float(((q[j] >> shift & 3) | (third[j] >> bit & 1) << 2) - 4);
    }
}

// The scale and the minimum, 6 bits each, of group j of 8 in the 12 bytes at s: the first four have whole bytes, whose upper two bits
// belong to the last four.
struct k_group {
    float scale, minimum;
};
inline k_group k_group_at(const std::uint8_t* s, std::size_t j) {
    if (j < 4) return {float(s[j] & 63), float(s[j + 4] & 63)};
    return {float((s[j + 4] & 15) | (s[j - 4] >> 6) << 4), float(s[j + 4] >> 4 | (s[j] >> 6) << 4)};
}

// f16 d, f16 dmin, 12 bytes of scales, nibbles[256], halves of 64: (d * scale) * q - dmin * minimum, groups of 32
inline void decode_q4_k(const std::uint8_t* b, float* y) {
    const float d = f16_at(b), dmin = f16_at(b + 2);
    for (std::size_t g = 0; g < 8; ++g) {
        const k_group group = k_group_at(b + 4, g);
        const float scale = d * group.scale, minimum = dmin * group.minimum;
        const std::uint8_t* q = b + 16 + g / 2 * 32;
        const int shift = g % 2 ? 4 : 0;
        for (std::size_t j = 0; j < 32; ++j) y[g * 32 + j] = scale * float(q[j] >> shift & 15) - minimum;
    }
}

// The same with a fifth bit: that of element j of group g is bit g of byte j of 32, between the scales and the nibbles.
inline void decode_q5_k(const std::uint8_t* b, float* y) {
    const float d = f16_at(b), dmin = f16_at(b + 2);
    for (std::size_t g = 0; g < 8; ++g) {
        const k_group group = k_group_at(b + 4, g);
        const float scale = d * group.scale, minimum = dmin * group.minimum;
        const std::uint8_t *high = b + 16, *q = b + 48 + g / 2 * 32;
        const int shift = g % 2 ? 4 : 0, bit = int(g);
        for (std::size_t j = 0; j < 32; ++j) y[g * 32 + j] = scale * float((q[j] >> shift & 15) | (high[j] >> bit & 1) << 4) - minimum;
    }
}

// nibbles[256], pairs of upper bits[256], i8 scales[16], f16 d: (d * scale) * (q - 32), groups of 16. Of each 128 elements, quarter k has
// its nibbles in the low (k < 2) or high halves of bytes 32 * (k % 2) and on, its upper bits at 2k of 32 bytes.
inline void decode_q6_k(const std::uint8_t* b, float* y) {
    const float d = f16_at(b + 208);
    for (std::size_t k = 0; k < 8; ++k) {
        const std::uint8_t *low = b + k / 4 * 64 + k % 2 * 32, *high = b + 128 + k / 4 * 32;
        const int shift = k % 4 < 2 ? 0 : 4, pair = int(k % 4) * 2;
        for (std::size_t h = 0; h < 2; ++h) {
            const float scale = d * float(std::int8_t(b[192 + k * 2 + h]));
            for (std::size_t j = h * 16; j < h * 16 + 16; ++j)
                y[k * 32 + j] = scale * float(((low[j] >> shift & 15) | (high[j] >> pair & 3) << 4) - 32);
        }
    }
}

// 2 * n nibbles, two halves, as indices of a table.
inline void decode_table(const std::uint8_t* nibbles, std::size_t n, const std::array<float, 16>& values, float scale, float* y) {
    for (std::size_t j = 0; j < n; ++j) {
        y[j] = scale * values[nibbles[j] & 15];
        y[j + n] = scale * values[nibbles[j] >> 4];
    }
}
inline constexpr std::array<float, 16> iq4_values{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
inline constexpr std::array<float, 16> twice_e2m1_values{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// f16 d, nibbles[32]: d * table[q]
inline void decode_iq4_nl(const std::uint8_t* b, float* y) { decode_table(b + 2, 16, iq4_values, f16_at(b), y); }

// f16 d, the upper pairs of 8 scales, their lower nibbles, 8 times nibbles[32]: (d * (scale - 32)) * table[q]
inline void decode_iq4_xs(const std::uint8_t* b, float* y) {
    const float d = f16_at(b);
    const int high = b[2] | b[3] << 8;
    for (std::size_t g = 0; g < 8; ++g) {
        const int scale = (b[4 + g / 2] >> g % 2 * 4 & 15) | (high >> 2 * g & 3) << 4;
        decode_table(b + 8 + g * 16, 16, iq4_values, d * float(scale - 32), y + g * 32);
    }
}

// e, a power of two (E8M0), nibbles[32] of E2M1: 2^(e - 128) * table[q], the table being twice the values. As ggml has it: e = 0 is 2^-128
// here, and 255 no NaN but 2^127.
inline void decode_mxfp4(const std::uint8_t* b, float* y) {
    const std::uint32_t e = b[0];
    decode_table(b + 1, 16, twice_e2m1_values, std::bit_cast<float>(e < 2 ? 0x200000u << e : (e - 1) << 23), y);
}

// 4 scales of E4M3 without a sign, 4 times nibbles[16] of E2M1: scale / 2 * table[q]. As ggml has it: 0x7f is no NaN but 0.
inline void decode_nvfp4(const std::uint8_t* b, float* y) {
    for (std::size_t g = 0; g < 4; ++g) {
        const std::uint32_t e = b[g] >> 3 & 15, m = b[g] & 7;
        const float scale = e ? std::bit_cast<float>((e + 119) << 23 | m << 20) : float(m) * 0x1p-10f;
        decode_table(b + 4 + g * 8, 8, twice_e2m1_values, b[g] == 0x7f ? 0.0f : scale, y + g * 16);
    }
}

// ---- encoding: one block at x to b; false where a number is not finite or overflows its type ----

inline bool store_f16(float x, std::uint8_t* b) {
    const std::uint16_t bits = f16(x).bits;
    std::memcpy(b, &bits, sizeof bits);
    return (bits & 0x7c00) != 0x7c00;
}

inline bool encode_f32(const float* x, std::uint8_t* b) {
    std::memcpy(b, x, sizeof *x);
    return is_finite(*x);
}
inline bool encode_f16(const float* x, std::uint8_t* b) { return store_f16(*x, b); }
inline bool encode_bf16(const float* x, std::uint8_t* b) {
    const std::uint16_t bits = bf16(*x).bits;
    std::memcpy(b, &bits, sizeof bits);
    return (bits & 0x7f80) != 0x7f80;
}

inline bool all_finite(const float* x, std::size_t n) {
    bool good = true;
    for (std::size_t j = 0; j < n; ++j) good &= is_finite(x[j]);
    return good;
}

// 1 / d, which all codes are made of. Where it overflows, d being denormal, ggml converts infinities and NaN to integers: 0 on x86.
struct inverse {
    explicit inverse(float d) : value(d != 0 ? 1.0f / d : 0.0f), overflows(!is_finite(value)) {}
    float value;
    bool overflows;
};

// The bits of the largest magnitude: those of floats order as the floats do, infinity and NaN come last.
inline std::uint32_t largest_magnitude(const float* x) {
    std::uint32_t top = 0;
    for (std::size_t j = 0; j < 32; ++j) {
        const std::uint32_t bits = std::bit_cast<std::uint32_t>(x[j]) & 0x7fffffffu;
        top = bits > top ? bits : top;
    }
    return top;
}

// d = absmax / 127, codes to nearest, ties away from zero
inline bool encode_q8_0(const float* x, std::uint8_t* b) {
    const float top = std::bit_cast<float>(largest_magnitude(x)), d = top / 127;
    if (!store_f16(d, b)) return false;  // so |x / d| <= 127 + a rounding below
    const inverse by(d);
    for (std::size_t j = 0; j < 32; ++j) {
        const float v = by.overflows ? 0.0f : mul(x[j], by.value);
        const int whole = int(v);
        const float rest = v - float(whole);
        b[2 + j] = std::uint8_t(whole + (rest >= 0.5f) - (rest <= -0.5f));
    }
    return true;
}

// The codes trunc(v), at most 15, of v(x) in [0, 17).
template <class V> void store_nibbles(const float* x, const V& v, std::uint8_t* nibbles) {
    const auto code = [&](float number) {
        const int q = int(v(number));
        return q < 15 ? q : 15;
    };
    for (std::size_t j = 0; j < 16; ++j) nibbles[j] = std::uint8_t(code(x[j]) | code(x[j + 16]) << 4);
}

// d = the number of largest magnitude (the first of them) / -8, codes x / d + 8 to nearest
inline bool encode_q4_0(const float* x, std::uint8_t* b) {
    const std::uint32_t top = largest_magnitude(x);
    std::size_t first = 0;
    while ((std::bit_cast<std::uint32_t>(x[first]) & 0x7fffffffu) != top) ++first;
    const float d = (top ? x[first] : 0.0f) / -8;  // zeros count as +0
    if (!store_f16(d, b)) return false;
    const inverse by(d);
    store_nibbles(
        x, [&](float v) { return by.overflows ? 0.0f : mul(v, by.value) + 8.5f; }, b + 2);
    return true;
}

// m = the least, d = (the greatest - m) / 15, codes (x - m) / d to nearest
inline bool encode_q4_1(const float* x, std::uint8_t* b) {
    float low = x[0], high = x[0];
    for (std::size_t j = 1; j < 32; ++j) {
        low = x[j] < low ? x[j] : low;
        high = x[j] > high ? x[j] : high;
    }
    const float d = (high - low) / 15;
    if (!all_finite(x, 32) || !store_f16(d, b) || !store_f16(low, b + 2)) return false;
    const inverse by(d);
    store_nibbles(
        x, [&](float v) { return by.overflows ? 0.0f : mul(v - low, by.value) + 0.5f; }, b + 4);
    return true;
}

// ---- the types ----

struct gguf_codec {
    gguf_type type;
    gguf_type_info info;
    void (*decode)(const std::uint8_t* from, std::size_t blocks, float* to) = nullptr;
    std::size_t (*encode)(const float* from, std::size_t blocks, std::uint8_t* to) = nullptr;  // gives the first block that failed, or `blocks`
};

inline void decode_f32(const std::uint8_t* from, std::size_t n, float* to) {
    if (n) std::memcpy(to, from, n * sizeof *to);
}
template <auto Decode, std::size_t Block, std::size_t Bytes> void decode_blocks(const std::uint8_t* from, std::size_t blocks, float* to) {
    for (std::size_t i = 0; i < blocks; ++i) Decode(from + i * Bytes, to + i * Block);
}
template <auto Encode, std::size_t Block, std::size_t Bytes> std::size_t encode_blocks(const float* from, std::size_t blocks, std::uint8_t* to) {
    for (std::size_t i = 0; i < blocks; ++i)
        if (!Encode(from + i * Block, to + i * Bytes)) return i;
    return blocks;
}

template <std::size_t Block, std::size_t Bytes, auto Decode = nullptr, auto Encode = nullptr>
constexpr gguf_codec codec(gguf_type type, const char* name) {
    constexpr bool decodes = !std::is_null_pointer_v<decltype(Decode)>, encodes = !std::is_null_pointer_v<decltype(Encode)>;
    gguf_codec c{type, {name, Block, Bytes, decodes}};
    if constexpr (std::is_convertible_v<decltype(Decode), decltype(c.decode)>) c.decode = Decode;  // null, or for many blocks
    else c.decode = decode_blocks<Decode, Block, Bytes>;
    if constexpr (encodes) c.encode = encode_blocks<Encode, Block, Bytes>;
    return c;
}

inline constexpr gguf_codec gguf_codecs[] = {
    codec<1, 4, decode_f32, encode_f32>(gguf_type::f32, "F32"),
    codec<1, 2, decode_f16, encode_f16>(gguf_type::f16, "F16"),
    codec<32, 18, decode_q4_0, encode_q4_0>(gguf_type::q4_0, "Q4_0"),
    codec<32, 20, decode_q4_1, encode_q4_1>(gguf_type::q4_1, "Q4_1"),
    codec<32, 22, decode_q5_0>(gguf_type::q5_0, "Q5_0"),
    codec<32, 24, decode_q5_1>(gguf_type::q5_1, "Q5_1"),
    codec<32, 34, decode_q8_0, encode_q8_0>(gguf_type::q8_0, "Q8_0"),
    codec<32, 40>(gguf_type::q8_1, "Q8_1"),
    codec<256, 84, decode_q2_k>(gguf_type::q2_k, "Q2_K"),
    codec<256, 110, decode_q3_k>(gguf_type::q3_k, "Q3_K"),
    codec<256, 144, decode_q4_k>(gguf_type::q4_k, "Q4_K"),
    codec<256, 176, decode_q5_k>(gguf_type::q5_k, "Q5_K"),
    codec<256, 210, decode_q6_k>(gguf_type::q6_k, "Q6_K"),
    codec<256, 292>(gguf_type::q8_k, "Q8_K"),
    codec<256, 66>(gguf_type::iq2_xxs, "IQ2_XXS"),
    codec<256, 74>(gguf_type::iq2_xs, "IQ2_XS"),
    codec<256, 98>(gguf_type::iq3_xxs, "IQ3_XXS"),
    codec<256, 50>(gguf_type::iq1_s, "IQ1_S"),
    codec<32, 18, decode_iq4_nl>(gguf_type::iq4_nl, "IQ4_NL"),
    codec<256, 110>(gguf_type::iq3_s, "IQ3_S"),
    codec<256, 82>(gguf_type::iq2_s, "IQ2_S"),
    codec<256, 136, decode_iq4_xs>(gguf_type::iq4_xs, "IQ4_XS"),
    codec<1, 1>(gguf_type::i8, "I8"),
    codec<1, 2>(gguf_type::i16, "I16"),
    codec<1, 4>(gguf_type::i32, "I32"),
    codec<1, 8>(gguf_type::i64, "I64"),
    codec<1, 8>(gguf_type::f64, "F64"),
    codec<256, 56>(gguf_type::iq1_m, "IQ1_M"),
    codec<1, 2, decode_bf16, encode_bf16>(gguf_type::bf16, "BF16"),
    codec<256, 54>(gguf_type::tq1_0, "TQ1_0"),
    codec<256, 66>(gguf_type::tq2_0, "TQ2_0"),
    codec<32, 17, decode_mxfp4>(gguf_type::mxfp4, "MXFP4"),
    codec<64, 36, decode_nvfp4>(gguf_type::nvfp4, "NVFP4"),
    codec<128, 18>(gguf_type::q1_0, "Q1_0"),
    codec<64, 18>(gguf_type::q2_0, "Q2_0"),
};

inline const gguf_codec* find_codec(std::uint32_t id) {
    for (const gguf_codec& c : gguf_codecs)
        if (std::uint32_t(c.type) == id) return &c;
    return nullptr;
}
inline std::string gguf_type_text(std::uint32_t id) {
    const gguf_codec* c = find_codec(id);
    return c ? c->info.name : "type " + std::to_string(id);
}

// Blocks that one thread takes at least.
constexpr std::size_t block_grain(const gguf_type_info& t) { return t.block < 8192 ? 8192 / t.block : 1; }

// Why a block could not be encoded.
inline error explain_block(const gguf_type_info& t, std::span<const float> values, std::size_t block) {
    const std::string where = "qnt::gguf_encode: ";
    const auto x = values.subspan(block * t.block, t.block);
    for (std::size_t j = 0; j < x.size(); ++j)
        if (!is_finite(x[j])) return {errc::not_finite, where + "element " + std::to_string(block * t.block + j) + " is not a finite number"};
    if (t.block == 1) return {errc::scale_range, where + "element " + std::to_string(block) + " (" + number_text(x[0]) + ") overflows " + t.name};
    return {errc::scale_range, where + "block " + std::to_string(block) + " (elements from " + std::to_string(block * t.block) +
                                   "): its f16 scale or minimum of " + t.name + " overflows; scale the weights down"};
}

}  // namespace QNT_BASELINE
}  // namespace detail

inline namespace QNT_BASELINE {

// The facts of a type, null if there is none of this number. Valid for ever.
inline const gguf_type_info* find_gguf_type(std::uint32_t id) {
    const detail::gguf_codec* c = detail::find_codec(id);
    return c ? &c->info : nullptr;
}

// Whole blocks to out, bit for bit as ggml does; infinite and NaN scales give what they give. Errors: unsupported (a type that is
// unknown or not decoded), invalid_argument (sizes that do not fit).
inline result<void> gguf_decode(std::uint32_t type, std::span<const std::byte> blocks, std::span<float> out, executor_ref executor = {}) {
    const detail::gguf_codec* c = detail::find_codec(type);
    if (!c || !c->decode)
        return error{errc::unsupported, "qnt::gguf_decode: " + detail::gguf_type_text(type) + (c ? " is not decoded" : " is unknown")};
    const std::size_t n = blocks.size() / c->info.bytes;
    if (blocks.size() % c->info.bytes != 0 || out.size() % c->info.block != 0 || out.size() / c->info.block != n)
        return error{errc::invalid_argument, "qnt::gguf_decode: " + std::to_string(blocks.size()) + " bytes of " + c->info.name + " to " +
                                                 std::to_string(out.size()) + " numbers: a block is " + std::to_string(c->info.bytes) +
                                                 " bytes and " + std::to_string(c->info.block) + " numbers"};
    const auto* from = reinterpret_cast<const std::uint8_t*>(blocks.data());
    executor.parallel_for(n, detail::block_grain(c->info), [&](std::size_t begin, std::size_t end) {
        const fp_env env;
        c->decode(from + begin * c->info.bytes, end - begin, out.data() + begin * c->info.block);
    });
    return {};
}

// f32, f16, bf16, q8_0, q4_0 or q4_1: rows of whole blocks to out, the bytes of ggml's reference quantizers where those give finite
// numbers. (A scale that f16 rounds to zero makes a block zero, as theirs does.) Errors: unsupported (another type), invalid_argument
// (sizes that do not fit), not_finite (NaN or infinity, naming the element), scale_range (finite, but beyond f16).
inline result<void> gguf_encode(gguf_type type, std::span<const float> values, std::span<std::byte> out, executor_ref executor = {}) {
    const detail::gguf_codec* c = detail::find_codec(std::uint32_t(type));
    if (!c || !c->encode)
        return error{errc::unsupported,
                     "qnt::gguf_encode: " + detail::gguf_type_text(std::uint32_t(type)) + " is not encoded; F32, F16, BF16, Q8_0, Q4_0 and Q4_1 are"};
    const std::size_t n = values.size() / c->info.block;
    if (values.size() % c->info.block != 0 || out.size() % c->info.bytes != 0 || out.size() / c->info.bytes != n)
        return error{errc::invalid_argument, "qnt::gguf_encode: " + std::to_string(values.size()) + " numbers to " + std::to_string(out.size()) +
                                                 " bytes of " + c->info.name + ": a block is " + std::to_string(c->info.block) + " numbers and " +
                                                 std::to_string(c->info.bytes) + " bytes"};
    auto* to = reinterpret_cast<std::uint8_t*>(out.data());
    detail::first_failure failed;
    executor.parallel_for(n, detail::block_grain(c->info), [&](std::size_t begin, std::size_t end) {
        const fp_env env;
        const std::size_t done = c->encode(values.data() + begin * c->info.block, end - begin, to + begin * c->info.bytes);
        if (done < end - begin) failed.note(begin + done);
    });
    if (failed.any()) return detail::explain_block(c->info, values, failed.row());
    return {};
}

// The same into memory of its own.
inline result<std::vector<std::byte>> gguf_encode(gguf_type type, std::span<const float> values, executor_ref executor = {}) {
    const gguf_type_info* t = find_gguf_type(std::uint32_t(type));
    std::vector<std::byte> out(t ? values.size() / t->block * t->bytes : 0);
    const auto r = gguf_encode(type, values, out, executor);
    if (!r) return r.error();
    return out;
}

// The grid of ours on which the numbers of a type lie exactly, so that a matrix goes from one to the other without loss.
inline std::optional<any_format> grid_of(gguf_type type) {
    switch (type) {
    case gguf_type::f32: return any_format{info_of<dense_format<float>>, 0};
    case gguf_type::f16: return any_format{info_of<dense_format<f16>>, 0};
    case gguf_type::bf16: return any_format{info_of<dense_format<bf16>>, 0};
    case gguf_type::q8_0: return format_of<int8_group<32>>();
    case gguf_type::q4_0: return format_of<int4<32>>();
    default: return {};
    }
}

// The type that takes a format's matrices without loss.
inline std::optional<gguf_type> gguf_type_of(const any_format& format) {
    for (const gguf_type t : {gguf_type::f32, gguf_type::f16, gguf_type::bf16, gguf_type::q8_0, gguf_type::q4_0})
        if (grid_of(t) == format) return t;
    return {};
}

}  // namespace QNT_BASELINE

namespace detail {
inline namespace QNT_BASELINE {

// An unpacked row of int8:32 or int4:32 to whole blocks at b.
inline void row_to_blocks(const unpacked_row& row, std::size_t groups, bool nibbles, std::uint8_t* b) {
    for (std::size_t g = 0; g < groups; ++g) {
        const std::uint8_t* q = row.codes + g * 32;
        store_f16(row.scales[g], b);
        b += 2;
        if (!nibbles) std::memcpy(b, q, 32);
        for (std::size_t j = 0; nibbles && j < 16; ++j) b[j] = std::uint8_t(q[j] | q[j + 16] << 4);
        b += nibbles ? 16 : 32;
    }
}

}  // namespace QNT_BASELINE
}  // namespace detail

inline namespace QNT_BASELINE {

// The blocks of a packed matrix, row after row, of the type gguf_type_of() names: no number changes. Errors: unsupported (a format that no
// type holds, rows that are not whole blocks, permuted columns).
inline result<std::vector<std::byte>> gguf_encode(const any_view<layout::panels>& w, executor_ref executor = {}) {
    const any_format format{w.format, w.shape.group};
    const auto type = gguf_type_of(format);
    if (!type)
        return error{errc::unsupported,
                     "qnt::gguf_encode: GGUF has no type for " + format.name() + "; it has for f32, f16, bf16, int8:32 and int4:32"};
    if (w.transform() != input_transform::none)
        return error{errc::unsupported, std::string("qnt::gguf_encode: GGUF has no place for ") + (w.columns ? "permuted" : "outlier") +
                                            " columns; dequantize and quantize the matrix"};
    const gguf_type_info& t = *find_gguf_type(std::uint32_t(*type));
    if (w.shape.cols % t.block != 0)
        return error{errc::unsupported, "qnt::gguf_encode: rows of " + std::to_string(w.shape.cols) + " numbers are not whole blocks of " +
                                            std::to_string(t.block) + ", which " + t.name + " needs"};
    const std::size_t row_bytes = w.shape.cols / t.block * t.bytes;
    std::vector<std::byte> out(w.shape.rows * row_bytes);
    auto* const to = reinterpret_cast<std::uint8_t*>(out.data());
    executor.parallel_for(ceil_div(w.shape.rows, panel_rows), 1, [&](std::size_t begin, std::size_t end) {
        detail::panel_space space(w.format, w.shape);
        for (std::size_t first = begin * panel_rows; first < end * panel_rows && first < w.shape.rows; first += panel_rows) {
            const std::size_t count = std::min(panel_rows, w.shape.rows - first);
            unpack_rows(w, first, count, space.row(0), space.code_step);
            for (std::size_t r = 0; r < count; ++r) {
                if (w.format.is_dense()) std::memcpy(to + (first + r) * row_bytes, space.row(r).codes, row_bytes);
                else detail::row_to_blocks(space.row(r), w.shape.groups(), w.format.bits == 4, to + (first + r) * row_bytes);
            }
        }
    });
    return out;
}

}  // namespace QNT_BASELINE
}  // namespace qnt
