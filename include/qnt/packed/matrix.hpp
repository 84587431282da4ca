// Containers of packed weights: packed_matrix owns, packed_view borrows; any_* know their format at run time only.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "../core/aligned_buffer.hpp"
#include "layout.hpp"
#include "outliers.hpp"

namespace qnt {

// What happens to x before the codes multiply it (column scales may come). Archives carry the field, so that a reader refuses what it does
// not know.
enum class input_transform : std::uint8_t {
    none,
    permutation,  // the matrix's column k multiplies x[columns[k]]
    outliers,     // some columns are multiplied apart, see outliers.hpp
};

// Borrowed bytes in one of the layouts, with the format as a value.
template <class Layout>
    requires is_layout<Layout>
struct any_view {
    format_info format;
    packed_shape shape;
    const std::byte* data = nullptr;
    const std::uint32_t* columns = nullptr;  // [cols], of a permutation
    outlier_view outliers = {};

    input_transform transform() const {
        return columns ? input_transform::permutation : outliers.empty() ? input_transform::none : input_transform::outliers;
    }
};

template <format_type F, class Layout = layout::panels>
    requires is_layout<Layout>
struct packed_view {
    packed_shape shape;
    const std::byte* data = nullptr;
    outlier_view outliers = {};

    std::size_t rows() const { return shape.rows; }
    std::size_t cols() const { return shape.cols; }
    operator any_view<Layout>() const { return {info_of<F>, shape, data, nullptr, outliers}; }
};

template <format_type F, class Layout = layout::panels>
    requires is_layout<Layout>
class packed_matrix {
public:
    packed_matrix() = default;
    packed_matrix(packed_shape shape, aligned_buffer bytes, outlier_columns outliers = {})
        : shape_(shape), bytes_(std::move(bytes)), outliers_(std::move(outliers)) {}

