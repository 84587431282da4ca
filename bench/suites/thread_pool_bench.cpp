// Handing work over and joining: an empty job, and a chain of dependent products as a decode step makes.
#include <qnt/any_format.hpp>
#include <qnt/thread_pool.hpp>

#include <utility>

#include <benchmark/benchmark.h>

#include "../random_floats.hpp"

namespace {

void empty_job(benchmark::State& state) {
    qnt::thread_pool pool(std::size_t(state.range(0)));
    for (auto _ : state) pool.parallel_for(pool.size(), 1, [](std::size_t, std::size_t) {});
}

// 64 products, each of the outputs of the one before; the time of one.
void chain(benchmark::State& state) {
    const std::size_t n = std::size_t(state.range(0));
    qnt::thread_pool pool(std::size_t(state.range(1)));
    std::vector<float> w = bench::random_floats(n * n, 1), x(n, 1.0f), y(n);
    for (float& v : w) v *= 0.02f;
    const auto packed = qnt::quantize<qnt::int8_channel>(qnt::matrix_view<const float>{w.data(), n, n}).value();
    for (auto _ : state) {
        for (int i = 0; i < 64; ++i) {
            qnt::gemv(y, x, packed, {.executor = pool});
            std::swap(x, y);
            for (float& v : x) v = v * 0.5f + 1.0f;
        }
    }
    state.SetItemsProcessed(state.iterations() * 64);
}

BENCHMARK(empty_job)->Arg(1)->Arg(2)->UseRealTime();
BENCHMARK(chain)->Args({256, 1})->Args({256, 2})->Args({768, 1})->Args({768, 2})->UseRealTime();

}  // namespace
