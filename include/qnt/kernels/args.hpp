// What a matrix product kernel is handed: plain pointers and numbers, computed and checked once per call by matmul.hpp.
#pragma once
#include "../activations.hpp"
#include "../packed/matrix.hpp"

namespace qnt {

enum class activation : std::uint8_t { none, gelu_tanh };

// What happens to a finished tile while it is in registers: y = activation(product + bias) + residual.
struct epilogue {
    const float* bias = nullptr;  // [N]
    qnt::activation activation = activation::none;
    const float* residual = nullptr;  // [M, N]; may be y itself
    std::size_t residual_stride = 0;  // elements from row to row
};

namespace kernels {

struct gemm_args {
    // w[N, K] in panels
    const std::uint8_t* panels;
    std::size_t n, k;
    std::size_t panel_bytes, group_bytes, group_size, groups;
    scalar_type scale;
    std::size_t zero_offset;  // of the zero points behind the scales
    bool grouped;             // scales per group; else one per row, applied at the end
    const code_tables* tables;
    bool reads_ahead;  // isa::reads_ahead(): one row of x need not ask for weights
    // x[M, K] as int8 activations (int8_gemm): see activations.hpp
    const std::int8_t* codes;
    std::size_t codes_stride;
    std::size_t m, segments;
    const float* factors;            // [segments, M]: magic (grouped), or the segment's scale
    const std::int32_t* seeds;       // [segments, M]: bits of magic, less the bias of the weight operands times the sum of codes
    const std::int32_t* minus_sums;  // [segments, M]
    const float* row_scales;         // [M], times the unit of the operands
    // x[M, K] as f32, K padded with zeros to a multiple of 8 (exact_gemm)
    const float* x;
    std::size_t x_stride;
    // y[M, N]
    void* y;
    scalar_type y_type;
    std::size_t y_stride;
    qnt::epilogue epilogue;
};

// The product of the codes, and what is to be added to it: see packed/outliers.hpp.
struct outlier_args {
    const float* product;        // [M, N]
    const float* x;              // [M, count]: of the outlier columns
    const std::uint8_t* values;  // f16 [panels, count, 16]
    std::size_t count;
    gemm_args out;  // n, y and its epilogue
};

// Panels [panel_begin, panel_end) of w against rows [row_begin, row_end) of x.
using gemm_function = void (*)(const gemm_args&, std::size_t panel_begin, std::size_t panel_end, std::size_t row_begin, std::size_t row_end) noexcept;

}  // namespace kernels
}  // namespace qnt
