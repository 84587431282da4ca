// quantize, dequantize and compare: bytes are those of the f32 matrix.
#include <qnt/any_format.hpp>

#include <benchmark/benchmark.h>

#include "../random_floats.hpp"

namespace {

constexpr std::size_t rows = 1024, cols = 4096;

const std::vector<float>& weights() {
    static const std::vector<float> w = bench::random_floats(rows * cols, 1);
    return w;
}
qnt::matrix_view<const float> view() { return {weights().data(), rows, cols}; }

void quantize(benchmark::State& state, const char* format, bool with_report) {
    const qnt::any_format f = qnt::any_format::parse(format).value();
    qnt::quantization_report report;
    for (auto _ : state) {
        auto packed = qnt::quantize(view(), f, {.report = with_report ? &report : nullptr});
        benchmark::DoNotOptimize(packed.value().bytes().data());
    }
    state.SetBytesProcessed(state.iterations() * std::int64_t(rows * cols * sizeof(float)));
}

void dequantize(benchmark::State& state, const char* format) {
    const auto packed = qnt::quantize(view(), qnt::any_format::parse(format).value()).value();
    std::vector<float> out(rows * cols);
    for (auto _ : state) {
        qnt::dequantize(qnt::matrix_view<float>{out.data(), rows, cols}, packed.view());
        benchmark::ClobberMemory();
    }
    state.SetBytesProcessed(state.iterations() * std::int64_t(rows * cols * sizeof(float)));
}

BENCHMARK_CAPTURE(quantize, int8_channel, "int8_channel", false);
BENCHMARK_CAPTURE(quantize, int8_channel_report, "int8_channel", true);
BENCHMARK_CAPTURE(quantize, int4_32, "int4:32", false);
BENCHMARK_CAPTURE(quantize, int4_128, "int4:128", false);
BENCHMARK_CAPTURE(quantize, uint4_64, "uint4:64", false);
BENCHMARK_CAPTURE(quantize, nf4_64, "nf4:64", false);
BENCHMARK_CAPTURE(quantize, nf4_64_report, "nf4:64", true);
BENCHMARK_CAPTURE(quantize, nf4_dq_64, "nf4_dq:64", false);
BENCHMARK_CAPTURE(quantize, f16, "f16", false);
BENCHMARK_CAPTURE(dequantize, int8_channel, "int8_channel");
BENCHMARK_CAPTURE(dequantize, int4_32, "int4:32");
BENCHMARK_CAPTURE(dequantize, nf4_64, "nf4:64");

}  // namespace
