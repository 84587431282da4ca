// qnt-formats: what every format costs and keeps, on one matrix of 1024 x 1024 bell-shaped weights (seeded, the same everywhere).
//
//   qnt-formats                 the table of the README
//   qnt-formats int4:48 nf4:96  formats of your choice
#include <cstdio>
#include <random>

#include <qnt/qnt.hpp>

namespace {

// A sum of twelve uniforms: close to a normal distribution with variance 1, without a library's own.
std::vector<float> bell_shaped(std::size_t n) {
    std::mt19937 random(1);
    std::vector<float> v(n);
    for (float& x : v) {
        std::int64_t sum = 0;
        for (int i = 0; i < 12; ++i) sum += std::int64_t(random() >> 8) - (1 << 23);
        x = float(double(sum) * 0x1p-24);
    }
    return v;
}

}  // namespace

int main(int argc, char** argv) {
    std::vector<std::string> names{"f32",      "f16",     "bf16",    "int8",     "int8_channel", "int8:32",   "uint4:32",
                                   "uint4:64", "int4:32", "int4:64", "int4:128", "nf4:64",       "nf4_dq:64", "fp4_bnb:64"};
    if (argc > 1) names.assign(argv + 1, argv + argc);
    constexpr std::size_t n = 1024;
    const std::vector<float> weights = bell_shaped(n * n);
    const qnt::matrix_view<const float> w{weights.data(), n, n};
    qnt::thread_pool pool;
    std::printf(
        "| format | bits stored | bits streamed | SQNR, exact | SQNR, int8_activations | largest error / absmax |\n|---|---|---|---|---|---|\n");
    float absmax = 0;
    for (const float v : weights) absmax = std::max(absmax, qnt::magnitude(v));
    for (const std::string& name : names) {
        const auto format = qnt::any_format::parse(name);
        if (!format) return std::fprintf(stderr, "qnt-formats: %s\n", format.error().message.c_str()), 2;
        qnt::quantization_report report;
        const auto packed = qnt::quantize(w, *format, {.report = &report}, pool);
        if (!packed) return std::fprintf(stderr, "qnt-formats: %s\n", packed.error().message.c_str()), 2;
        std::printf("| `%s` | %.3f | %.3f | %.2f dB | ", format->name().c_str(), report.bits.stored, report.bits.streamed, report.sqnr_db);
        if (format->info.is_dense()) std::printf("- | ");
        else std::printf("%.2f dB | ", qnt::compare(w, packed->view(), qnt::int8_activations, pool).sqnr_db);
        std::printf("%.5f |\n", double(report.max_abs.error / absmax));
    }
}
