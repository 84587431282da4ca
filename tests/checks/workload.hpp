// Quantizes and multiplies once in every way the library has, without a test framework, exceptions or libm, for programs that
// compare the bits of builds: other flags, other compilers, other machines.
#pragma once
#include <qnt/qnt.hpp>

#include <cstdint>
#include <cstdio>
#include <span>
#include <vector>

namespace {

std::vector<float> random_floats(std::size_t n, std::uint32_t state) {  // in [-1, 1)
    std::vector<float> numbers(n);
    for (float& number : numbers) {
        state = state * 1664525u + 1013904223u;
        number = float(std::int32_t(state) >> 8) / float(1 << 23);
    }
    return numbers;
}

// Appends the products of the same with some columns kept as f16.
template <class F> bool multiply_outliers(std::vector<float>& results) {
    constexpr std::size_t rows = 35, cols = 200, batch = 7;
    const std::vector<float> weights = random_floats(rows * cols, 1), inputs = random_floats(batch * cols, 2), more = random_floats(rows, 3);
    const std::vector<std::uint32_t> outliers{0, 7, 100, 101, 199};
    const auto packed = qnt::quantize<F>(qnt::matrix_view<const float>{weights.data(), rows, cols}, {.outliers = outliers});
    if (!packed) return false;
    std::vector<float> products(batch * rows);
    for (const auto mode : {qnt::int8_activations, qnt::exact}) {
        qnt::gemm(qnt::matrix_view<float>{products.data(), batch, rows}, qnt::matrix_view<const float>{inputs.data(), batch, cols}, *packed,
                  {.mode = mode, .epilogue = qnt::bias{more} | qnt::gelu_tanh});
        results.insert(results.end(), products.begin(), products.end());
    }
    return true;
}

// Appends the packed bytes, as numbers from 0 to 255, and the products of one format, ragged in rows, columns and batch.
template <class F> bool multiply(std::vector<float>& results) {
    constexpr std::size_t rows = 35, cols = 200, batch = 7;
    const std::vector<float> weights = random_floats(rows * cols, 1), inputs = random_floats(batch * cols, 2), more = random_floats(rows, 3);
    const auto packed = qnt::quantize<F>(qnt::matrix_view<const float>{weights.data(), rows, cols});
    if (!packed) {
        std::fprintf(stderr, "%s\n", packed.error().message.c_str());
        return false;
    }
    for (const std::byte b : packed->bytes()) results.push_back(float(std::to_integer<unsigned>(b)));
    std::vector<float> y(rows), products(batch * rows);
    for (const auto mode : {qnt::int8_activations, qnt::exact}) {
        if (mode == qnt::int8_activations && qnt::info_of<F>.is_dense()) continue;
        qnt::gemv(std::span<float>(y), std::span<const float>(inputs).first(cols), *packed,
                  {.mode = mode, .epilogue = qnt::bias{more} | qnt::gelu_tanh});
        qnt::gemm(qnt::matrix_view<float>{products.data(), batch, rows}, qnt::matrix_view<const float>{inputs.data(), batch, cols}, *packed,
                  {.mode = mode});
        results.insert(results.end(), y.begin(), y.end());
        results.insert(results.end(), products.begin(), products.end());
    }
    return true;
}

// Appends the steps of a transformer between its products.
bool attend(std::vector<float>& results) {
    constexpr std::size_t tokens = 9, heads = 2, head_dim = 20, width = heads * head_dim;
    const std::vector<float> x = random_floats(tokens * 3 * width, 4), gain = random_floats(width, 5), shift = random_floats(width, 6);
    auto cache = qnt::kv_cache::create(1, heads, head_dim, tokens);
    if (!cache) return false;
    const auto part = [&](std::size_t n) { return qnt::matrix_view<const float>{x.data() + n * width, tokens, width, 3 * width}; };
    std::vector<float> out(tokens * width);
    const qnt::matrix_view<float> rows{out.data(), tokens, width};
    cache->append(0, part(1), part(2));
    qnt::attention(rows, part(0), *cache, 0, 0);
    results.insert(results.end(), out.begin(), out.end());
    qnt::layer_norm(rows, part(0), gain, shift, 1e-5f);
    results.insert(results.end(), out.begin(), out.end());
    qnt::softmax(out, out);
    results.insert(results.end(), out.begin(), out.end());
    return true;
}

// All results; none after an error.
std::vector<float> run_workload() {
    std::vector<float> results;
    const bool done = multiply<qnt::int8>(results) && multiply<qnt::int8_channel>(results) && multiply<qnt::q8_0>(results) &&
                      multiply<qnt::nf4<64>>(results) && multiply<qnt::nf4_dq<64>>(results) && multiply<qnt::int4<32>>(results) &&
                      multiply<qnt::int4<144, float>>(results) && multiply<qnt::uint4<64>>(results) && multiply<qnt::uint4<16, qnt::bf16>>(results) &&
                      multiply<qnt::dense_format<float>>(results) && multiply<qnt::dense_format<qnt::f16>>(results) &&
                      multiply<qnt::dense_format<qnt::bf16>>(results) && attend(results) && multiply_outliers<qnt::int8_channel>(results) &&
                      multiply_outliers<qnt::uint4<64>>(results);
    return done ? results : std::vector<float>{};
}

}  // namespace