    std::size_t rows() const { return shape_.rows; }
    std::size_t cols() const { return shape_.cols; }
    const packed_shape& shape() const { return shape_; }
    std::span<const std::byte> bytes() const { return {bytes_.data(), bytes_.size()}; }
    outlier_view outliers() const { return outliers_.view(); }
    packed_view<F, Layout> view() const { return {shape_, bytes_.data(), outliers()}; }
    operator packed_view<F, Layout>() const { return view(); }
    operator any_view<Layout>() const { return view(); }

private:
    packed_shape shape_;
    aligned_buffer bytes_;
    outlier_columns outliers_;
};

namespace detail {
inline namespace QNT_BASELINE {
template <class Layout> constexpr std::size_t buffer_bytes_of(const format_info& f, const packed_shape& s) {
    if constexpr (std::same_as<Layout, layout::rows>) return rows_layout(f, s).buffer_bytes();
    else return panel_layout(f, s).buffer_bytes();
}

// Of vector registers of any machine (GNU C: Vector Extensions).
using four_words = std::uint32_t __attribute__((vector_size(16)));
using two_doublewords = std::uint64_t __attribute__((vector_size(16)));

// What four lines of a panel hold of a row, from its codes at q: four codes a line as bytes, or eight as nibbles.
inline four_words words_of_bytes(const std::uint8_t* q) {
    four_words words;
    std::memcpy(&words, q, sizeof words);
    return words;
}
inline four_words words_of_nibbles(const std::uint8_t* q) {
    two_doublewords half[2];  // of 8 codes each
    std::memcpy(half, q, sizeof half);
    for (two_doublewords& eights : half) eights |= eights >> 28;
    return __builtin_shufflevector(four_words(half[0]), four_words(half[1]), 0, 2, 4, 6);
}

// Four lines of a panel, line_step bytes apart, from the codes of its 16 rows at q, code_step apart.
template <auto WordsOf> QNT_INLINE void write_lines(std::byte* line, std::size_t line_step, const std::uint8_t* q, std::size_t code_step) {
    for (std::size_t row = 0; row < panel_rows; row += 4, line += 16, q += 4 * code_step) {
        const four_words a = WordsOf(q), b = WordsOf(q + code_step), c = WordsOf(q + 2 * code_step), d = WordsOf(q + 3 * code_step);
        const four_words ab[2] = {__builtin_shufflevector(a, b, 0, 4, 1, 5), __builtin_shufflevector(a, b, 2, 6, 3, 7)};
        const four_words cd[2] = {__builtin_shufflevector(c, d, 0, 4, 1, 5), __builtin_shufflevector(c, d, 2, 6, 3, 7)};
        for (std::size_t i = 0; i < 2; ++i) {
            const four_words even = __builtin_shufflevector(ab[i], cd[i], 0, 1, 4, 5), odd = __builtin_shufflevector(ab[i], cd[i], 2, 3, 6, 7);
            std::memcpy(line + 2 * i * line_step, &even, sizeof even);
            std::memcpy(line + (2 * i + 1) * line_step, &odd, sizeof odd);
        }
    }
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

// One row of a packed matrix, unpacked, its columns in the order of the matrix: cols codes, groups scales (expanded, as f32), groups zero
// points. Of dense formats the codes are the bytes of the numbers, and there is nothing else.
struct unpacked_row {
    std::uint8_t* codes;
    float* scales;
    std::uint8_t* zeros;
};

inline void unpack_row(const any_view<layout::rows>& w, std::size_t row, const unpacked_row& out) {
    const rows_layout at(w.format, w.shape);
    const std::size_t groups = w.shape.groups();
    const std::byte* codes = w.data + at.codes.begin + row * at.row_bytes;
    if (w.format.is_dense()) {
        std::memcpy(out.codes, codes, at.row_bytes);
        return;
    }
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

// Rows [first, first + count) of one panel: row r has its codes at out.codes + r * code_step, scales and zero points groups apart.
inline void unpack_rows(const any_view<layout::panels>& w, std::size_t first, std::size_t count, const unpacked_row& out, std::size_t code_step) {
    const packed_shape& s = w.shape;
    const panel_layout at(w.format, s);
    const std::byte* const panel = w.data + first / panel_rows * at.panel_bytes;
    const std::size_t lane = first % panel_rows, groups = s.groups();
    const auto copy_codes = [&]<std::size_t Size>(std::integral_constant<std::size_t, Size>) {
        for (std::size_t g = 0; g < groups; ++g) {
            const std::size_t length = s.group_length(g);
            const std::byte* line = panel + g * at.group_bytes + lane * 4 * Size;
            for (std::size_t k = 0; k < length; k += 4, line += at.line)
                for (std::size_t r = 0; r < count; ++r) {
                    std::uint8_t* const to = out.codes + r * code_step + (s.group_begin(g) + k) * Size;
                    if (k + 4 <= length) std::memcpy(to, line + r * 4 * Size, 4 * Size);
                    else std::memcpy(to, line + r * 4 * Size, (length - k) * Size);
                }
        }
    };
    const auto copy_nibbles = [&] {
        const auto store = [](std::uint8_t* to, std::uint32_t four, std::size_t n) {
            if (n >= 4) std::memcpy(to, &four, 4);
            else std::memcpy(to, &four, n);
        };
        for (std::size_t g = 0; g < groups; ++g) {
            const std::size_t length = s.group_length(g);
            const std::byte* line = panel + g * at.group_bytes + lane * 4;
            for (std::size_t k = 0; k < length; k += 8, line += at.line)
                for (std::size_t r = 0; r < count; ++r) {
                    std::uint8_t* const to = out.codes + r * code_step + s.group_begin(g) + k;
                    std::uint32_t v;
                    std::memcpy(&v, line + r * 4, sizeof v);
                    store(to, v & 0x0f0f0f0fu, length - k);
                    if (k + 4 < length) store(to + 4, v >> 4 & 0x0f0f0f0fu, length - k - 4);
                }
        }
    };
    switch (w.format.panel) {
    case panel_kind::nibble: copy_nibbles(); break;
    case panel_kind::byte: copy_codes(std::integral_constant<std::size_t, 1>{}); break;
    case panel_kind::half: copy_codes(std::integral_constant<std::size_t, 2>{}); return;
    case panel_kind::word: copy_codes(std::integral_constant<std::size_t, 4>{}); return;
    }
    if (w.format.family == operand_family::byte_value) {
        const code_tables& t = *w.format.tables;
        std::uint8_t code_of[256] = {};
        bool as_is = true;
        for (std::size_t q = 0; q < std::size_t{1} << w.format.bits; ++q) {
            if (float(t.operands[q]) * t.unit == t.values[q]) code_of[std::uint8_t(t.operands[q])] = std::uint8_t(q);
            as_is = as_is && (q == 0x80 || std::uint8_t(t.operands[q]) == q);
        }
        for (std::size_t r = 0; r < count && !as_is; ++r)
            for (std::size_t k = 0; k < s.cols; ++k) out.codes[r * code_step + k] = code_of[out.codes[r * code_step + k]];
    }
    for (std::size_t g = 0; g < groups; ++g)
        for (std::size_t r = 0; r < count; ++r) {
            out.scales[r * groups + g] = detail::load_scalar(panel + at.scales_at(s, g) + (lane + r) * size_of(w.format.scale), w.format.scale);
            out.zeros[r * groups + g] = w.format.has_zero() ? std::uint8_t(panel[at.zeros_at(s, g) + lane + r]) : std::uint8_t{0};
        }
}
inline void unpack_rows(const any_view<layout::rows>& w, std::size_t first, std::size_t count, const unpacked_row& out, std::size_t code_step) {
    const std::size_t groups = w.shape.groups();
    for (std::size_t r = 0; r < count; ++r) unpack_row(w, first + r, {out.codes + r * code_step, out.scales + r * groups, out.zeros + r * groups});
}
inline void unpack_row(const any_view<layout::panels>& w, std::size_t row, const unpacked_row& out) { unpack_rows(w, row, 1, out, 0); }

// The reverse for a whole panel, its first `count` rows: row r has its codes at in.codes + r * code_step, scales and zero points groups
// apart. What lies beyond the matrix becomes the zero code, so that equal matrices have equal bytes.
inline void pack_panel(std::byte* panels, const format_info& f, const packed_shape& s, std::size_t index, const unpacked_row& in,
                       std::size_t code_step, std::size_t count) {
    const panel_layout at(f, s);
    const std::size_t groups = s.groups();
    std::byte* const panel = panels + index * at.panel_bytes;
    const bool nibbles = f.panel == panel_kind::nibble, operands = f.family == operand_family::byte_value;
    bool as_is = true;  // are the bytes of a panel the codes?
    for (std::size_t q = 0; operands && q < 256; ++q) as_is = as_is && (q == 0x80 || f.tables->operands[q] == std::int8_t(q));
    const std::uint32_t zero_codes = f.tables->zero * 0x01010101u;
    if (f.is_dense()) {
        const auto copy = [&](auto step) {  // bytes of 4 numbers
            const std::size_t row_bytes = step / 4 * s.cols;
            for (std::size_t byte = 0; byte < row_bytes; byte += step)
                for (std::size_t lane = 0; lane < count; ++lane) {
                    std::byte* const to = panel + byte * panel_rows + lane * step;
                    const std::uint8_t* const from = in.codes + lane * code_step + byte;
                    if (row_bytes - byte >= step) std::memcpy(to, from, step);
                    else std::memcpy(to, from, row_bytes - byte);
                }
        };
        if (f.panel == panel_kind::half) copy(std::integral_constant<std::size_t, 8>{});
        else copy(std::integral_constant<std::size_t, 16>{});
        return;
    }

    // Four codes from k on, of the row at q.
    const auto four = [&](const std::uint8_t* q, std::size_t k, std::size_t length) {
        std::uint32_t v = zero_codes;
        if (k + 4 <= length) std::memcpy(&v, q + k, 4);
        else if (k < length) std::memcpy(&v, q + k, length - k);
        const std::uint32_t is_least = v ^ 0x80808080u;  // a byte of it is 0: a code no encoder makes
        if (!operands || (as_is && ((is_least - 0x01010101u) & ~is_least & 0x80808080u) == 0)) return v;
        std::uint32_t out = 0;
        for (std::size_t i = 0; i < 4; ++i) out |= std::uint32_t(std::uint8_t(f.tables->operands[v >> 8 * i & 255])) << 8 * i;
        return out;
    };
    const std::uint32_t zeros = four(nullptr, 0, 0) * (nibbles ? 0x11u : 1u);
    bool is_direct = count == panel_rows && (!operands || as_is);  // are all codes the bytes of a panel, and 16 rows of them there?
    for (std::size_t lane = 0; operands && is_direct && lane < count; ++lane)
        is_direct = std::memchr(in.codes + lane * code_step, 0x80, s.cols) == nullptr;
    const scalar_type scale_type = f.scale;
    const std::size_t scale_bytes = size_of(scale_type);
    const bool has_zero = f.has_zero();
    const float* const in_scales = in.scales;
    for (std::size_t g = 0; g < groups; ++g) {
        const std::size_t length = s.group_length(g);
        std::byte* line = panel + g * at.group_bytes;
        std::size_t k = 0;
        for (; is_direct && k + 4 * at.k_per_line <= length; k += 4 * at.k_per_line, line += 4 * at.line) {
            const std::uint8_t* const q = in.codes + s.group_begin(g) + k;
            if (nibbles) detail::write_lines<detail::words_of_nibbles>(line, at.line, q, code_step);
            else detail::write_lines<detail::words_of_bytes>(line, at.line, q, code_step);
        }
        for (; k < length; k += at.k_per_line, line += at.line) {
            const std::uint8_t* q = in.codes + s.group_begin(g);
            for (std::size_t lane = 0; lane < panel_rows; ++lane, q += code_step) {
                std::uint32_t v = zeros;
                if (lane < count) v = nibbles ? four(q, k, length) | four(q, k + 4, length) << 4 : four(q, k, length);
                std::memcpy(line + lane * 4, &v, 4);
            }
        }
        std::byte* const scales = panel + at.scales_at(s, g);
        for (std::size_t lane = 0; lane < count; ++lane) detail::store_scalar(scales + lane * scale_bytes, scale_type, in_scales[lane * groups + g]);
        if (has_zero) {
            std::byte* const to = panel + at.zeros_at(s, g);
            for (std::size_t lane = 0; lane < count; ++lane) to[lane] = std::byte(in.zeros[lane * groups + g]);
        }
    }
}

}  // namespace QNT_BASELINE
}  // namespace qnt
