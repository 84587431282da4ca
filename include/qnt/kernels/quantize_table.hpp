// The kernels that quantize and dequantize rows, for every instruction set.
#pragma once
#include <limits>

#include "table.hpp"

namespace qnt::kernels {

// Of a group's values and 0.
struct group_range {
    std::uint32_t top = 0;    // the bits of the largest magnitude
    float low = 0, high = 0;  // where asked for

    bool finite() const { return top < 0x7f800000u; }
    float absmax() const { return std::bit_cast<float>(top); }
};

struct encode_args {
    std::size_t cols, group;
    std::size_t next_row;       // where the next row begins, in floats behind this one
    const float* scales;        // [groups]
    const std::uint8_t* zeros;  // [groups], or none
    float low, high;            // the ends of the values, with zero point 0
    int offset;                 // integers: the code of 0
    // nearest value: 16 values, and what lies halfway between neighbours: middles_of<Code>
    const float *values, *middles;
};

// Over a row w against its approximation v, element i in part i mod 16: sums of w^2, (w - v)^2, w v and v^2, and the largest |w - v|.
struct error_parts {
    double ww[16] = {}, ee[16] = {}, wv[16] = {}, vv[16] = {};
    float most[16] = {};
};

// What a code byte stands for: itself, one of sixteen values, or one of 256.
enum class code_values : std::uint8_t { signed_bytes, sixteen, any };

struct decode_args {
    std::size_t cols, group;
    const float* scales;        // [groups]
    const std::uint8_t* zeros;  // [groups], or none
    const float* values;        // of the codes
};

}  // namespace qnt::kernels

#define QNT_FLOAT_ISAS_ONLY
#define QNT_ISA_FILE "../kernels/quantize.inl"
#include "../isa/foreach.hpp"

namespace qnt::kernels {
inline namespace QNT_BASELINE {

template <bool Ends>
inline constexpr decltype(&isa::scalar::group_ranges<Ends>) group_ranges[isa::count] = QNT_FLOAT_ISA_OF_EVERY(group_ranges<Ends>);
template <bool Integers, bool Decodes>
inline constexpr decltype(&isa::scalar::encode_row<Integers, Decodes>) encode_row[isa::count] = QNT_FLOAT_ISA_OF_EVERY(encode_row<Integers, Decodes>);
template <code_values Kind>
inline constexpr decltype(&isa::scalar::decode_row<Kind>) decode_row[isa::count] = QNT_FLOAT_ISA_OF_EVERY(decode_row<Kind>);
inline constexpr decltype(&isa::scalar::narrow_row) narrow_row[isa::count] = QNT_FLOAT_ISA_OF_EVERY(narrow_row);
inline constexpr decltype(&isa::scalar::widen_row) widen_row[isa::count] = QNT_FLOAT_ISA_OF_EVERY(widen_row);
inline constexpr decltype(&isa::scalar::add_errors) add_errors[isa::count] = QNT_FLOAT_ISA_OF_EVERY(add_errors);

}  // namespace QNT_BASELINE
}  // namespace qnt::kernels
