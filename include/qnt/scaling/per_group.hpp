// per_group<Group, Scale, Offset>: one scale (and zero point) per row and `Group` columns.
//   Group   a multiple of 16; the last group of a row may be shorter and has its own scale
//   Scale   float, f16, bf16, or nested<...> (scaling/nested.hpp)
//   Offset  none: scale = absmax / Code::absmax
//           integer_zero: scale = (hi - lo) / (levels - 1) with lo <= 0 <= hi, zero = rne(-lo / scale)
// Scales are rounded to their type first, codes are computed with the rounded scale. A group of zeros has scale 0.
#pragma once
#include "scaling.hpp"

namespace qnt {

template <class Scale> struct scale_traits;  // what per_group asks of its scale argument
template <scalar Scale> struct scale_traits<Scale> {
    static constexpr scalar_type type = scalar_type_of<Scale>;
    static constexpr bool is_nested = false;
};

template <std::size_t Group, class Scale, offset_kind Offset = offset_kind::none> struct per_group {
    static_assert(Group == dynamic_group || (Group > 0 && Group % 16 == 0), "a group is a multiple of 16 columns");
    static constexpr granularity kind = granularity::group;
    static constexpr std::size_t group = Group;
    static constexpr scalar_type scale = scale_traits<Scale>::type;
    static constexpr offset_kind offset = Offset;
    static constexpr bool is_nested = scale_traits<Scale>::is_nested;
};

}  // namespace qnt
