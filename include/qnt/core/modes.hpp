// How a product computes (matmul.hpp explains the modes).
#pragma once
#include "config.hpp"

namespace qnt {

enum class compute_mode : std::uint8_t {
    automatic,         // int8_activations, or exact where the format has no integer operands (dense ones)
    int8_activations,  // an error for formats without integer operands
    exact,
};
inline constexpr compute_mode automatic = compute_mode::automatic, int8_activations = compute_mode::int8_activations, exact = compute_mode::exact;

constexpr const char* name_of(compute_mode m) { return m == exact ? "exact" : m == int8_activations ? "int8_activations" : "automatic"; }

}  // namespace qnt
