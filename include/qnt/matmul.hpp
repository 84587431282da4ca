// Products with packed weights: Y[M, N] = X[M, K] * W[N, K]^T.
//
//     gemv(y, x, w)                                            y[N], x[K]
//     gemm(y, x, w, {.mode = exact, .epilogue = bias{b} | gelu_tanh, .executor = pool})
//
// x and y are f32, f16 or bf16. Two ways to compute:
//   int8_activations   x is quantized to 8 bits (activations.hpp), integer dot products; the default. Codebooks are multiplied as 8-bit
//                      integers too: off by up to 0.4 % of a group's absmax (compare() measures what is multiplied)
//   exact              float arithmetic on the decoded weights
// A matrix whose columns are permuted (any_format.hpp) multiplies x in the order of its columns; one with outlier columns multiplies them
// apart (packed/outliers.hpp has the order of the sum).
// Results are the same bits for every instruction set, number of threads and M (a row of a gemm equals the gemv of that row).
// Shapes that do not fit throw contract_error, with y untouched. w may be used from any number of threads at once.
#pragma once
#include <span>
#include <utility>

#include "core/executor.hpp"
#include "core/fp_env.hpp"
#include "core/matrix_view.hpp"
#include "core/modes.hpp"
#include "core/scratch.hpp"
#include "kernels/quantize_table.hpp"

namespace qnt {

// Epilogues, joined by |, applied in this order whatever the order they are written in: bias, activation, residual.
struct bias {
    std::span<const float> values;  // [N]
};
struct residual {
    matrix_view<const float> values;  // [M, N]; may be y itself
    explicit residual(matrix_view<const float> v) : values(v) {}
    explicit residual(std::span<const float> v) : values(v.data(), 1, v.size()) {}
};
inline constexpr activation gelu_tanh = activation::gelu_tanh;

struct epilogue_list {
    std::span<const float> bias;
    activation act = activation::none;
    matrix_view<const float> residual;

