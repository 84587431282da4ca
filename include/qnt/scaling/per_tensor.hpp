// per_tensor<Scale>: one scale for the whole matrix, absmax / Code::absmax. Panels repeat it for each row (one kernel serves both
// this and per_channel).
#pragma once
#include "scaling.hpp"

namespace qnt {

template <scalar Scale> struct per_tensor {
    static constexpr granularity kind = granularity::tensor;
    static constexpr std::size_t group = 0;
    static constexpr scalar_type scale = scalar_type_of<Scale>;
    static constexpr offset_kind offset = offset_kind::none;
    static constexpr bool is_nested = false;
};

}  // namespace qnt
