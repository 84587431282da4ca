// The kernels of every instruction set, and the tables that pick one at run time. A row of a table is instantiated only for what a
// program uses.
#pragma once
#include <type_traits>

#include "../isa/amx_int8/ops.hpp"
#include "../isa/avx2/ops.hpp"
#include "../isa/avx512/ops.hpp"
#include "../isa/avx512vnni/ops.hpp"
#include "../isa/avxvnni/ops.hpp"
#include "../isa/dotprod/ops.hpp"
#include "../isa/i8mm/ops.hpp"
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
#define QNT_FLOAT_ISAS_ONLY
#define QNT_ISA_FILE "../kernels/exact_gemm.inl"
#include "../isa/foreach.hpp"
#define QNT_FLOAT_ISAS_ONLY
#define QNT_ISA_FILE "../kernels/activations.inl"
#include "../isa/foreach.hpp"
#define QNT_FLOAT_ISAS_ONLY
#define QNT_ISA_FILE "../kernels/outliers.inl"
#include "../isa/foreach.hpp"
#include "compiled.hpp"

// One entry per instruction set of this architecture, in the order of isa::id.
#define QNT_ENTRY(name, ...) &qnt::isa::name::__VA_ARGS__,
#define QNT_EVERY_ISA(...) \
    { QNT_ISAS(QNT_ENTRY, __VA_ARGS__) }
#define QNT_FLOAT_ISA_OF_EVERY(...) \
    { QNT_FLOAT_ISA_OF_EACH(QNT_ENTRY, __VA_ARGS__) }

namespace qnt::kernels {
inline namespace QNT_BASELINE {

template <operand_family Family, bool Zero> inline constexpr gemm_function int8_gemm[isa::count] = QNT_EVERY_ISA(int8_gemm<Family, Zero>);

template <operand_family Family, bool Zero> inline constexpr gemm_function exact_gemm[isa::count] = QNT_FLOAT_ISA_OF_EVERY(exact_gemm<Family, Zero>);

inline constexpr decltype(&isa::scalar::quantize_activation_row) quantize_activation_row[isa::count] =
    QNT_FLOAT_ISA_OF_EVERY(quantize_activation_row);

inline constexpr decltype(&isa::scalar::add_outliers) add_outliers[isa::count] = QNT_FLOAT_ISA_OF_EVERY(add_outliers);

#define QNT_ENTRY_VALUE(name, value) qnt::isa::name::value,
inline constexpr int operand_bias[isa::count] = {QNT_ISAS(QNT_ENTRY_VALUE, ops::bias)};

}  // namespace QNT_BASELINE
}  // namespace qnt::kernels
