// kv_cache: the keys and values of past positions, for attention; each stored as f32, f16 or int8.
//
//     auto cache = qnt::kv_cache::create(layers, heads, head_dim, capacity, {.keys = qnt::kv_type::f16, .values = qnt::kv_type::i8});
//     cache->append(layer, k, v);                     // then qnt::attention()
//
// Memory comes in blocks of 64 positions of all layers when a position needs it and is never moved: a cache of large capacity costs
// what it holds. truncate() and clear() keep the blocks for the positions that follow. A block, [layers][heads] of
//     keys           [position / 16][d][position % 16]    16 positions side by side: their dot products with q lie in lanes
//     key scales     [position] f32, int8 only
//     values         [position][d rounded up to 16]       zeros beyond d
//     value scales   [position] f32, int8 only
// f16 rounds to nearest even. int8, per head and position: scale = absmax / 127, code = rne(x * (127 / absmax)) in [-127, 127], an error
// of at most half a scale (and a rounding); below 2^-96 absmax counts as 0 and so does the scale; if a number is not finite, all of the
// head's are NaN. The layout is for kernels; programs write with append() and read single numbers with key() and value().
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "../core/scratch.hpp"
#include "rows.hpp"

namespace qnt {

struct kv_types {
    kv_type keys = kv_type::f32, values = kv_type::f32;

    // "f16" or "f16,int8": of both, or of keys and values. Errors: invalid_argument.
    QNT_INLINE static result<kv_types> parse(std::string_view text);
    std::string name() const { return keys == values ? name_of(keys) : std::string(name_of(keys)) + "," + name_of(values); }
};

class kv_cache;
namespace detail {
inline namespace QNT_BASELINE {
void append(kv_cache& cache, std::size_t layer, const matrix_view<const float>& k, const matrix_view<const float>& v, executor_ref executor);
result<void> reserve(kv_cache& cache, std::size_t positions);
void truncate(std::size_t* lengths, std::size_t layers, std::size_t length);
result<kv_types> parse_kv_types(std::string_view text);
}  // namespace QNT_BASELINE
}  // namespace detail

inline result<kv_types> kv_types::parse(std::string_view text) { return detail::parse_kv_types(text); }

class kv_cache {
public:
    static constexpr std::size_t block = kernels::kv_block;  // positions that are allocated together

    // Empty, with room for `capacity` positions in each layer of `heads` heads of `head_dim` numbers.
    // Errors: invalid_argument (one of them is 0), out_of_memory.
    QNT_INLINE static result<kv_cache> create(std::size_t layers, std::size_t heads, std::size_t head_dim, std::size_t capacity,
                                              kv_types types = {}) {
        const std::string shape = "kv_cache of " + std::to_string(layers) + " layers, " + std::to_string(heads) + " heads of " +
                                  std::to_string(head_dim) + " numbers, capacity " + std::to_string(capacity);
        if (layers == 0 || heads == 0 || head_dim == 0 || capacity == 0) return error{errc::invalid_argument, shape + ": all must be positive"};
        const double floats = double(layers) * double(heads) * (double(capacity) + double(block)) * (2.0 * double(head_dim) + double(lanes) + 2.0);
        if (floats > 0x1p45) return error{errc::out_of_memory, shape + ": larger than any memory"};
        kv_cache c;
        c.layers_ = layers;
        c.heads_ = heads;
        c.head_dim_ = head_dim;
        c.capacity_ = capacity;
        c.types_ = types;
        auto memory = aligned_buffer::allocate(layers * sizeof(std::size_t));
        if (!memory) return error{memory.error().code, shape + ": " + memory.error().message};
        c.lengths_ = std::move(*memory);
        return c;
    }

    std::size_t layers() const { return layers_; }
    std::size_t heads() const { return heads_; }
    std::size_t head_dim() const { return head_dim_; }
    std::size_t capacity() const { return capacity_; }
    kv_types types() const { return types_; }
    std::size_t bytes() const { return blocks_.size() * block_bytes(); }  // allocated until now
    // Positions stored.
    QNT_INLINE std::size_t length(std::size_t layer) const { return check_layer("length", layer), lengths()[layer]; }

