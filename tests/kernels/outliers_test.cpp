// Products with outlier columns against the normative order in plain loops, and against double arithmetic on the weights.
#include <cmath>

#include "plain_matmul.hpp"

namespace {

using qnt::any_matrix;
using qnt::compute_mode;
using qnt::matrix_view;
using test::parse;
using test::product;
using test::random_floats;

constexpr const char* formats[] = {"int8", "int8_channel", "int8:32", "nf4:48:bf16", "nf4_dq:64", "fp4_bnb:64", "int4:32", "uint4:64"};

struct shape {
    std::size_t n, k, m;
};
constexpr shape shapes[] = {{1, 1, 1}, {15, 16, 1}, {17, 17, 3}, {33, 128, 5}, {5, 129, 7}, {48, 255, 8}, {31, 257, 9}, {3, 1000, 5}};

// None, one, every tenth and the last, all.
std::vector<std::vector<std::uint32_t>> choices(std::size_t k) {
    std::vector<std::uint32_t> some, all;
    for (std::uint32_t c = 0; c < k; ++c) {
        if (c % 10 == 3 || c + 1 == k) some.push_back(c);
        all.push_back(c);
    }
    return {{}, {std::uint32_t(k / 2)}, some, all};
}

any_matrix quantized(const std::vector<float>& w, std::size_t n, const char* format, std::span<const std::uint32_t> outliers) {
    return qnt::quantize(matrix_view<const float>{w.data(), n, w.size() / n}, parse(format), {.outliers = outliers}).value();
}

// As packed/outliers.hpp has it, from the weights themselves.
std::vector<float> plain_product(const any_matrix& packed, const std::vector<float>& w, std::vector<float> x, std::size_t m, compute_mode mode,
                                 std::span<const std::uint32_t> outliers) {
    const std::size_t n = packed.rows(), k = packed.cols();
    const std::vector<float> all = x;
    for (std::size_t i = 0; i < m; ++i)
        for (const std::uint32_t c : outliers) x[i * k + c] = 0;
    std::vector<float> y = test::plain_weights(packed.view()).product(x, m, mode);
    for (std::size_t i = 0; i < m; ++i)
        for (std::size_t r = 0; r < n; ++r)
            for (const std::uint32_t c : outliers) y[i * n + r] = std::fma(all[i * k + c], float(qnt::f16(w[r * k + c])), y[i * n + r]);
    return y;
}

}  // namespace

TEST_CASE("outlier columns: every format, mode and shape equals the normative order bit for bit on every instruction set") {
    for (const char* format : formats)
        for (const shape& s : shapes) {
            const auto w = random_floats(s.n * s.k, unsigned(s.n + s.k)), x = random_floats(s.m * s.k, 3, 4);
            for (const auto& outliers : choices(s.k)) {
                const any_matrix packed = quantized(w, s.n, format, outliers);
                REQUIRE(packed.outliers().count() == outliers.size());
                for (const compute_mode mode : {qnt::exact, qnt::int8_activations}) {
                    const auto expected = plain_product(packed, w, x, s.m, mode, outliers);
                    INFO(format << " [" << s.n << ", " << s.k << "] M=" << s.m << " " << qnt::name_of(mode) << ", " << outliers.size()
                                << " outliers");
                    test::on_every_isa([&](qnt::isa::id) { REQUIRE(test::same_bits(product(packed, x, s.m, {.mode = mode}), expected)); });
                }
            }
        }
}

TEST_CASE("outlier columns: no choice is the matrix without them, all columns are a product with f16 weights") {
    constexpr std::size_t n = 40, k = 96, m = 5;
    const auto w = random_floats(n * k, 1), x = random_floats(m * k, 2);
    const auto packed = qnt::quantize(matrix_view<const float>{w.data(), n, k}, parse("int4:32")).value();
    const auto none = quantized(w, n, "int4:32", {});
    CHECK(std::ranges::equal(none.bytes(), packed.bytes()));
    CHECK(none.view().transform() == qnt::input_transform::none);
    CHECK(test::same_bits(product(none, x, m, {}), product(packed, x, m, {})));
    const auto y = product(quantized(w, n, "int4:32", choices(k)[3]), x, m, {});
    for (std::size_t i = 0; i < m * n; ++i) {
        float sum = 0;
        for (std::size_t c = 0; c < k; ++c) sum = std::fma(x[i / n * k + c], float(qnt::f16(w[i % n * k + c])), sum);
        REQUIRE(y[i] == sum);
    }
}

