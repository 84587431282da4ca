// The kernels of every instruction set, and the tables that pick one at run time. A row of a table is instantiated only for what a
// program uses.
#pragma once
#include <type_traits>

#include "../isa/avx2/ops.hpp"
#include "../isa/avx512/ops.hpp"
#include "../isa/avx512vnni/ops.hpp"
#include "../isa/dotprod/ops.hpp"
#include "../isa/isa.hpp"
#include "../isa/neon/ops.hpp"
#include "../isa/scalar/ops.hpp"
#include "args.hpp"

#define QNT_ISA_FILE "../kernels/math.inl"
#include "../isa/foreach.hpp"
#define QNT_ISA_FILE "../kernels/tile.inl"
#include "../isa/foreach.hpp"
#define QNT_ISA_FILE "../kernels/int8_gemm.inl"
#include "../isa/foreach.hpp"
#define QNT_ISA_FILE "../kernels/exact_gemm.inl"
#include "../isa/foreach.hpp"
#define QNT_ISA_FILE "../kernels/activations.inl"
#include "../isa/foreach.hpp"
#include "compiled.hpp"

// One entry per instruction set of this architecture, in the order of isa::id.
#if defined(__x86_64__)
#define QNT_EVERY_ISA(function) \
    { &isa::scalar::function, &isa::avx2::function, &isa::avx512::function, &isa::avx512vnni::function }
#elif defined(__aarch64__)
#define QNT_EVERY_ISA(function) \
    { &isa::scalar::function, &isa::neon::function, &isa::dotprod::function }
#else
#define QNT_EVERY_ISA(function) \
    { &isa::scalar::function }
#endif
#define QNT_COMMA ,

namespace qnt::kernels {
inline namespace QNT_BASELINE {

template <operand_family Family, bool Zero> inline constexpr gemm_function int8_gemm[isa::count] = QNT_EVERY_ISA(int8_gemm<Family QNT_COMMA Zero>);

template <operand_family Family, bool Zero> inline constexpr gemm_function exact_gemm[isa::count] = QNT_EVERY_ISA(exact_gemm<Family QNT_COMMA Zero>);

inline constexpr decltype(&isa::scalar::quantize_activation_row) quantize_activation_row[isa::count] = QNT_EVERY_ISA(quantize_activation_row);

#if defined(__x86_64__)
inline constexpr int operand_bias[isa::count] = {isa::scalar::ops::bias, isa::avx2::ops::bias, isa::avx512::ops::bias, isa::avx512vnni::ops::bias};
#elif defined(__aarch64__)
inline constexpr int operand_bias[isa::count] = {isa::scalar::ops::bias, isa::neon::ops::bias, isa::dotprod::ops::bias};
#else
inline constexpr int operand_bias[isa::count] = {isa::scalar::ops::bias};
#endif

}  // namespace QNT_BASELINE
}  // namespace qnt::kernels
