// kv_cache: the keys and values of past positions, for attention.
//
// One allocation of fixed capacity, rounded up to 16 positions. Per layer, f32:
//     keys     [heads][position / 16][d][position % 16]    16 positions side by side: their dot products with q lie in lanes
//     values   [heads][position][d rounded up to 16]       zeros beyond d
// The layout is for kernels; programs write with append() and read single numbers with key() and value(), whatever the storage type.
#pragma once
#include <cstring>
#include <string>

#include "../core/aligned_buffer.hpp"
#include "../core/executor.hpp"
#include "../core/matrix_view.hpp"

namespace qnt {

class kv_cache;
namespace detail {
inline namespace QNT_BASELINE {
void append(kv_cache& cache, std::size_t layer, const matrix_view<const float>& k, const matrix_view<const float>& v, executor_ref executor);
void truncate(std::size_t* lengths, std::size_t layers, std::size_t length);
}  // namespace QNT_BASELINE
}  // namespace detail

class kv_cache {
public:
    static constexpr std::size_t block = 16;  // positions whose keys lie side by side

    // Empty, with room for `capacity` positions in each layer of `heads` heads of `head_dim` numbers.
    // Errors: invalid_argument (one of them is 0), out_of_memory.
    QNT_INLINE static result<kv_cache> create(std::size_t layers, std::size_t heads, std::size_t head_dim, std::size_t capacity) {
        const std::string shape = "kv_cache of " + std::to_string(layers) + " layers, " + std::to_string(heads) + " heads of " +
                                  std::to_string(head_dim) + " numbers, capacity " + std::to_string(capacity);
        if (layers == 0 || heads == 0 || head_dim == 0 || capacity == 0) return error{errc::invalid_argument, shape + ": all must be positive"};
        const double floats = double(layers) * double(heads) * (double(capacity) + double(block)) * (2.0 * double(head_dim) + double(block));
        if (floats > 0x1p45) return error{errc::out_of_memory, shape + ": larger than any memory"};
        kv_cache c;
        c.layers_ = layers;
        c.heads_ = heads;
        c.head_dim_ = head_dim;
        c.capacity_ = capacity;
        auto memory = aligned_buffer::allocate(layers * (c.layer_bytes() + sizeof(std::size_t)));
        if (!memory) return error{memory.error().code, shape + ": " + memory.error().message};
        c.memory_ = std::move(*memory);
        return c;
    }

    std::size_t layers() const { return layers_; }
    std::size_t heads() const { return heads_; }
    std::size_t head_dim() const { return head_dim_; }
    std::size_t capacity() const { return capacity_; }
    std::size_t bytes() const { return memory_.size(); }
    // Of the stored numbers.
    scalar_type type() const { return scalar_type::f32; }
    // Positions stored.
    QNT_INLINE std::size_t length(std::size_t layer) const { return check_layer("length", layer), lengths()[layer]; }

    // Stores k[T, heads * d] and v[T, heads * d] as the next T positions of a layer; rows may be parts of wider ones (a fused q, k, v).
    // contract_error, with nothing stored: other shapes, or more positions than the capacity.
    QNT_INLINE void append(std::size_t layer, const matrix_view<const float>& k, const matrix_view<const float>& v, executor_ref executor = {}) {
        detail::append(*this, layer, k, v, executor);
    }
    // Forgets the positions from `length` on, in every layer.
    QNT_INLINE void truncate(std::size_t length) { detail::truncate(lengths(), layers_, length); }
    void clear() { truncate(0); }

    // Number i of head `head` at a stored position, as f32.
    QNT_INLINE float key(std::size_t layer, std::size_t head, std::size_t position, std::size_t i) const {
        check_element("key", layer, head, position, i);
        return reinterpret_cast<const float*>(keys(layer, head))[key_index(position, i)];
    }
    QNT_INLINE float value(std::size_t layer, std::size_t head, std::size_t position, std::size_t i) const {
        check_element("value", layer, head, position, i);
        return reinterpret_cast<const float*>(values(layer, head))[position * value_row() + i];
    }

