// Where the bytes of a packed matrix lie: two layouts, each a handful of offsets computed from the format and the shape.
#pragma once
#include <cstring>

#include "../core/error.hpp"
#include "../format.hpp"

namespace qnt {

// Shape of a packed matrix: [rows = output features, cols = input features], `group` columns to a scale (cols where one scale
// spans a row or the matrix; it is then kept as 0 so that equal shapes compare equal).
struct packed_shape {
    std::size_t rows = 0;
    std::size_t cols = 0;
    std::size_t group = 0;

    constexpr std::size_t group_size() const { return group ? group : cols; }
    constexpr std::size_t groups() const { return group ? ceil_div(cols, group) : 1; }
    constexpr std::size_t group_begin(std::size_t g) const { return g * group_size(); }
    constexpr std::size_t group_length(std::size_t g) const {  // without a division, which loops over groups would wait for
        const std::size_t rest = cols - group_begin(g);
        return rest < group_size() ? rest : group_size();
    }
    friend constexpr bool operator==(const packed_shape&, const packed_shape&) = default;
};

namespace layout {
struct rows;    // interchange: codes, then scales, then zero points, each row-major
struct panels;  // compute: 16 rows side by side, one linear stream
}  // namespace layout

inline constexpr std::size_t panel_rows = 16;

// Bytes that lie behind each other from `begin` on.
struct section {
    std::size_t begin = 0;
    std::size_t bytes = 0;
    constexpr std::size_t end() const { return begin + bytes; }
};

// layout::rows, a structure of arrays. Each section starts on a 64-byte line.
//   codes    [rows][ceil(cols * bits / 8)]   element i at bit i * bits of its row, least significant bit first
//   scales   [rows][groups] of the scale type; [1] per tensor, [rows] per channel; one byte each when nested
//   zeros    [rows][ceil(groups / 2)]        4-bit zero points, the even group in the low nibble
//   outer    nested only: f32 [ceil(rows * groups / 256)] absmax of each block of scales, then one f32 offset
struct rows_layout {
    section codes, scales, zeros, outer;
    std::size_t row_bytes = 0;       // of codes
    std::size_t zero_row_bytes = 0;  // of zero points

    QNT_INLINE constexpr rows_layout(const format_info& f, const packed_shape& s) {
        row_bytes = ceil_div(s.cols * std::size_t(f.bits), 8);
        codes = {0, s.rows * row_bytes};
        scales = {round_up(codes.end(), line_bytes), scale_count(f, s) * (f.is_nested ? 1 : size_of(f.scale))};
        zero_row_bytes = f.has_zero() ? ceil_div(s.groups(), 2) : 0;
        zeros = {round_up(scales.end(), line_bytes), s.rows * zero_row_bytes};
        outer = {round_up(zeros.end(), line_bytes), f.is_nested ? (ceil_div(scale_count(f, s), nested_block) + 1) * sizeof(float) : 0};
    }
    static constexpr std::size_t scale_count(const format_info& f, const packed_shape& s) {
        return f.kind == granularity::none ? 0 : f.kind == granularity::tensor ? 1 : s.rows * s.groups();
    }
    constexpr std::size_t buffer_bytes() const { return round_up(outer.end(), line_bytes); }
    // What carries information: sections without the gaps between them.
    constexpr std::size_t payload_bytes() const { return codes.bytes + scales.bytes + zeros.bytes + outer.bytes; }
};

// layout::panels. A panel is 16 rows; inside it the groups follow each other, and inside a group K runs in steps of 4:
//   byte    byte [k / 4][row 0..15][k % 4]            one 64-byte line = 4 k of 16 rows = one AVX-512 register, two AVX2, four NEON
//   nibble  byte [k / 8][row 0..15][k % 4]            low nibble k % 8 < 4, high nibble k % 8 >= 4: one line = 8 k of 16 rows
//   half, word   as byte, with 2- and 4-byte elements: 128 and 256 bytes for 4 k
// Behind the codes of a group: its 16 scales, then its 16 zero points as bytes, padded to 32 bytes (a 16-byte step would split
// every second load across lines). One scale per row: 16 f32 behind the whole panel. Panels start on a line. Rows beyond the
// matrix hold zero codes and scales, columns beyond it zero codes; kernels never let them reach a result.
// A panel byte of a 5..8-bit code is its int8 operand where that is exact, else the code.
struct panel_layout {
    std::size_t line = 64;  // bytes of one step of `k_per_line` columns
    std::size_t k_per_line = 4;
    std::size_t meta_bytes = 0;   // scales and zero points behind each group, or behind the panel
    std::size_t group_bytes = 0;  // from the codes of a (full) group to those of the next
    std::size_t panel_bytes = 0;  // from panel to panel
    std::size_t panels = 0;
    std::size_t zero_offset = 0;  // of the zero points inside the meta bytes

