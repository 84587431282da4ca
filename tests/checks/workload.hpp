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

// Appends the products of one format, ragged in rows, columns and batch.
template <class F> bool multiply(std::vector<float>& results) {
    constexpr std::size_t rows = 35, cols = 200, batch = 5;
    const std::vector<float> weights = random_floats(rows * cols, 1), inputs = random_floats(batch * cols, 2);
    const auto packed = qnt::quantize<F>(qnt::matrix_view<const float>{weights.data(), rows, cols});
    if (!packed) {
        std::fprintf(stderr, "%s\n", packed.error().message.c_str());
        return false;
    }
    std::vector<float> y(rows), products(batch * rows);
    for (const auto mode : {qnt::int8_activations, qnt::exact}) {
        qnt::gemv(std::span<float>(y), std::span<const float>(inputs).first(cols), *packed, {.mode = mode});
        qnt::gemm(qnt::matrix_view<float>{products.data(), batch, rows}, qnt::matrix_view<const float>{inputs.data(), batch, cols}, *packed,
                  {.mode = mode});
        results.insert(results.end(), y.begin(), y.end());
        results.insert(results.end(), products.begin(), products.end());
    }
    return true;
}

// All results; none after an error.
std::vector<float> run_workload() {
    std::vector<float> results;
    const bool done = multiply<qnt::int8_channel>(results) && multiply<qnt::nf4<64>>(results) && multiply<qnt::int4<32>>(results) &&
                      multiply<qnt::uint4<64>>(results) && multiply<qnt::q8_0>(results);
    return done ? results : std::vector<float>{};
}

}  // namespace
