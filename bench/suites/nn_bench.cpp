// The steps of a transformer between its products.
#include <qnt/qnt.hpp>

#include <benchmark/benchmark.h>

#include "../random_floats.hpp"

namespace {

constexpr std::size_t width = 768;

void layer_norm(benchmark::State& state) {
    const std::size_t rows = std::size_t(state.range(0));
    const std::vector<float> x = bench::random_floats(rows * width, 1), gain = bench::random_floats(width, 2), shift = bench::random_floats(width, 3);
    std::vector<float> y(rows * width);
    for (auto _ : state) {
        qnt::layer_norm(qnt::matrix_view<float>{y.data(), rows, width}, qnt::matrix_view<const float>{x.data(), rows, width}, gain, shift, 1e-5f);
        benchmark::ClobberMemory();
    }
    state.SetBytesProcessed(state.iterations() * std::int64_t(2 * rows * width * sizeof(float)));
}

void gelu(benchmark::State& state) {
    const std::vector<float> x = bench::random_floats(4 * width, 1);
    std::vector<float> y(x.size());
    for (auto _ : state) {
        qnt::gelu(y, x);
        benchmark::ClobberMemory();
    }
    state.SetItemsProcessed(state.iterations() * std::int64_t(x.size()));
}

void softmax(benchmark::State& state) {
    const std::vector<float> x = bench::random_floats(1024, 1);
    std::vector<float> y(x.size());
    for (auto _ : state) {
        qnt::softmax(y, x);
        benchmark::ClobberMemory();
    }
    state.SetItemsProcessed(state.iterations() * std::int64_t(x.size()));
}

BENCHMARK(layer_norm)->Arg(1)->Arg(128);
BENCHMARK(gelu);
BENCHMARK(softmax);

}  // namespace