    QNT_INLINE constexpr panel_layout(const format_info& f, const packed_shape& s) {
        k_per_line = f.panel == panel_kind::nibble ? 8 : 4;
        line = f.panel == panel_kind::half ? 128 : f.panel == panel_kind::word ? 256 : 64;
        zero_offset = panel_rows * size_of(f.scale);
        meta_bytes = f.is_dense() ? 0 : round_up(zero_offset + (f.has_zero() ? panel_rows : 0), 32);
        group_bytes = code_bytes(s.group_size()) + meta_bytes;
        const std::size_t last = code_bytes(s.group_length(s.groups() - 1)) + meta_bytes;
        panel_bytes = round_up((s.groups() - 1) * group_bytes + last, line_bytes);
        panels = ceil_div(s.rows, panel_rows);
    }
    constexpr std::size_t code_bytes(std::size_t cols) const { return (k_per_line == 8 ? ceil_div(cols, 8) : ceil_div(cols, 4)) * line; }
    constexpr std::size_t buffer_bytes() const { return panels * panel_bytes; }
    constexpr std::size_t scales_at(const packed_shape& s, std::size_t g) const { return g * group_bytes + code_bytes(s.group_length(g)); }
    constexpr std::size_t zeros_at(const packed_shape& s, std::size_t g) const { return scales_at(s, g) + zero_offset; }
    // Byte of element (row % 16, k of a group) from the start of its group; `size` bytes an element (half, word).
    constexpr std::size_t code_at(std::size_t lane, std::size_t k, std::size_t size = 1) const {
        return k / k_per_line * line + (lane * 4 + k % 4) * size;
    }
    constexpr bool is_high_nibble(std::size_t k) const { return k % 8 >= 4; }
};

template <class Layout> inline constexpr bool is_layout = std::same_as<Layout, layout::rows> || std::same_as<Layout, layout::panels>;

// ---- facts of a format as functions of the shape ----

struct bits_per_weight_pair {
    double stored = 0;    // of the information
    double streamed = 0;  // of the compute layout
};

inline namespace QNT_BASELINE {

template <format_type F>
constexpr packed_shape shape_of(std::size_t rows, std::size_t cols)
    requires is_static_group<F>
{
    return {rows, cols, F::scaling::group};
}

// Bytes of the information itself (layout::rows without its alignment), and bytes the processor reads in a product (panels: padding
// and expanded nested scales included). outliers: columns kept as f16 as well, see outliers.hpp.
constexpr std::size_t stored_bytes(const format_info& f, const packed_shape& s, std::size_t outliers = 0) {
    return rows_layout(f, s).payload_bytes() + outliers * (s.rows * sizeof(f16) + sizeof(std::uint32_t));
}
constexpr std::size_t streamed_bytes(const format_info& f, const packed_shape& s, std::size_t outliers = 0) {
    return panel_layout(f, s).buffer_bytes() + outliers * (round_up(s.rows, panel_rows) * sizeof(f16) + sizeof(std::uint32_t));
}

template <format_type F> constexpr std::size_t storage_bytes(std::size_t rows, std::size_t cols) {
    return stored_bytes(info_of<F>, shape_of<F>(rows, cols));
}

constexpr bits_per_weight_pair bits_per_weight(const format_info& f, const packed_shape& s, std::size_t outliers = 0) {
    const double n = double(s.rows) * double(s.cols);
    if (n == 0) return {};
    return {8.0 * double(stored_bytes(f, s, outliers)) / n, 8.0 * double(streamed_bytes(f, s, outliers)) / n};
}
template <format_type F> constexpr bits_per_weight_pair bits_per_weight(std::size_t rows, std::size_t cols) {
    return bits_per_weight(info_of<F>, shape_of<F>(rows, cols));
}

// The largest error a weight of a group with this absmax can have (absmax scaling with an f32 scale; an f16 scale adds its rounding).
template <format_type F>
constexpr float max_abs_error(float absmax)
    requires quantized_code<typename F::code> && (F::scaling::offset == offset_kind::none)
{
    return absmax / F::code::absmax * F::code::max_error;
}

}  // namespace QNT_BASELINE

// ---- elements ----

namespace detail {
inline namespace QNT_BASELINE {
// Code i of a row of `bits`-bit codes, least significant bit first.
constexpr std::uint8_t get_bits(const std::byte* row, std::size_t i, int bits) {
    const std::size_t bit = i * std::size_t(bits), shift = bit % 8;
    unsigned v = unsigned(row[bit / 8]) >> shift;
    if (shift + std::size_t(bits) > 8) v |= unsigned(row[bit / 8 + 1]) << (8 - shift);
    return std::uint8_t(v & ((1u << bits) - 1));
}
constexpr void set_bits(std::byte* row, std::size_t i, int bits, std::uint8_t code) {
    const std::size_t bit = i * std::size_t(bits), shift = bit % 8;
    const unsigned mask = (1u << bits) - 1, v = code & mask;
    row[bit / 8] = std::byte((unsigned(row[bit / 8]) & ~(mask << shift)) | v << shift);
    if (shift + std::size_t(bits) > 8) {
        const std::size_t low = 8 - shift;
        row[bit / 8 + 1] = std::byte((unsigned(row[bit / 8 + 1]) & ~(mask >> low)) | v >> low);
    }
}
inline float load_scalar(const std::byte* p, scalar_type t) {
    if (t == scalar_type::f32) {
        float v;
        std::memcpy(&v, p, sizeof v);
        return v;
    }
    std::uint16_t bits;
    std::memcpy(&bits, p, sizeof bits);
    return t == scalar_type::f16 ? float(f16::from_bits(bits)) : float(bf16::from_bits(bits));
}
// v must be representable in t (scales are rounded to their type when they are made).
inline void store_scalar(std::byte* p, scalar_type t, float v) {
    if (t == scalar_type::f32) {
        std::memcpy(p, &v, sizeof v);
        return;
    }
    const std::uint16_t bits = t == scalar_type::f16 ? f16(v).bits : bf16(v).bits;
    std::memcpy(p, &bits, sizeof bits);
}
}  // namespace QNT_BASELINE
}  // namespace detail

inline namespace QNT_BASELINE {
// v rounded to the type.
constexpr float round_to(scalar_type t, float v) { return t == scalar_type::f16 ? float(f16(v)) : t == scalar_type::bf16 ? float(bf16(v)) : v; }
}  // namespace QNT_BASELINE

}  // namespace qnt