TEST_CASE("outlier columns: large inputs no longer spoil the others, measured in double on the weights themselves and on those decoded") {
    constexpr std::size_t n = 70, k = 700, m = 6;
    const std::vector<std::uint32_t> outliers{5, 131, 132, 640, 699};
    const auto w = random_floats(n * k, 1);
    auto x = random_floats(m * k, 2);
    for (std::size_t i = 0; i < m; ++i)
        for (const std::uint32_t c : outliers) x[i * k + c] *= 60;
    const auto error = [&](const any_matrix& packed, compute_mode mode, const std::vector<float>& weights) {
        return test::relative_error(product(packed, x, m, {.mode = mode}), x, weights, n, k);
    };
    for (const auto& [format, bound] : {std::pair{"int8_channel", 0.002}, {"int8:32", 0.002}, {"int4:32", 0.02}, {"nf4:64", 0.02}}) {
        INFO(format);
        const any_matrix packed = quantized(w, n, format, outliers);
        for (const compute_mode mode : {qnt::exact, qnt::int8_activations}) {
            const double with = error(packed, mode, w), without = error(quantized(w, n, format, {}), mode, w);
            CHECK(with < bound);
            CHECK(with < without / 4);
        }
        std::vector<float> decoded(n * k);
        qnt::dequantize(matrix_view<float>{decoded.data(), n, k}, packed.view());
        CHECK(error(packed, qnt::exact, decoded) < 1e-6);
        CHECK(error(packed, qnt::int8_activations, decoded) < 2e-3);
    }
}

TEST_CASE("outlier columns: the same bits for any number of threads and any batch") {
    constexpr std::size_t n = 200, k = 333, m = 64;
    const auto w = random_floats(n * k, 4), x = random_floats(m * k, 5);
    for (const char* format : {"int8_channel", "int4:32", "uint4:64"})
        for (const auto& outliers : {choices(k)[1], choices(k)[2]}) {
            const any_matrix packed = quantized(w, n, format, outliers);
            for (const compute_mode mode : {qnt::exact, qnt::int8_activations})
                test::on_every_isa([&](qnt::isa::id) {
                    INFO(format << " " << qnt::name_of(mode));
                    test::check_threads_and_batches(packed, x, m, mode);
                });
        }
}

TEST_CASE("outlier columns: epilogues come after the sum; x and y of 16 bits, rows apart, the residual y itself") {
    constexpr std::size_t n = 37, k = 96, m = 5, stride = 50;
    const std::vector<std::uint32_t> outliers{0, 40, 41, 95};
    const auto w = random_floats(n * k, 7), x = random_floats(m * k, 8, 3), bias = random_floats(n, 9);
    const matrix_view<const float> wv{w.data(), n, k}, xv{x.data(), m, k};
    const auto packed = qnt::quantize<qnt::int8_channel>(wv, {.outliers = outliers}).value();
    const auto any = quantized(w, n, "int8_channel", outliers);
    const auto plain = product(any, x, m, {});
    test::on_every_isa([&](qnt::isa::id) {
        std::vector<float> y = random_floats(m * stride, 10);
        const std::vector<float> before = y;
        const matrix_view<float> yv{y.data(), m, n, stride};
        qnt::gemm(yv, xv, packed, {.epilogue = qnt::bias{bias} | qnt::residual{yv}});
        for (std::size_t i = 0; i < m * stride; ++i)
            REQUIRE(y[i] == (i % stride < n ? (plain[i / stride * n + i % stride] + bias[i % stride]) + before[i] : before[i]));
        std::vector<float> gelu(m * n), expected = plain;
        qnt::gemm(matrix_view<float>{gelu.data(), m, n}, xv, packed, {.epilogue = qnt::gelu_tanh});
        for (std::size_t i = 0; i < m * n; ++i) {
            const double v = plain[i];
            CHECK(gelu[i] == Approx(0.5 * v * (1 + std::tanh(std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v)))).epsilon(1e-5).margin(1e-5));
        }
        const auto narrow = [&]<class T>(T) {
            std::vector<T> xs, ys(m * n);
            std::vector<float> widened;
            for (const float v : x) widened.push_back(float(xs.emplace_back(v)));
            const auto wide = product(any, widened, m, {});
            qnt::gemm(matrix_view<T>{ys.data(), m, n}, matrix_view<const T>{xs.data(), m, k}, packed);
            for (std::size_t i = 0; i < m * n; ++i) REQUIRE(ys[i] == T(wide[i]));
        };
        narrow(qnt::f16());
        narrow(qnt::bf16());
        std::vector<float> one(n);
        qnt::gemv(one, std::span(x).first(k), packed);
        CHECK(test::same_bits(one, std::span(plain).first(n)));
    });
}