    epilogue_list() = default;
    epilogue_list(const qnt::bias& b) : bias(b.values) {}
    epilogue_list(activation a) : act(a) {}
    epilogue_list(const qnt::residual& r) : residual(r.values) {}
    friend epilogue_list operator|(epilogue_list a, const epilogue_list& b) {
        if (b.bias.data()) a.bias = b.bias;
        if (b.act != activation::none) a.act = b.act;
        if (b.residual.data) a.residual = b.residual;
        return a;
    }
};
inline epilogue_list operator|(const bias& a, activation b) { return epilogue_list(a) | epilogue_list(b); }
inline epilogue_list operator|(const bias& a, const residual& b) { return epilogue_list(a) | epilogue_list(b); }
inline epilogue_list operator|(activation a, const residual& b) { return epilogue_list(a) | epilogue_list(b); }

struct matmul_options {
    compute_mode mode = automatic;
    epilogue_list epilogue = {};
    executor_ref executor = {};
};

namespace detail {

// A family's entries of the kernel tables.
struct kernel_set {
    const kernels::gemm_function* int8 = nullptr;  // [isa::count]
    const kernels::gemm_function* exact = nullptr;
};

// Any supported element type by its address.
struct scalar_rows {
    const void* data;
    scalar_type type;
    std::size_t rows, cols, stride;  // elements
};
template <class T> scalar_rows rows_of(const matrix_view<T>& v) {
    return {v.data, scalar_type_of<std::remove_const_t<T>>, v.rows, v.cols, v.row_stride};
}

inline namespace QNT_BASELINE {

inline std::string shape_text(std::size_t r, std::size_t c) { return "[" + std::to_string(r) + ", " + std::to_string(c) + "]"; }

template <operand_family Family, bool Zero> constexpr kernel_set make_kernel_set() {
    if constexpr (is_dense(Family)) return {nullptr, kernels::exact_gemm<Family, Zero>};
    else return {kernels::int8_gemm<Family, Zero>, kernels::exact_gemm<Family, Zero>};
}
template <format_type F> inline constexpr detail::kernel_set kernels_of = make_kernel_set<info_of<F>.family, info_of<F>.has_zero()>();

// The kernels of a format known at run time: this instantiates all of them.
inline detail::kernel_set kernels_for(const format_info& f) {
    using family = operand_family;
    switch (f.family) {
    case family::nibble_affine:
        return f.has_zero() ? make_kernel_set<family::nibble_affine, true>() : make_kernel_set<family::nibble_affine, false>();
    case family::nibble_table: return make_kernel_set<family::nibble_table, false>();
    case family::byte_value: return make_kernel_set<family::byte_value, false>();
    case family::byte_table: return make_kernel_set<family::byte_table, false>();
    case family::dense_f32: return make_kernel_set<family::dense_f32, false>();
    case family::dense_f16: return make_kernel_set<family::dense_f16, false>();
    case family::dense_bf16: return make_kernel_set<family::dense_bf16, false>();
    }
    return {};
}

inline void widen_row(const detail::scalar_rows& x, std::size_t row, float* out) {
    if (x.type == scalar_type::f32) {
        std::memcpy(out, static_cast<const float*>(x.data) + row * x.stride, x.cols * sizeof(float));
        return;
    }
    kernels::widen_row[std::size_t(isa::active())](static_cast<const std::uint16_t*>(x.data) + row * x.stride, x.cols, x.type, out);
}

inline void quantize_rows(activations& out, const detail::scalar_rows& x, const segmentation& cut, executor_ref executor) {
    out.reshape(x.rows, cut);
    const auto quantize_row = kernels::quantize_activation_row[std::size_t(isa::active())];
    const auto some = [&](std::size_t begin, std::size_t end) {
        const fp_env env;
        scratch wide(x.type == scalar_type::f32 ? 0 : x.cols);
        for (std::size_t r = begin; r < end; ++r) {
            const float* from = static_cast<const float*>(x.data) + r * x.stride;
            if (x.type != scalar_type::f32) {
                widen_row(x, r, wide.data());
                from = wide.data();
            }
            quantize_row(from, cut, out.codes(r), out.codes_stride(), out.factors() + r, out.minus_sums() + r, x.rows, out.row_scales() + r);
        }
    };
    if (x.rows * x.cols < 65536) some(0, x.rows);  // less work than waking a thread
    else executor.parallel_for(x.rows, 1, some);
}

inline void check_shapes(const char* function, const any_view<layout::panels>& w, std::size_t y_rows, std::size_t y_cols, std::size_t x_rows,
                         std::size_t x_cols, const matmul_options& options) {
    const auto fail = [&](const std::string& rule) {
        detail::contract_violation(std::string("qnt::") + function + ": " + rule + ": y" + detail::shape_text(y_rows, y_cols) + " = x" +
                                   detail::shape_text(x_rows, x_cols) + " * w" + detail::shape_text(w.shape.rows, w.shape.cols) + "^T");
    };
    if (x_cols != w.shape.cols) fail("x must have as many columns as w");
    if (y_cols != w.shape.rows) fail("y must have as many columns as w has rows");
    if (y_rows != x_rows) fail("y must have as many rows as x");
    const epilogue_list& e = options.epilogue;
    if (e.bias.data() && e.bias.size() != y_cols) fail("bias has " + std::to_string(e.bias.size()) + " values, not one per row of w");
    if (e.residual.data && (e.residual.rows != y_rows || e.residual.cols != y_cols || e.residual.col_stride != 1))
        fail("residual" + detail::shape_text(e.residual.rows, e.residual.cols) + " must have the shape of y, with dense rows");
}

// Everything of a product that does not depend on x.
inline kernels::gemm_args weight_args(const any_view<layout::panels>& w, const epilogue_list& e, void* y, scalar_type y_type, std::size_t y_stride) {
    const panel_layout at(w.format, w.shape);
    kernels::gemm_args a{};
    a.panels = reinterpret_cast<const std::uint8_t*>(w.data);
    a.n = w.shape.rows;
    a.k = w.shape.cols;
    a.panel_bytes = at.panel_bytes;
    a.group_bytes = at.group_bytes;
    a.group_size = w.shape.group_size();
    a.groups = w.shape.groups();
    a.scale = w.format.scale;
    a.zero_offset = at.zero_offset;
    a.grouped = w.format.is_grouped();
    a.tables = w.format.tables;
    a.reads_ahead = isa::reads_ahead();
    a.y = y;
    a.y_type = y_type;
    a.y_stride = y_stride;
    a.epilogue = {e.bias.data(), e.act, e.residual.data, e.residual.row_stride};
    return a;
}

inline void run(kernels::gemm_function kernel, const kernels::gemm_args& a, std::size_t m, executor_ref executor) {
    executor.parallel_for(ceil_div(a.n, panel_rows), 1, [&](std::size_t begin, std::size_t end) {
        const fp_env env;
        kernel(a, begin, end, 0, m);
    });
}

inline segmentation segments_of(const any_view<layout::panels>& w) { return {w.shape.cols, w.shape.group}; }

inline void multiply_int8(const kernels::gemm_function* kernel, const any_view<layout::panels>& w, kernels::gemm_args a, const activations& x,
                          executor_ref executor) {
    const fp_env env;
    const isa::id isa = isa::active();
    const std::size_t count = x.rows() * x.segments();
    scratch space(count + x.rows());
    auto* seeds = reinterpret_cast<std::int32_t*>(space.data());
    float* row_scales = space.data() + count;
    const int bias = w.format.family == operand_family::nibble_affine ? w.format.tables->offset : kernels::operand_bias[std::size_t(isa)];
    const float* factors = x.factors();
    const std::int32_t* minus_sums = x.minus_sums();
    for (std::size_t i = 0; i < count; ++i) seeds[i] = std::bit_cast<std::int32_t>(a.grouped ? factors[i] : 0x1.8p23f) + bias * minus_sums[i];
    for (std::size_t r = 0; r < x.rows(); ++r) row_scales[r] = x.row_scales()[r] * w.format.tables->unit;
    a.codes = x.codes(0);
    a.codes_stride = x.codes_stride();
    a.m = x.rows();
    a.factors = factors;
    a.seeds = seeds;
    a.minus_sums = minus_sums;
    a.segments = x.segments();
    a.row_scales = row_scales;
    run(kernel[std::size_t(isa)], a, x.rows(), executor);
}

inline void multiply_exact(const kernels::gemm_function* kernel, kernels::gemm_args a, const detail::scalar_rows& x, executor_ref executor) {
    const bool in_place = x.type == scalar_type::f32 && x.cols % 8 == 0;
    const std::size_t stride = round_up(x.cols, 8);
    scratch space(in_place ? 0 : x.rows * stride);
    if (!in_place)
        for (std::size_t r = 0; r < x.rows; ++r) {
            widen_row(x, r, space.data() + r * stride);
            std::memset(space.data() + r * stride + x.cols, 0, (stride - x.cols) * sizeof(float));
        }
    a.x = in_place ? static_cast<const float*>(x.data) : space.data();
    a.x_stride = in_place ? x.stride : stride;
    run(kernel[std::size_t(isa::active())], a, x.rows, executor);
}

inline compute_mode resolve(compute_mode mode, const format_info& f, const char* function) {
    if (mode == compute_mode::automatic) return f.is_dense() ? exact : int8_activations;
    if (mode == int8_activations && f.is_dense())
        detail::contract_violation(std::string("qnt::") + function + ": " + f.code_name +
                                   " weights have no int8_activations mode; use exact or automatic");
    return mode;
}

// out[k] = x[columns[k]] of all rows, as f32.
inline void gather_rows(std::vector<float>& out, const detail::scalar_rows& x, const std::uint32_t* columns, executor_ref executor) {
    if (out.size() < x.rows * x.cols) out.resize(x.rows * x.cols);
    const auto some = [&](std::size_t begin, std::size_t end) {
        for (std::size_t r = begin; r < end; ++r) {
            const auto* from = static_cast<const std::byte*>(x.data) + r * x.stride * size_of(x.type);
            for (std::size_t k = 0; k < x.cols; ++k) out[r * x.cols + k] = load_scalar(from + columns[k] * size_of(x.type), x.type);
        }
    };
    if (x.rows * x.cols < 65536) some(0, x.rows);  // less work than waking a thread
    else executor.parallel_for(x.rows, 1, some);
}

// rest = x with zeros in its outlier columns, apart[M, count] = those columns, both as f32.
inline void split_rows(float* rest, float* apart, const detail::scalar_rows& x, std::span<const std::uint32_t> columns, executor_ref executor) {
    const auto some = [&](std::size_t begin, std::size_t end) {
        for (std::size_t r = begin; r < end; ++r) {
            float* const row = rest + r * x.cols;
            widen_row(x, r, row);
            for (std::size_t i = 0; i < columns.size(); ++i) apart[r * columns.size() + i] = std::exchange(row[columns[i]], 0.0f);
        }
    };
    if (x.rows * x.cols < 65536) some(0, x.rows);  // less work than waking a thread
    else executor.parallel_for(x.rows, 1, some);
}

// y = epilogue(product of the codes + the outlier columns)
inline void add_outliers(const detail::scalar_rows& y, const float* product, const float* x, const any_view<layout::panels>& w,
                         const matmul_options& options) {
    const kernels::outlier_args a{product, x, reinterpret_cast<const std::uint8_t*>(w.outliers.values), w.outliers.count(),
                                  weight_args(w, options.epilogue, const_cast<void*>(y.data), y.type, y.stride)};
    const auto add = kernels::add_outliers[std::size_t(isa::active())];
    const auto some = [&](std::size_t begin, std::size_t end) {
        const fp_env env;
        add(a, begin, end, y.rows);
    };
    const std::size_t panels = ceil_div(y.cols, panel_rows);
    if (y.rows * y.cols * (a.count + 1) < 65536) some(0, panels);
    else options.executor.parallel_for(panels, 1, some);
}

inline void gemm(const char* function, const detail::kernel_set& kernels, const detail::scalar_rows& y, const detail::scalar_rows& x,
                 const any_view<layout::panels>& w, const matmul_options& options) {
    check_shapes(function, w, y.rows, y.cols, x.rows, x.cols, options);
    const compute_mode mode = resolve(options.mode, w.format, function);
    if (y.rows == 0 || y.cols == 0) return;
    if (!w.outliers.empty()) {
        static thread_local std::vector<float> kept;
        std::vector<float> mine = std::move(kept);
        const std::size_t needed = x.rows * (x.cols + y.cols + w.outliers.count());
        if (mine.size() < needed) mine.resize(needed);
        float *const rest = mine.data(), *const product = rest + x.rows * x.cols, *const apart = product + x.rows * y.cols;
        split_rows(rest, apart, x, w.outliers.columns, options.executor);
        gemm(function, kernels, {product, scalar_type::f32, y.rows, y.cols, y.cols}, {rest, scalar_type::f32, x.rows, x.cols, x.cols},
             {w.format, w.shape, w.data, w.columns}, {.mode = mode, .executor = options.executor});
        add_outliers(y, product, apart, w, options);
        kept = std::move(mine);
        return;
    }
    if (w.columns) {
        static thread_local std::vector<float> kept;
        std::vector<float> mine = std::move(kept);
        gather_rows(mine, x, w.columns, options.executor);
        gemm(function, kernels, y, {mine.data(), scalar_type::f32, x.rows, x.cols, x.cols}, {w.format, w.shape, w.data}, options);
        kept = std::move(mine);
        return;
    }
    const kernels::gemm_args a = weight_args(w, options.epilogue, const_cast<void*>(y.data), y.type, y.stride);
    if (mode == exact) return multiply_exact(kernels.exact, a, x, options.executor);
    static thread_local activations kept;
    activations mine = std::move(kept);
    quantize_rows(mine, x, segments_of(w), options.executor);
    multiply_int8(kernels.int8, w, a, mine, options.executor);
    kept = std::move(mine);
}

// Ready activations are in the user's order, their groups not those of w, and its outlier columns are among them.
inline void check_no_transform(const char* function, const any_view<layout::panels>& w) {
    if (w.transform() == input_transform::none) return;
    contract_violation(std::string("qnt::") + function + ": w has " + (w.columns ? "its columns permuted" : "outlier columns") +
                       ", ready activations cannot follow: multiply x itself");
}

inline void gemm(const char* function, const detail::kernel_set& kernels, const detail::scalar_rows& y, const activations& x,
                 const any_view<layout::panels>& w, const matmul_options& options) {
    check_shapes(function, w, y.rows, y.cols, x.rows(), x.cols(), options);
    check_no_transform(function, w);
    if (resolve(options.mode, w.format, function) == exact)
        detail::contract_violation(std::string("qnt::") + function + ": ready activations are int8, they cannot be multiplied in exact mode");
    if (!(x.cut() == segments_of(w)))
        detail::contract_violation(std::string("qnt::") + function + ": these activations were made for another group size than that of w (" +
                                   std::to_string(w.shape.group_size()) + ")");
    if (y.rows == 0 || y.cols == 0) return;
    multiply_int8(kernels.int8, w, weight_args(w, options.epilogue, const_cast<void*>(y.data), y.type, y.stride), x, options.executor);
}

}  // namespace QNT_BASELINE
}  // namespace detail

inline namespace QNT_BASELINE {

// Rows of x, quantized once for all products with matrices of w's group size. x[M, K] of f32, f16 or bf16.
template <class T>
    requires scalar<std::remove_const_t<T>>
activations quantize_activations(const matrix_view<T>& x, const any_view<layout::panels>& w, executor_ref executor = {}) {
    if (x.cols != w.shape.cols || x.col_stride != 1)
        detail::contract_violation("qnt::quantize_activations: x" + detail::shape_text(x.rows, x.cols) + " must have the columns of w" +
                                   detail::shape_text(w.shape.rows, w.shape.cols) + ", in dense rows");
    detail::check_no_transform("quantize_activations", w);
    activations out;
    detail::quantize_rows(out, detail::rows_of(x), detail::segments_of(w), executor);
    return out;
}

// y[M, N] = x[M, K] * w[N, K]^T
template <scalar Y, class X, format_type F>
    requires scalar<std::remove_const_t<X>>
void gemm(const matrix_view<Y>& y, const matrix_view<X>& x, const packed_view<F>& w, const matmul_options& options = {}) {
    if (x.col_stride != 1 || y.col_stride != 1) detail::contract_violation("qnt::gemm: the rows of x and y must be dense (col_stride 1)");
    detail::gemm("gemm", detail::kernels_of<F>, detail::rows_of(y), detail::rows_of(x), w, options);
}
template <scalar Y, format_type F>
void gemm(const matrix_view<Y>& y, const activations& x, const packed_view<F>& w, const matmul_options& options = {}) {
    if (y.col_stride != 1) detail::contract_violation("qnt::gemm: the rows of y must be dense (col_stride 1)");
    detail::gemm("gemm", detail::kernels_of<F>, detail::rows_of(y), x, w, options);
}
template <scalar Y, class X, format_type F>
void gemm(const matrix_view<Y>& y, const X& x, const packed_matrix<F>& w, const matmul_options& options = {}) {
    gemm(y, x, w.view(), options);
}

// Kernels take panels only.
template <scalar Y, class X, format_type F>
void gemm(const matrix_view<Y>&, const X&, const packed_matrix<F, layout::rows>&,
          const matmul_options& = {}) = delete;  // repack<layout::panels>() it first

// y[N] = x[K] * w[N, K]^T. y and x: contiguous ranges of f32, f16 or bf16 (vector, array, span).
template <class Y, class X, format_type F> void gemv(Y&& y, const X& x, const packed_view<F>& w, const matmul_options& options = {}) {
    const auto ys = std::span(y);
    const auto xs = std::span(x);
    using YT = typename decltype(ys)::element_type;
    using XT = typename decltype(xs)::element_type;
    static_assert(scalar<YT> && scalar<std::remove_const_t<XT>>, "gemv: x and y are f32, f16 or bf16");
    detail::gemm("gemv", detail::kernels_of<F>, detail::rows_of(matrix_view<YT>{ys.data(), 1, ys.size()}),
                 detail::rows_of(matrix_view<const XT>{xs.data(), 1, xs.size()}), w, options);
}
template <class Y, class X, format_type F> void gemv(Y&& y, const X& x, const packed_matrix<F>& w, const matmul_options& options = {}) {
    gemv(std::forward<Y>(y), x, w.view(), options);
}
template <class Y, class X, format_type F>
void gemv(Y&&, const X&, const packed_matrix<F, layout::rows>&, const matmul_options& = {}) = delete;  // repack<layout::panels>() it first

}  // namespace QNT_BASELINE
}  // namespace qnt
