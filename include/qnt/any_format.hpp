// Formats and matrices known at run time only: files and policies name formats as text.
//
//     any_format::parse("nf4:64")            f32 f16 bf16 | int8 int8_channel | int8:G nf4:G nf4_dq:G fp4_bnb:G int4:G uint4:G, G a multiple of 16
//     any_format::parse("int4:32:f32")       grouped formats but nf4_dq take the scale type as a suffix: f16, bf16 or f32
//     auto w = quantize(view, format, {}, pool).value();       // any_matrix
//     gemm(y, x, w.view());
//
// A matrix that another system made may have its columns in an order of its own (input_transform::permutation): products gather x first,
// and decoded weights are in the user's order. quantize() never makes one. What it makes, if told so, are outlier columns
// (packed/outliers.hpp); a policy's rule asks for them by name: "int4:32+outliers:6" (model/policy.hpp).
//
// A new format is a line in known_formats.
#pragma once
#include <charconv>
#include <string>

#include "io/text.hpp"
#include "matmul.hpp"
#include "quantize.hpp"

namespace qnt {

namespace detail {
struct known_format {
    const char* name;
    format_info info;
    const char* default_scale;  // of formats whose scale type can be chosen; else empty
};
inline constexpr known_format known_formats[] = {
    {"f32", info_of<dense_format<float>>, ""},           {"f16", info_of<dense_format<f16>>, ""},
    {"bf16", info_of<dense_format<bf16>>, ""},           {"int8", info_of<int8>, ""},
    {"int8_channel", info_of<int8_channel>, ""},         {"int8", info_of<int8_group<dynamic_group>>, "f16"},
    {"nf4", info_of<nf4<dynamic_group>>, "f32"},         {"nf4_dq", info_of<nf4_dq<dynamic_group>>, ""},
    {"fp4_bnb", info_of<fp4_bnb<dynamic_group>>, "f32"}, {"int4", info_of<int4<dynamic_group>>, "f16"},
    {"uint4", info_of<uint4<dynamic_group>>, "f16"},
};
}  // namespace detail

struct any_format {
    format_info info;
    std::size_t group = 0;  // 0: no groups

