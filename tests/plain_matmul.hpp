// The products of matmul.hpp a second time, in plain loops and the normative order, and what their tests share.
#pragma once
#include <qnt/any_format.hpp>
#include <qnt/matmul.hpp>

#include <cmath>

#include "support.hpp"

namespace test {

inline const char* const formats[] = {"f32",         "f16",       "bf16",    "int8",     "int8_channel", "int8:32",  "int8:48:f32",  "nf4:64",
                                      "nf4:48:bf16", "nf4_dq:64", "int4:32", "int4:128", "int4:144:f32", "uint4:64", "uint4:16:bf16"};

inline qnt::any_format parse(const char* text) { return qnt::any_format::parse(text).value(); }

inline std::vector<qnt::compute_mode> modes_of(const qnt::any_view<qnt::layout::panels>& w) {
    return w.format.is_dense() ? std::vector{qnt::exact} : std::vector{qnt::exact, qnt::int8_activations};
}

// Activations of one row as kernels/activations.inl and activations.hpp describe them.
struct plain_activations {
    std::vector<int> codes;
    std::vector<double> power;  // of a segment: 2^-e (grouped), or its scale
    float row_scale = 1;

    plain_activations(const float* x, const qnt::segmentation& cut) : codes(cut.cols) {
        const auto absmax = [&](std::size_t begin, std::size_t n) {
            float top = 0;
            for (std::size_t i = begin; i < begin + n; ++i) top = std::fmax(top, std::fabs(x[i]));
            return top;
        };
        const float row_top = absmax(0, cut.cols);
        if (cut.is_grouped()) row_scale = row_top < 0x1p-96f ? 0 : row_top / 127;
        for (std::size_t s = 0; s < cut.count(); ++s) {
            const std::size_t begin = cut.begin(s), n = cut.length(s);
            const float top = absmax(begin, n);
            float factor;
            if (cut.is_grouped()) {
                int e = 0;
                while (e < 24 && std::ldexp(top, e + 1) <= row_top) ++e;
                if (row_scale == 0) e = 0;
                power.push_back(std::ldexp(1.0, -e));
                factor = row_scale == 0 ? 0 : std::ldexp(127 / row_top, e);
            } else {
                power.push_back(top < 0x1p-96f ? 0 : top / 127);
                factor = top < 0x1p-96f ? 0 : 127 / top;
            }
            for (std::size_t i = begin; i < begin + n; ++i) {
                volatile float scaled = x[i] * factor;
                codes[i] = int(std::nearbyint(scaled));
            }
        }
        REQUIRE(std::all_of(codes.begin(), codes.end(), [](int c) { return std::abs(c) <= 127; }));
    }
};

struct plain_weights {
    qnt::format_info format;
    qnt::packed_shape shape;
    std::vector<std::uint8_t> codes, zeros;
    std::vector<float> scales, dense;

    explicit plain_weights(const qnt::any_view<qnt::layout::panels>& w)
        : format(w.format),
          shape(w.shape),
          codes(shape.rows * shape.cols),
          zeros(shape.rows * shape.groups()),
          scales(shape.rows * shape.groups(), 1.0f) {
        if (format.is_dense()) {
            dense.resize(codes.size());
            qnt::dequantize(qnt::matrix_view<float>{dense.data(), shape.rows, shape.cols}, w);
        } else {
            for (std::size_t r = 0; r < shape.rows; ++r)
                qnt::unpack_row(w, r, {&codes[r * shape.cols], &scales[r * shape.groups()], &zeros[r * shape.groups()]});
        }
    }
    std::uint8_t code(std::size_t r, std::size_t k) const { return codes[r * shape.cols + k]; }
    std::size_t group(std::size_t r, std::size_t k) const { return r * shape.groups() + k / shape.group_size(); }

