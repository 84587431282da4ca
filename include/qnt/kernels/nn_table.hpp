// The kernels of nn/ for every instruction set.
#pragma once
#include "../core/aligned_buffer.hpp"
#include "table.hpp"

namespace qnt {

// How a kv_cache stores keys or values. int8: codes with one scale per head and position.
enum class kv_type : std::uint8_t { f32, f16, i8 };

constexpr std::size_t size_of(kv_type t) { return t == kv_type::f32 ? 4 : t == kv_type::f16 ? 2 : 1; }
constexpr const char* name_of(kv_type t) { return t == kv_type::f32 ? "f32" : t == kv_type::f16 ? "f16" : "int8"; }

namespace kernels {

// Query rows of one item of attention: as many may share a key in registers.
inline constexpr std::size_t attention_rows = 4;
// Positions in a block of a cache.
inline constexpr std::size_t kv_block = 64;

// One layer of a cache, whose block i holds the positions from i * kv_block on. kv_cache.hpp draws a block.
struct kv_layer {
    const aligned_buffer* blocks;
    kv_type key_type, value_type;
    std::size_t at, head_bytes;                             // of its first head in a block, and from there to the next
    std::size_t key_scales_at, values_at, value_scales_at;  // in a head
    std::size_t head_dim, value_row;

    QNT_INLINE const std::byte* head(std::size_t head, std::size_t position) const {
        return blocks[position / kv_block].data() + at + head * head_bytes;
    }
};

// Causal attention of q[T, heads * d]; row t sees the positions [0, first_position + t].
struct attention_args {
    const float* q;
    std::size_t q_stride;
    float* out;  // [T, heads * d]
    std::size_t out_stride;
    kv_layer kv;
    std::size_t tokens, first_position;
    float scale;
    std::size_t scores_stride;  // floats for one row of scores, a multiple of 16
};

}  // namespace kernels
}  // namespace qnt

#define QNT_FLOAT_ISAS_ONLY
#define QNT_ISA_FILE "../kernels/nn.inl"
#include "../isa/foreach.hpp"

namespace qnt::kernels {
inline namespace QNT_BASELINE {

inline constexpr decltype(&isa::scalar::layer_norm_row) layer_norm_row[isa::count] = QNT_FLOAT_ISA_OF_EVERY(layer_norm_row);
inline constexpr decltype(&isa::scalar::softmax_row) softmax_row[isa::count] = QNT_FLOAT_ISA_OF_EVERY(softmax_row);
inline constexpr decltype(&isa::scalar::gelu_tanh_row) gelu_tanh_row[isa::count] = QNT_FLOAT_ISA_OF_EVERY(gelu_tanh_row);
inline constexpr decltype(&isa::scalar::encode_kv_row) encode_kv_row[isa::count] = QNT_FLOAT_ISA_OF_EVERY(encode_kv_row);
inline constexpr decltype(&isa::scalar::attention) attention[isa::count] = QNT_FLOAT_ISA_OF_EVERY(attention);

}  // namespace QNT_BASELINE
}  // namespace qnt::kernels