    // Errors: invalid_argument, naming the text and what would be right.
    static result<any_format> parse(std::string_view text);
    // The text that parse() reads back; a format of the user's own is named after its code.
    std::string name() const;
    packed_shape shape(std::size_t rows, std::size_t cols) const { return {rows, cols, group}; }
    friend bool operator==(const any_format& a, const any_format& b) { return a.info == b.info && a.group == b.group; }
};

template <format_type F>
    requires is_static_group<F>
constexpr any_format format_of() {
    return {info_of<F>, F::scaling::group};
}

// Packed weights in panels, owned, with a format known at run time.
class any_matrix {
public:
    any_matrix() = default;
    // columns: of a permutation, or none. Contract: each column once.
    any_matrix(any_format format, packed_shape shape, aligned_buffer bytes, std::vector<std::uint32_t> columns = {})
        : format_(format), shape_(shape), bytes_(std::move(bytes)), columns_(std::move(columns)) {
        if (!columns_.empty() && (columns_.size() != shape.cols || !detail::is_permutation(columns_)))
            detail::contract_violation("qnt::any_matrix: " + std::to_string(columns_.size()) + " columns are no permutation of the matrix's " +
                                       std::to_string(shape.cols));
    }
    // Contract: outliers of this shape, see packed/outliers.hpp.
    any_matrix(any_format format, packed_shape shape, aligned_buffer bytes, outlier_columns outliers)
        : format_(format), shape_(shape), bytes_(std::move(bytes)), outliers_(std::move(outliers)) {
        const std::size_t count = outliers_.columns.size(), values = outliers_.values.size();
        if (!detail::is_ascending(outliers_.columns, shape.cols) || values != detail::outlier_values<layout::panels>(shape.rows, count))
            detail::contract_violation("qnt::any_matrix: " + std::to_string(count) + " outlier columns with " + std::to_string(values) +
                                       " values do not fit a matrix of " + detail::shape_text(shape.rows, shape.cols));
    }
    const any_format& format() const { return format_; }
    const packed_shape& shape() const { return shape_; }
    std::size_t rows() const { return shape_.rows; }
    std::size_t cols() const { return shape_.cols; }
    std::span<const std::byte> bytes() const { return {bytes_.data(), bytes_.size()}; }
    std::span<const std::uint32_t> columns() const { return columns_; }
    outlier_view outliers() const { return outliers_.view(); }
    any_view<layout::panels> view() const { return {format_.info, shape_, bytes_.data(), columns_.empty() ? nullptr : columns_.data(), outliers()}; }

private:
    any_format format_;
    packed_shape shape_;
    aligned_buffer bytes_;
    std::vector<std::uint32_t> columns_;
    outlier_columns outliers_;
};

namespace detail {
inline namespace QNT_BASELINE {

inline std::string format_name(const any_format& f) {
    for (const known_format& k : known_formats) {
        format_info same_scale = k.info;
        if (*k.default_scale) same_scale.scale = f.info.scale;
        if (!(same_scale == f.info)) continue;
        std::string text = k.name;
        if (f.info.is_grouped()) text += ":" + std::to_string(f.group);
        if (*k.default_scale && std::string_view(k.default_scale) != name_of(f.info.scale)) text += std::string(":") + name_of(f.info.scale);
        return text;
    }
    return std::string(f.info.code_name) + (f.info.is_grouped() ? ":" + std::to_string(f.group) : "");
}

inline error bad_format(std::string_view text, const std::string& why) {
    return {errc::invalid_argument,
            "format '" + printable(text) + "': " + why +
                "; formats are f32, f16, bf16, int8, int8_channel, int8:G, nf4:G, nf4_dq:G, fp4_bnb:G, int4:G, uint4:G with G a multiple of 16 "
                "(nf4:64, int4:32), and a scale type behind G if not the default one (int4:32:f32)"};
}

inline result<any_format> parse_format(std::string_view text) {
    std::string_view parts[3];
    std::size_t count = 0;
    for (std::string_view rest = text;; ++count) {
        if (count == 3) return bad_format(text, "has too many parts");
        const std::size_t colon = rest.find(':');
        parts[count] = rest.substr(0, colon);
        if (colon == std::string_view::npos) break;
        rest.remove_prefix(colon + 1);
    }
    const bool grouped = count > 0;
    bool name_exists = false;
    for (const known_format& k : known_formats) {
        name_exists = name_exists || parts[0] == k.name;
        if (parts[0] != k.name || k.info.is_grouped() != grouped) continue;
        any_format f{k.info, 0};
        if (!grouped) return f;
        const char* const end = parts[1].data() + parts[1].size();
        const auto [at, problem] = std::from_chars(parts[1].data(), end, f.group);
        if (problem != std::errc{} || at != end || f.group == 0 || f.group % 16 != 0 || f.group > (std::size_t{1} << 40))
            return bad_format(text, "group '" + printable(parts[1]) + "' is not a positive multiple of 16");
        if (count == 2) {
            if (!*k.default_scale) return bad_format(text, "the scale type of " + std::string(k.name) + " cannot be chosen");
            f.info.scale = parts[2] == "f32"    ? scalar_type::f32
                           : parts[2] == "f16"  ? scalar_type::f16
                           : parts[2] == "bf16" ? scalar_type::bf16
                                                : scalar_type::none;
            if (f.info.scale == scalar_type::none) return bad_format(text, "unknown scale type '" + printable(parts[2]) + "'");
        }
        return f;
    }
    return bad_format(text, !name_exists ? "unknown" : grouped ? "takes no group" : "needs a group size");
}

}  // namespace QNT_BASELINE
}  // namespace detail

inline result<any_format> any_format::parse(std::string_view text) { return detail::parse_format(text); }
inline std::string any_format::name() const { return detail::format_name(*this); }

inline namespace QNT_BASELINE {

// Calls visitor.template operator()<Code>() with the code of a known format: the one bridge from names to types.
template <class Visitor> auto visit_code(const format_info& f, Visitor&& visitor) {
    const std::string_view name = f.code_name;
    if (name == int8_code::name) return visitor.template operator()<int8_code>();
    if (name == int4_code::name) return visitor.template operator()<int4_code>();
    if (name == uint4_code::name) return visitor.template operator()<uint4_code>();
    if (name == fp4_bnb_code::name) return visitor.template operator()<fp4_bnb_code>();
    if (name == nf4_code::name) return visitor.template operator()<nf4_code>();
    return visitor.template operator()<dense_code<float>>();  // what is left are the dense ones, one implementation for all
}

// As quantize<F>(), with the format as a value.
template <class T>
    requires scalar<std::remove_const_t<T>>
result<any_matrix> quantize(const matrix_view<T>& w, const any_format& format, const quantize_options& options = {}, executor_ref executor = {}) {
    const packed_shape shape = format.shape(w.rows, w.cols);
    auto bytes =
        visit_code(format.info, [&]<class Code>() { return detail::quantize_as<Code, layout::panels>(w, format.info, shape, options, executor); });
    if (!bytes) return bytes.error();
    return any_matrix(format, shape, std::move(bytes->codes), std::move(bytes->outliers));
}

// A matrix of codes that another system made. read_row(row, out) fills the codes, scales and zero points of one row (unpacked_row) and
// returns result<void>; it is called from several threads at once and must refuse codes that no encoder of the format makes. Its column k
// is the user's column columns[k], if there are any.
// Errors: that of the first row that failed; out_of_memory.
template <class ReadRow>
result<any_matrix> pack_matrix(const any_format& format, std::size_t rows, std::size_t cols, const ReadRow& read_row, executor_ref executor = {},
                               std::vector<std::uint32_t> columns = {}) {
    const packed_shape shape = format.shape(rows, cols);
    const panel_layout at(format.info, shape);
    auto buffer = aligned_buffer::allocate(at.buffer_bytes());
    if (!buffer) return buffer.error();
    detail::first_failure failure;
    executor.parallel_for(at.panels, 1, [&](std::size_t begin, std::size_t end) {
        detail::panel_space space(format.info, shape);
        for (std::size_t panel = begin; panel < end; ++panel) {
            const std::size_t first = panel * panel_rows, count = std::min(panel_rows, rows - first);
            for (std::size_t r = 0; r < count; ++r)
                if (!read_row(first + r, space.row(r))) failure.note(first + r);
            pack_panel(buffer->data(), format.info, shape, panel, space.row(0), space.code_step, count);
        }
    });
    if (!failure.any()) return any_matrix(format, shape, std::move(*buffer), std::move(columns));
    detail::panel_space space(format.info, shape, 1);
    return read_row(failure.row(), space.row(0)).error();
}

inline void dequantize(const matrix_view<float>& out, const any_view<layout::panels>& w, executor_ref executor = {}) {
    detail::dequantize_rows(out, w, executor);
}
// Rows of w as f32, one after another (embeddings), with memory of its own; w must outlive it.
class row_dequantizer {
public:
    explicit row_dequantizer(const any_view<layout::panels>& w) : shape_(w.shape), reader_(w, exact, 1) {}

    // out[cols]
    void operator()(std::span<float> out, std::size_t row) {
        if (row >= shape_.rows || out.size() != shape_.cols)
            detail::contract_violation("qnt::dequantize_row: row " + std::to_string(row) + " into " + std::to_string(out.size()) + " values, w is " +
                                       detail::shape_text(shape_.rows, shape_.cols));
        const fp_env env;
        reader_.read(row, 1, out.data(), 0);
    }

private:
    packed_shape shape_;
    detail::row_reader<layout::panels> reader_;
};
// One row of w as f32: out[cols].
inline void dequantize_row(std::span<float> out, const any_view<layout::panels>& w, std::size_t row) { row_dequantizer{w}(out, row); }
template <class T>
error_stats compare(const matrix_view<T>& w, const any_view<layout::panels>& packed, compute_mode mode = exact, executor_ref executor = {}) {
    return detail::compare_rows(w, packed, mode, executor);
}

// y[M, N] = x[M, K] * w[N, K]^T, see matmul.hpp.
template <scalar Y, class X>
    requires scalar<std::remove_const_t<X>>
void gemm(const matrix_view<Y>& y, const matrix_view<X>& x, const any_view<layout::panels>& w, const matmul_options& options = {}) {
    if (x.col_stride != 1 || y.col_stride != 1) detail::contract_violation("qnt::gemm: the rows of x and y must be dense (col_stride 1)");
    detail::gemm("gemm", detail::kernels_for(w.format), detail::rows_of(y), detail::rows_of(x), w, options);
}
template <scalar Y> void gemm(const matrix_view<Y>& y, const activations& x, const any_view<layout::panels>& w, const matmul_options& options = {}) {
    if (y.col_stride != 1) detail::contract_violation("qnt::gemm: the rows of y must be dense (col_stride 1)");
    detail::gemm("gemm", detail::kernels_for(w.format), detail::rows_of(y), x, w, options);
}
template <scalar Y, class X>
    requires scalar<std::remove_const_t<X>>
void gemv(std::span<Y> y, std::span<X> x, const any_view<layout::panels>& w, const matmul_options& options = {}) {
    detail::gemm("gemv", detail::kernels_for(w.format), detail::rows_of(matrix_view<Y>{y.data(), 1, y.size()}),
                 detail::rows_of(matrix_view<X>{x.data(), 1, x.size()}), w, options);
}

}  // namespace QNT_BASELINE
}  // namespace qnt