    // Allocates what `positions` positions need, so that append() has no memory to ask for. Errors: out_of_memory.
    QNT_INLINE result<void> reserve(std::size_t positions) { return detail::reserve(*this, positions); }
    // Stores k[T, heads * d] and v[T, heads * d] as the next T positions of a layer; rows may be parts of wider ones (a fused q, k, v).
    // contract_error, with nothing stored: other shapes, or more positions than the capacity. std::bad_alloc, with nothing stored.
    QNT_INLINE void append(std::size_t layer, const matrix_view<const float>& k, const matrix_view<const float>& v, executor_ref executor = {}) {
        detail::append(*this, layer, k, v, executor);
    }
    // Forgets the positions from `length` on, in every layer.
    QNT_INLINE void truncate(std::size_t length) { detail::truncate(lengths(), layers_, length); }
    void clear() { truncate(0); }

    // Number i of head `head` at a stored position, as f32.
    QNT_INLINE float key(std::size_t layer, std::size_t head, std::size_t position, std::size_t i) const {
        check_element("key", layer, head, position, i);
        const kernels::kv_layer kv = view(layer);
        const std::byte* const at = kv.head(head, position);
        return number(at, types_.keys, key_index(position, i), at + kv.key_scales_at, position);
    }
    QNT_INLINE float value(std::size_t layer, std::size_t head, std::size_t position, std::size_t i) const {
        check_element("value", layer, head, position, i);
        const kernels::kv_layer kv = view(layer);
        const std::byte* const at = kv.head(head, position);
        return number(at + kv.values_at, types_.values, position % block * kv.value_row + i, at + kv.value_scales_at, position);
    }

    // For kernels: where the numbers of a layer lie.
    QNT_INLINE kernels::kv_layer view(std::size_t layer) const {
        kernels::kv_layer v{};
        v.blocks = blocks_.data();
        v.key_type = types_.keys;
        v.value_type = types_.values;
        v.head_dim = head_dim_;
        v.value_row = round_up(head_dim_, lanes);
        v.key_scales_at = block * head_dim_ * size_of(types_.keys);
        v.values_at = v.key_scales_at + scale_bytes(types_.keys);
        v.value_scales_at = v.values_at + block * v.value_row * size_of(types_.values);
        v.head_bytes = v.value_scales_at + scale_bytes(types_.values);
        v.at = layer * heads_ * v.head_bytes;
        return v;
    }
    // Of number i of a key, in its head's keys of the block.
    static std::size_t key_index(std::size_t position, std::size_t i, std::size_t head_dim) {
        return (position % block / lanes * head_dim + i) * lanes + position % lanes;
    }
    std::size_t key_index(std::size_t position, std::size_t i) const { return key_index(position, i, head_dim_); }

private:
    friend void detail::append(kv_cache&, std::size_t, const matrix_view<const float>&, const matrix_view<const float>&, executor_ref);
    friend result<void> detail::reserve(kv_cache&, std::size_t);
    static constexpr std::size_t lanes = 16;  // positions whose keys lie side by side

    kv_cache() = default;
    static constexpr std::size_t scale_bytes(kv_type t) { return t == kv_type::i8 ? block * sizeof(float) : 0; }
    std::size_t block_bytes() const { return view(layers_).at; }
    std::size_t* lengths() { return reinterpret_cast<std::size_t*>(lengths_.data()); }  // [layers]
    const std::size_t* lengths() const { return const_cast<kv_cache*>(this)->lengths(); }
    QNT_INLINE static float number(const std::byte* from, kv_type type, std::size_t i, const std::byte* scales, std::size_t position) {
        if (type == kv_type::f32) return reinterpret_cast<const float*>(from)[i];
        if (type == kv_type::f16) return float(f16::from_bits(reinterpret_cast<const std::uint16_t*>(from)[i]));
        return mul(float(reinterpret_cast<const std::int8_t*>(from)[i]), reinterpret_cast<const float*>(scales)[position % block]);
    }
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

