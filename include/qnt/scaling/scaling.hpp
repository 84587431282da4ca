// What a scaling is: how many weights share a scale, what the scale is stored as, and whether a zero point goes with it.
// A scaling is a type with five constants (see the files beside this one); kernels see the scale type and the offset kind only.
#pragma once
#include <concepts>

#include "../core/half.hpp"

namespace qnt {

enum class granularity : std::uint8_t {
    none,     // no scale
    tensor,   // one scale for the matrix
    channel,  // one per row (output feature)
    group,    // one per row and group of `group` columns (input features); the last group may be shorter
};

enum class offset_kind : std::uint8_t {
    none,
    integer_zero,  // value = (q - z) * scale with an integer z per group
};

// The group size is known at run time only (any_format.hpp).
inline constexpr std::size_t dynamic_group = std::size_t(-1);

template <class S>
concept scaling = requires {
    { S::kind } -> std::convertible_to<granularity>;
    { S::group } -> std::convertible_to<std::size_t>;
    { S::scale } -> std::convertible_to<scalar_type>;
    { S::offset } -> std::convertible_to<offset_kind>;
    { S::is_nested } -> std::convertible_to<bool>;
};

}  // namespace qnt
