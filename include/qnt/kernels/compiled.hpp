// For programs with many translation units that multiply: compile the product kernels once. A unit built with QNT_COMPILED does not
// instantiate them; one source of the program (CMake's target qnt::compiled has it) defines QNT_COMPILED_PART, 0 to 3, and includes
// <qnt/kernels/table.hpp>, once for each part. All must be built with the same flags. Without the macro nothing changes.
#pragma once
#if defined(QNT_COMPILED)

#define QNT_GEMM_ARGUMENTS (const kernels::gemm_args&, std::size_t, std::size_t, std::size_t, std::size_t) noexcept
#define QNT_INT8_GEMM(name, prefix, family, zero) prefix template void isa::name::int8_gemm<operand_family::family, zero> QNT_GEMM_ARGUMENTS;
#define QNT_EXACT_GEMM(name, prefix, family, zero) prefix template void isa::name::exact_gemm<operand_family::family, zero> QNT_GEMM_ARGUMENTS;

#define QNT_KERNELS_0(name, prefix)                   \
    QNT_INT8_GEMM(name, prefix, nibble_affine, false) \
    QNT_INT8_GEMM(name, prefix, nibble_affine, true)  \
    QNT_INT8_GEMM(name, prefix, byte_table, false)
#define QNT_KERNELS_1(name, prefix)                  \
    QNT_INT8_GEMM(name, prefix, nibble_table, false) \
    QNT_INT8_GEMM(name, prefix, byte_value, false)
#define QNT_KERNELS_2(name, prefix)                    \
    QNT_EXACT_GEMM(name, prefix, nibble_affine, false) \
    QNT_EXACT_GEMM(name, prefix, nibble_affine, true)  \
    QNT_EXACT_GEMM(name, prefix, nibble_table, false)
#define QNT_KERNELS_3(name, prefix)                 \
    QNT_EXACT_GEMM(name, prefix, byte_value, false) \
    QNT_EXACT_GEMM(name, prefix, byte_table, false) \
    QNT_EXACT_GEMM(name, prefix, dense_f32, false)  \
    QNT_EXACT_GEMM(name, prefix, dense_f16, false)  \
    QNT_EXACT_GEMM(name, prefix, dense_bf16, false)

namespace qnt {
#if !defined(QNT_COMPILED_PART)
QNT_ISAS(QNT_KERNELS_0, extern)
QNT_ISAS(QNT_KERNELS_1, extern)
QNT_FLOAT_ISAS(QNT_KERNELS_2, extern)
QNT_FLOAT_ISAS(QNT_KERNELS_3, extern)
#elif QNT_COMPILED_PART == 0
QNT_ISAS(QNT_KERNELS_0, )
#elif QNT_COMPILED_PART == 1
QNT_ISAS(QNT_KERNELS_1, )
#elif QNT_COMPILED_PART == 2
QNT_FLOAT_ISAS(QNT_KERNELS_2, )
#else
QNT_FLOAT_ISAS(QNT_KERNELS_3, )
#endif
}  // namespace qnt

#endif