    std::vector<aligned_buffer> blocks_;
    aligned_buffer lengths_;
    std::size_t layers_ = 0, heads_ = 0, head_dim_ = 0, capacity_ = 0;
    kv_types types_;
};

namespace detail {
inline namespace QNT_BASELINE {

inline result<kv_types> parse_kv_types(std::string_view text) {
    const auto type_of = [](std::string_view name, kv_type& to) {
        for (const kv_type t : {kv_type::f32, kv_type::f16, kv_type::i8})
            if (name == name_of(t)) return to = t, true;
        return false;
    };
    const std::size_t comma = text.find(',');
    kv_types types;
    if (type_of(text.substr(0, comma), types.keys) && type_of(comma == std::string_view::npos ? text : text.substr(comma + 1), types.values))
        return types;
    return error{errc::invalid_argument,
                 "'" + std::string(text) + "' is no type of keys and values: f32, f16 or int8, or two of them with a comma between (keys,values)"};
}

inline result<void> reserve(kv_cache& cache, std::size_t positions) {
    if (positions > cache.capacity())
        contract_violation("qnt::kv_cache::reserve: " + std::to_string(positions) + " positions exceed the capacity of " +
                           std::to_string(cache.capacity()));
    while (cache.blocks_.size() * kv_cache::block < positions) {
        auto memory = aligned_buffer::allocate(cache.block_bytes());
        if (!memory) return error{memory.error().code, "qnt::kv_cache: " + memory.error().message};
        cache.blocks_.push_back(std::move(*memory));
    }
    return {};
}

// number[i] to to[i * 16]: a key among those of other positions.
template <class T> void scatter_key(std::byte* to, std::size_t at, const void* numbers, std::size_t n) {
    T* const first = reinterpret_cast<T*>(to) + at;
    const T* const from = static_cast<const T*>(numbers);
    for (std::size_t i = 0; i < n; ++i) first[i * 16] = from[i];
}

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
    if (!reserve(cache, first + k.rows)) out_of_memory();
    const kernels::kv_layer kv = cache.view(layer);
    const auto encode = kernels::encode_kv_row[std::size_t(isa::active())];
    spread(executor, cache.heads(), k.rows * d, [&](std::size_t begin, std::size_t end) {
        scratch space(kv.key_type == kv_type::f32 ? 0 : kv.value_row);
        for (std::size_t head = begin; head < end; ++head)
            for (std::size_t t = 0; t < k.rows; ++t) {
                const std::size_t position = first + t, in_block = position % kv_cache::block;
                std::byte* const at = const_cast<std::byte*>(kv.head(head, position));
                const auto keep_scale = [&](kv_type type, std::size_t scales_at, float scale) {
                    if (type == kv_type::i8) reinterpret_cast<float*>(at + scales_at)[in_block] = scale;
                };
                const float* const key = k.row(t) + head * d;
                if (kv.key_type == kv_type::f32) {
                    scatter_key<float>(at, cache.key_index(position, 0), key, d);
                } else {
                    keep_scale(kv.key_type, kv.key_scales_at, encode(kv.key_type, space.data(), key, d));
                    if (kv.key_type == kv_type::f16) scatter_key<std::uint16_t>(at, cache.key_index(position, 0), space.data(), d);
                    else scatter_key<std::int8_t>(at, cache.key_index(position, 0), space.data(), d);
                }
                std::byte* const value = at + kv.values_at + in_block * kv.value_row * size_of(kv.value_type);
                keep_scale(kv.value_type, kv.value_scales_at, encode(kv.value_type, value, v.row(t) + head * d, d));
            }
    });
    cache.lengths()[layer] = first + k.rows;
}

inline void truncate(std::size_t* lengths, std::size_t layers, std::size_t length) {
    for (std::size_t i = 0; i < layers; ++i)
        if (lengths[i] > length) lengths[i] = length;
}

}  // namespace QNT_BASELINE
}  // namespace detail
}  // namespace qnt
