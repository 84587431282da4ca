// per_channel<Scale>: one scale per row (output feature), absmax of the row / Code::absmax.
#pragma once
#include "scaling.hpp"

namespace qnt {

template <scalar Scale> struct per_channel {
    static constexpr granularity kind = granularity::channel;
    static constexpr std::size_t group = 0;
    static constexpr scalar_type scale = scalar_type_of<Scale>;
    static constexpr offset_kind offset = offset_kind::none;
    static constexpr bool is_nested = false;
};

}  // namespace qnt
