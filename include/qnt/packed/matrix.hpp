// Containers of packed weights: packed_matrix owns, packed_view borrows; any_* know their format at run time only.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "../core/aligned_buffer.hpp"
#include "layout.hpp"

namespace qnt {

// What happens to x before the codes multiply it (column scales and outlier columns may come). Archives carry the field, so that a reader
// refuses what it does not know.
enum class input_transform : std::uint8_t {
    none,
    permutation,  // the matrix's column k multiplies x[columns[k]]
};

// Borrowed bytes in one of the layouts, with the format as a value.
template <class Layout>
    requires is_layout<Layout>
struct any_view {
    format_info format;
    packed_shape shape;
    const std::byte* data = nullptr;
    const std::uint32_t* columns = nullptr;  // [cols], of a permutation

    input_transform transform() const { return columns ? input_transform::permutation : input_transform::none; }
};

template <format_type F, class Layout = layout::panels>
    requires is_layout<Layout>
struct packed_view {
    packed_shape shape;
    const std::byte* data = nullptr;

    std::size_t rows() const { return shape.rows; }
    std::size_t cols() const { return shape.cols; }
    operator any_view<Layout>() const { return {info_of<F>, shape, data}; }
};

template <format_type F, class Layout = layout::panels>
    requires is_layout<Layout>
class packed_matrix {
public:
    packed_matrix() = default;
    packed_matrix(packed_shape shape, aligned_buffer bytes) : shape_(shape), bytes_(std::move(bytes)) {}