TEST_CASE("outlier columns: a number that is not finite spoils its row alone, and an outlier's input does not enter the scale of x") {
    constexpr std::size_t n = 20, k = 256, m = 3;
    const std::vector<std::uint32_t> outliers{7, 200};
    const auto w = random_floats(n * k, 15);
    const auto packed = quantized(w, n, "int8_channel", outliers);
    auto x = random_floats(m * k, 16);
    const auto clean = product(packed, x, m, {});
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()})
        for (const std::size_t column : {std::size_t{200}, std::size_t{201}}) {
            auto spoiled = x;
            spoiled[k + column] = bad;
            test::on_every_isa([&](qnt::isa::id) {
                const auto y = product(packed, spoiled, m, {});
                for (std::size_t r = 0; r < n; ++r) {
                    CHECK_FALSE(std::isfinite(y[n + r]));
                    CHECK(y[r] == clean[r]);
                    CHECK(y[2 * n + r] == clean[2 * n + r]);
                }
            });
        }
    for (std::size_t i = 0; i < m; ++i) x[i * k + 200] = 0;
    const auto without = product(packed, x, m, {});
    for (std::size_t i = 0; i < m; ++i) x[i * k + 200] = 1024;  // f16 weights times a power of two, far above all other terms
    const auto with = product(packed, x, m, {});
    const qnt::outlier_view kept = packed.outliers();
    for (std::size_t i = 0; i < m * n; ++i) {
        const std::size_t r = i % n;
        CHECK(with[i] == Approx(without[i] + 1024 * float(qnt::f16(w[r * k + 200]))).epsilon(1e-6).margin(1e-4));
    }
    CHECK(kept.count() == 2);
}

TEST_CASE("outlier columns: no byte outside of the operands is touched") {
    std::mt19937 random(18);
    const auto pick = [&](std::size_t most) { return std::size_t(random()) % most + 1; };
    for (int round = 0; round < 20; ++round)
        for (const char* format : {"int8_channel", "int4:32"}) {
            const std::size_t n = pick(40), k = pick(200), m = pick(9);
            const bool at_start = round % 2 != 0;
            const auto w = random_floats(n * k, unsigned(round)), xs = random_floats(m * k, 19);
            const auto outliers = choices(k)[2];
            const auto packed = quantized(w, n, format, outliers);
            const std::size_t count = qnt::round_up(n, std::size_t{16}) * outliers.size();
            test::guarded<qnt::f16> values(count, at_start);
            test::guarded<std::uint32_t> columns(outliers.size(), at_start);
            test::guarded<float> x(m * k, at_start), y(m * n, at_start);
            std::copy_n(packed.outliers().values, count, values.data());
            std::ranges::copy(outliers, columns.data());
            std::ranges::copy(xs, x.data());
            qnt::any_view<qnt::layout::panels> view = packed.view();
            view.outliers = {columns.span(), values.data()};
            const auto expected = product(packed, xs, m, {});
            test::on_every_isa([&](qnt::isa::id) {
                qnt::gemm(matrix_view<float>{y.data(), m, n}, matrix_view<const float>{x.data(), m, k}, view);
                REQUIRE(test::same_bits(y.span(), expected));
            });
        }
}

TEST_CASE("outlier columns: ready activations are refused, for they have no f16 of these columns") {
    const auto w = random_floats(16 * 32, 20), x = random_floats(32, 21);
    const std::vector<std::uint32_t> outliers{3};
    const auto packed = quantized(w, 16, "int8_channel", outliers);
    const auto plain = quantized(w, 16, "int8_channel", {});
    const matrix_view<const float> xv{x.data(), 1, 32};
    std::vector<float> y(16);
    const auto ready = qnt::quantize_activations(xv, plain.view());
    CHECK_THROWS_WITH(qnt::gemm(matrix_view<float>{y.data(), 1, 16}, ready, packed.view()), Catch::Matchers::Contains("w has outlier columns"));
    CHECK_THROWS_WITH(qnt::quantize_activations(xv, packed.view()), Catch::Matchers::Contains("multiply x itself"));
}