    // For kernels: the memory of one head, and how it lies there, in elements. Heads follow each other.
    std::byte* keys(std::size_t layer, std::size_t head) { return memory_.data() + layer * layer_bytes() + head * keys_per_head() * sizeof(float); }
    std::byte* values(std::size_t layer, std::size_t head) { return keys(layer, heads_) + head * values_per_head() * sizeof(float); }
    const std::byte* keys(std::size_t layer, std::size_t head) const { return const_cast<kv_cache*>(this)->keys(layer, head); }
    const std::byte* values(std::size_t layer, std::size_t head) const { return const_cast<kv_cache*>(this)->values(layer, head); }
    std::size_t keys_per_head() const { return round_up(capacity_, block) * head_dim_; }
    std::size_t values_per_head() const { return round_up(capacity_, block) * value_row(); }
    std::size_t value_row() const { return round_up(head_dim_, block); }
    std::size_t key_index(std::size_t position, std::size_t i) const { return (position / block * head_dim_ + i) * block + position % block; }

private:
    friend void detail::append(kv_cache&, std::size_t, const matrix_view<const float>&, const matrix_view<const float>&, executor_ref);

    kv_cache() = default;
    std::size_t layer_bytes() const { return heads_ * (keys_per_head() + values_per_head()) * sizeof(float); }
    std::size_t* lengths() { return reinterpret_cast<std::size_t*>(memory_.data() + layers_ * layer_bytes()); }  // [layers], behind all numbers
    const std::size_t* lengths() const { return const_cast<kv_cache*>(this)->lengths(); }
    QNT_INLINE void check_layer(const char* function, std::size_t layer) const {
        if (layer >= layers_)
            detail::contract_violation(std::string("qnt::kv_cache::") + function + ": there is no layer " + std::to_string(layer) + " of " +
                                       std::to_string(layers_));
    }
    QNT_INLINE void check_element(const char* function, std::size_t layer, std::size_t head, std::size_t position, std::size_t i) const {
        check_layer(function, layer);
        if (head >= heads_ || position >= lengths()[layer] || i >= head_dim_)
            detail::contract_violation(std::string("qnt::kv_cache::") + function + "(" + std::to_string(layer) + ", " + std::to_string(head) + ", " +
                                       std::to_string(position) + ", " + std::to_string(i) + "): outside of [" + std::to_string(layers_) + ", " +
                                       std::to_string(heads_) + ", " + std::to_string(lengths()[layer]) + ", " + std::to_string(head_dim_) + "]");
    }

    aligned_buffer memory_;
    std::size_t layers_ = 0, heads_ = 0, head_dim_ = 0, capacity_ = 0;
};

namespace detail {
inline namespace QNT_BASELINE {

inline void append(kv_cache& cache, std::size_t layer, const matrix_view<const float>& k, const matrix_view<const float>& v, executor_ref executor) {
    cache.check_layer("append", layer);
    const std::size_t d = cache.head_dim(), first = cache.lengths()[layer];
    if (k.rows != v.rows || k.cols != cache.heads() * d || v.cols != k.cols || k.col_stride != 1 || v.col_stride != 1)
        contract_violation("qnt::kv_cache::append: k[" + std::to_string(k.rows) + ", " + std::to_string(k.cols) + "] and v[" +
                           std::to_string(v.rows) + ", " + std::to_string(v.cols) + "] must both be [positions, " + std::to_string(cache.heads()) +
                           " * " + std::to_string(d) + "], with dense rows");
    if (k.rows > cache.capacity() - first)
        contract_violation("qnt::kv_cache::append: " + std::to_string(k.rows) + " positions from position " + std::to_string(first) + " of layer " +
                           std::to_string(layer) + " on exceed the capacity of " + std::to_string(cache.capacity()) + " positions");
    const auto store_heads = [&](std::size_t begin, std::size_t end) {
        for (std::size_t head = begin; head < end; ++head) {
            float* keys = reinterpret_cast<float*>(cache.keys(layer, head));
            float* values = reinterpret_cast<float*>(cache.values(layer, head));
            for (std::size_t t = 0; t < k.rows; ++t) {
                const float* from = k.row(t) + head * d;
                float* to = keys + cache.key_index(first + t, 0);
                for (std::size_t i = 0; i < d; ++i) to[i * kv_cache::block] = from[i];
                std::memcpy(values + (first + t) * cache.value_row(), v.row(t) + head * d, d * sizeof(float));
            }
        }
    };
    if (k.rows * k.cols < 65536) store_heads(0, cache.heads());  // less work than waking a thread
    else executor.parallel_for(cache.heads(), 1, store_heads);
    cache.lengths()[layer] = first + k.rows;
}

inline void truncate(std::size_t* lengths, std::size_t layers, std::size_t length) {
    for (std::size_t i = 0; i < layers; ++i)
        if (lengths[i] > length) lengths[i] = length;
}

}  // namespace QNT_BASELINE
}  // namespace detail
}  // namespace qnt