    float int8_product(std::size_t r, const plain_activations& x, const qnt::segmentation& cut) const {
        float acc = 0;
        for (std::size_t s = 0; s < cut.count(); ++s) {
            long d = 0;
            for (std::size_t k = cut.begin(s); k < cut.begin(s) + cut.length(s); ++k)
                d += (format.tables->operands[code(r, k)] - zeros[group(r, k)]) * x.codes[k];
            if (format.is_grouped()) acc = std::fma(float(double(d) * x.power[s]), scales[group(r, cut.begin(s))], acc);
            else acc = std::fma(float(d), float(x.power[s]), acc);
        }
        volatile float y = format.is_grouped() ? x.row_scale * format.tables->unit : acc * scales[group(r, 0)];
        y = format.is_grouped() ? acc * y : y * format.tables->unit;
        return y;
    }
    float exact_product(std::size_t r, const float* x) const {
        float acc = 0;
        for (std::size_t g = 0; g < shape.groups(); ++g) {
            float a[4] = {};
            for (std::size_t i = 0; i < shape.group_length(g); ++i) {
                const std::size_t k = shape.group_begin(g) + i;
                const float v = format.is_dense() ? dense[r * shape.cols + k] : format.tables->values[code(r, k)] - float(zeros[group(r, k)]);
                a[i % 4] = std::fma(x[k], v, a[i % 4]);
            }
            acc = std::fma(scales[r * shape.groups() + g], (a[0] + a[1]) + (a[2] + a[3]), acc);
        }
        return acc;
    }
    // y[M, N] of dense x[M, K], without an epilogue
    std::vector<float> product(std::span<const float> x, std::size_t m, qnt::compute_mode mode) const {
        const qnt::segmentation cut{shape.cols, shape.group};
        std::vector<float> y;
        for (std::size_t i = 0; i < m; ++i) {
            const float* const row = &x[i * shape.cols];
            const plain_activations a(row, cut);
            for (std::size_t r = 0; r < shape.rows; ++r) y.push_back(mode == qnt::exact ? exact_product(r, row) : int8_product(r, a, cut));
        }
        return y;
    }
};

// y[M, N] of dense x[M, K]
inline std::vector<float> product(const qnt::any_matrix& w, std::span<const float> x, std::size_t m, const qnt::matmul_options& options) {
    std::vector<float> y(m * w.rows(), -1.0f);
    qnt::gemm(qnt::matrix_view<float>{y.data(), m, w.rows()}, qnt::matrix_view<const float>{x.data(), m, w.cols()}, w.view(), options);
    return y;
}

// How far y[M, N] is from x[M, K] w[N, K]^T in double: the root of the squares of the differences, relative to that of the products.
inline double relative_error(std::span<const float> y, std::span<const float> x, std::span<const float> w, std::size_t n, std::size_t k) {
    double error = 0, signal = 0;
    for (std::size_t i = 0; i < y.size(); ++i) {
        double sum = 0;
        for (std::size_t c = 0; c < k; ++c) sum += double(x[i / n * k + c]) * double(w[i % n * k + c]);
        error += (y[i] - sum) * (y[i] - sum);
        signal += sum * sum;
    }
    return std::sqrt(error / signal);
}

// The same bits for any number of threads and any batch, on the instruction set at hand.
inline void check_threads_and_batches(const qnt::any_matrix& w, std::span<const float> x, std::size_t m, qnt::compute_mode mode) {
    const std::size_t n = w.rows(), k = w.cols();
    const auto whole = product(w, x, m, {.mode = mode});
    for (const std::size_t threads : {std::size_t{1}, std::size_t{2}, std::size_t{3}, std::size_t{8}}) {
        const chaotic_executor executor{threads};
        REQUIRE(same_bits(product(w, x, m, {.mode = mode, .executor = executor}), whole));
    }
    for (const std::size_t batch : {std::size_t{1}, std::size_t{7}, std::size_t{64}})
        for (std::size_t first = 0; first < m; first += batch) {
            const std::size_t rows = std::min(batch, m - first);
            const auto part = product(w, x.subspan(first * k, rows * k), rows, {.mode = mode});
            REQUIRE(same_bits(part, std::span(whole).subspan(first * n, rows * n)));
        }
}

}  // namespace test
