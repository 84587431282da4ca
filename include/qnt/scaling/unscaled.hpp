// unscaled: no scale at all (dense formats).
#pragma once
#include "scaling.hpp"

namespace qnt {

struct unscaled {
    static constexpr granularity kind = granularity::none;
    static constexpr std::size_t group = 0;
    static constexpr scalar_type scale = scalar_type::none;
    static constexpr offset_kind offset = offset_kind::none;
    static constexpr bool is_nested = false;
};

}  // namespace qnt
