// format<Code, Scaling>: the formats of the library are products of a code and a scaling.
#pragma once
#include <string_view>

#include "code/dense.hpp"
#include "code/fp4_bnb.hpp"
#include "code/int4.hpp"
#include "code/int8.hpp"
#include "code/nf4.hpp"
#include "code/uint4.hpp"
#include "scaling/nested.hpp"
#include "scaling/per_channel.hpp"
#include "scaling/per_group.hpp"
#include "scaling/per_tensor.hpp"
#include "scaling/unscaled.hpp"

namespace qnt {

template <code Code, scaling Scaling> struct format {
    using code = Code;
    using scaling = Scaling;
    static_assert(dense<Code> == (Scaling::kind == granularity::none), "dense codes have no scale, all others have one");
    static_assert(
        Scaling::offset == offset_kind::none || requires { requires Code::max_zero <= 15; }, "zero points need a code with max_zero <= 15");
    static_assert(Scaling::offset == offset_kind::none || !Scaling::is_nested, "zero points and nested scales do not go together yet");
};

template <class F>
concept format_type = requires {
    typename F::code;
    typename F::scaling;
} && std::same_as<F, format<typename F::code, typename F::scaling>>;

template <scalar T> using dense_format = format<dense_code<T>, unscaled>;
using int8 = format<int8_code, per_tensor<float>>;
using int8_channel = format<int8_code, per_channel<float>>;
template <std::size_t Group, class Scale = f16> using int8_group = format<int8_code, per_group<Group, Scale>>;
using q8_0 = int8_group<32>;  // the grid of GGUF's Q8_0
template <std::size_t Group, class Scale = float> using nf4 = format<nf4_code, per_group<Group, Scale>>;
template <std::size_t Group, class Scale = float> using fp4_bnb = format<fp4_bnb_code, per_group<Group, Scale>>;
template <std::size_t Group> using nf4_dq = nf4<Group, nested<dynamic_u8, nested_block>>;
template <std::size_t Group, class Scale = f16> using int4 = format<int4_code, per_group<Group, Scale>>;
template <std::size_t Group, class Scale = f16> using uint4 = format<uint4_code, per_group<Group, Scale, offset_kind::integer_zero>>;

// What containers and kernels know of a format at run time.
struct format_info {
    const char* code_name = "";
    int bits = 0;  // of a code
    panel_kind panel = panel_kind::byte;
    granularity kind = granularity::none;
    scalar_type scale = scalar_type::none;
    offset_kind offset = offset_kind::none;
    bool is_nested = false;
    operand_family family = operand_family::dense_f32;
    const code_tables* tables = nullptr;
    bool exact_operands = true;  // false: int8_activations multiplies by rounded code values

    constexpr bool is_dense() const { return kind == granularity::none; }
    constexpr bool is_grouped() const { return kind == granularity::group; }
    constexpr bool has_zero() const { return offset == offset_kind::integer_zero; }
    friend constexpr bool operator==(const format_info& a, const format_info& b) {
        return std::string_view(a.code_name) == b.code_name && a.bits == b.bits && a.panel == b.panel && a.kind == b.kind && a.scale == b.scale &&
               a.offset == b.offset && a.is_nested == b.is_nested;
    }
};

template <format_type F>
inline constexpr format_info info_of = [] {
    using C = typename F::code;
    using S = typename F::scaling;
    format_info f{C::name, C::bits, panel_kind_of<C>, S::kind, S::scale, S::offset, S::is_nested, operand_family_of<C>, &tables_of<C>, true};
    if constexpr (quantized_code<C>) f.exact_operands = has_exact_operands<C>;
    return f;
}();

// Is the group size part of the type?
template <format_type F> inline constexpr bool is_static_group = F::scaling::group != dynamic_group;

}  // namespace qnt
