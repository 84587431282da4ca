// Rows of activations to int8.
#include <qnt/any_format.hpp>

#include <benchmark/benchmark.h>

#include "../random_floats.hpp"

namespace {

void quantize_activations(benchmark::State& state, const char* format) {
    const std::size_t m = std::size_t(state.range(0)), k = std::size_t(state.range(1));
    const std::vector<float> w = bench::random_floats(16 * k, 1), x = bench::random_floats(m * k, 2);
    const auto packed = qnt::quantize(qnt::matrix_view<const float>{w.data(), 16, k}, qnt::any_format::parse(format).value()).value();
    for (auto _ : state) benchmark::DoNotOptimize(qnt::quantize_activations(qnt::matrix_view<const float>{x.data(), m, k}, packed.view()).codes(0));
    state.SetBytesProcessed(state.iterations() * std::int64_t(m * k * sizeof(float)));
}

BENCHMARK_CAPTURE(quantize_activations, one_scale, "int8_channel")->Args({1, 768})->Args({1, 4096})->Args({128, 768});
BENCHMARK_CAPTURE(quantize_activations, groups_of_32, "int4:32")->Args({1, 768})->Args({1, 4096})->Args({128, 768});
BENCHMARK_CAPTURE(quantize_activations, groups_of_128, "int4:128")->Args({1, 768})->Args({1, 4096})->Args({128, 768});

}  // namespace
