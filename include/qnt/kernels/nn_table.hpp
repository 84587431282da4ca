// The kernels of nn/ for every instruction set.
#pragma once
#include "table.hpp"

namespace qnt::kernels {

// Query rows of one item of attention: as many may share a key in registers.
inline constexpr std::size_t attention_rows = 4;

// Causal attention of q[T, heads * d] over one layer of a cache; row t sees the positions [0, first_position + t].
struct attention_args {
    const float* q;
    std::size_t q_stride;
    float* out;  // [T, heads * d]
    std::size_t out_stride;
    const float* keys;  // [heads][keys_stride], per head [position / 16][d][position % 16]
    std::size_t keys_stride;
    const float* values;  // [heads][values_stride], per head [position][values_row], zeros beyond d
    std::size_t values_stride, values_row;
    std::size_t tokens, head_dim, first_position;
    float scale;
    std::size_t scores_stride;  // floats for one row of scores, a multiple of 16
};

}  // namespace qnt::kernels

#define QNT_FLOAT_ISAS_ONLY
#define QNT_ISA_FILE "../kernels/nn.inl"
#include "../isa/foreach.hpp"

namespace qnt::kernels {
inline namespace QNT_BASELINE {

inline constexpr decltype(&isa::scalar::layer_norm_row) layer_norm_row[isa::count] = QNT_FLOAT_ISA_OF_EVERY(layer_norm_row);
inline constexpr decltype(&isa::scalar::softmax_row) softmax_row[isa::count] = QNT_FLOAT_ISA_OF_EVERY(softmax_row);
inline constexpr decltype(&isa::scalar::gelu_tanh_row) gelu_tanh_row[isa::count] = QNT_FLOAT_ISA_OF_EVERY(gelu_tanh_row);
inline constexpr decltype(&isa::scalar::attention) attention[isa::count] = QNT_FLOAT_ISA_OF_EVERY(attention);

}  // namespace QNT_BASELINE
}  // namespace qnt::kernels