    std::size_t rows() const { return shape_.rows; }
    std::size_t cols() const { return shape_.cols; }
    const packed_shape& shape() const { return shape_; }
    std::span<const std::byte> bytes() const { return {bytes_.data(), bytes_.size()}; }
    packed_view<F, Layout> view() const { return {shape_, bytes_.data()}; }
    operator packed_view<F, Layout>() const { return view(); }
    operator any_view<Layout>() const { return view(); }

private:
    packed_shape shape_;
    aligned_buffer bytes_;
};

namespace detail {
inline namespace QNT_BASELINE {
template <class Layout> constexpr std::size_t buffer_bytes_of(const format_info& f, const packed_shape& s) {
    if constexpr (std::same_as<Layout, layout::rows>) return rows_layout(f, s).buffer_bytes();
    else return panel_layout(f, s).buffer_bytes();
}

// Does each of 0 .. n - 1 come once?
inline bool is_permutation(std::span<const std::uint32_t> columns) {
    std::vector<bool> seen(columns.size());
    for (const std::uint32_t c : columns) {
        if (c >= columns.size() || seen[c]) return false;
        seen[c] = true;
    }
    return true;
}
}  // namespace QNT_BASELINE
}  // namespace detail

inline namespace QNT_BASELINE {

// One row of a packed matrix, unpacked, its columns in the order of the matrix: cols codes, groups scales (expanded, as f32), groups zero points.
struct unpacked_row {
    std::uint8_t* codes;
    float* scales;
    std::uint8_t* zeros;
};

inline void unpack_row(const any_view<layout::rows>& w, std::size_t row, const unpacked_row& out) {
    const rows_layout at(w.format, w.shape);
    const std::size_t groups = w.shape.groups();
    const std::byte* codes = w.data + at.codes.begin + row * at.row_bytes;
    for (std::size_t k = 0; k < w.shape.cols; ++k) out.codes[k] = detail::get_bits(codes, k, w.format.bits);
    for (std::size_t g = 0; g < groups; ++g) {
        const std::size_t i = w.format.kind == granularity::tensor ? 0 : row * groups + g;
        if (w.format.is_nested) {
            const std::byte* outer = w.data + at.outer.begin;
            const float top = detail::load_scalar(outer + i / nested_block * 4, scalar_type::f32);
            const float offset = detail::load_scalar(w.data + at.outer.end() - 4, scalar_type::f32);
            out.scales[g] = mul(dynamic_u8::values[std::size_t(w.data[at.scales.begin + i])], top) + offset;
        } else {
            out.scales[g] = detail::load_scalar(w.data + at.scales.begin + i * size_of(w.format.scale), w.format.scale);
        }
        out.zeros[g] = w.format.has_zero() ? detail::get_bits(w.data + at.zeros.begin + row * at.zero_row_bytes, g, 4) : std::uint8_t{0};
    }
}

inline void unpack_row(const any_view<layout::panels>& w, std::size_t row, const unpacked_row& out) {
    const panel_layout at(w.format, w.shape);
    const std::byte* panel = w.data + row / panel_rows * at.panel_bytes;
    const std::size_t lane = row % panel_rows;
    std::uint8_t code_of[256] = {};  // byte_value panels hold operands
    if (w.format.family == operand_family::byte_value)
        for (std::size_t q = 0; q < std::size_t{1} << w.format.bits; ++q) {
            const float value = float(w.format.tables->operands[q]) * w.format.tables->unit;
            if (value == w.format.tables->values[q]) code_of[std::uint8_t(w.format.tables->operands[q])] = std::uint8_t(q);
        }
    for (std::size_t g = 0; g < w.shape.groups(); ++g) {
        const std::byte* codes = panel + g * at.group_bytes;
        for (std::size_t k = 0; k < w.shape.group_length(g); ++k) {
            unsigned v = unsigned(codes[at.code_at(lane, k)]);
            if (w.format.panel == panel_kind::nibble) v = at.is_high_nibble(k) ? v >> 4 : v & 15;
            else if (w.format.family == operand_family::byte_value) v = code_of[v];
            out.codes[w.shape.group_begin(g) + k] = std::uint8_t(v);
        }
        out.scales[g] = detail::load_scalar(panel + at.scales_at(w.shape, g) + lane * size_of(w.format.scale), w.format.scale);
        out.zeros[g] = w.format.has_zero() ? std::uint8_t(panel[at.zeros_at(w.shape, g) + lane]) : std::uint8_t{0};
    }
}

// The reverse for a whole panel, its first `count` rows: row r has its codes at in.codes + r * code_step, scales and zero points groups
// apart. What lies beyond the matrix becomes the zero code, so that equal matrices have equal bytes.
inline void pack_panel(std::byte* panels, const format_info& f, const packed_shape& s, std::size_t index, const unpacked_row& in,
                       std::size_t code_step, std::size_t count) {
    const panel_layout at(f, s);
    std::byte* const panel = panels + index * at.panel_bytes;
    const bool nibbles = f.panel == panel_kind::nibble, operands = f.family == operand_family::byte_value;
    bool as_is = true;  // are the bytes of a panel the codes?
    for (std::size_t q = 0; operands && q < 256; ++q) as_is = as_is && (q == 0x80 || f.tables->operands[q] == std::int8_t(q));
    const std::uint32_t zero = (operands ? std::uint32_t(std::uint8_t(f.tables->operands[f.tables->zero])) : f.tables->zero) * 0x01010101u;

    // Four codes from k on, of the row at q.
    const auto four = [&](const std::uint8_t* q, std::size_t k, std::size_t length) {
        std::uint32_t v = zero;
        if (k + 4 <= length) std::memcpy(&v, q + k, 4);
        else if (k < length) std::memcpy(&v, q + k, length - k);
        if (!operands) return v;
        const std::uint32_t is_least = v ^ 0x80808080u;  // a byte of it is 0: a code no encoder makes
        if (as_is && ((is_least - 0x01010101u) & ~is_least & 0x80808080u) == 0) return v;
        std::uint32_t out = 0;
        for (std::size_t i = 0; i < 4; ++i) {
            const bool inside = k + i < length;
            out |= std::uint32_t(std::uint8_t(inside ? f.tables->operands[v >> 8 * i & 255] : std::int8_t(zero & 255))) << 8 * i;
        }
        return out;
    };
    for (std::size_t g = 0; g < s.groups(); ++g) {
        const std::size_t length = s.group_length(g);
        std::byte* line = panel + g * at.group_bytes;
        for (std::size_t k = 0; k < length; k += at.k_per_line, line += at.line) {
            const std::uint8_t* q = in.codes + s.group_begin(g);
            for (std::size_t lane = 0; lane < panel_rows; ++lane, q += code_step) {
                std::uint32_t v = nibbles ? zero | zero << 4 : zero;
                if (lane < count) v = nibbles ? four(q, k, length) | four(q, k + 4, length) << 4 : four(q, k, length);
                std::memcpy(line + lane * 4, &v, 4);
            }
        }
        for (std::size_t lane = 0; lane < count; ++lane) {
            detail::store_scalar(panel + at.scales_at(s, g) + lane * size_of(f.scale), f.scale, in.scales[lane * s.groups() + g]);
            if (f.has_zero()) panel[at.zeros_at(s, g) + lane] = std::byte(in.zeros[lane * s.groups() + g]);
        }
    }
}

}  // namespace QNT_BASELINE
}  // namespace qnt
