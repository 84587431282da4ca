#include "plain_matmul.hpp"

namespace {

using qnt::compute_mode;
using qnt::matrix_view;
using test::formats;
using test::modes_of;
using test::parse;
using test::product;
using test::random_floats;

struct shape {
    std::size_t n, k, m;
};
// +-1 around the panel (16), the line (4, 8), the segment (128), the decoded stretch (256), the tile (8), and more than one of each
constexpr shape shapes[] = {{1, 1, 1},    {15, 16, 1},  {16, 15, 2},   {17, 17, 3},  {16, 127, 1},   {33, 128, 4},  {5, 129, 7},
                            {48, 255, 8}, {31, 257, 9}, {64, 512, 17}, {3, 1000, 5}, {100, 300, 16}, {20, 1000, 13}};

}  // namespace

TEST_CASE("every format, mode and shape equals the normative order bit for bit on every instruction set") {
    for (const char* format : formats)
        for (const shape& s : shapes) {
            const auto weights = random_floats(s.n * s.k, unsigned(s.n + s.k)), x = random_floats(s.m * s.k, 3);
            const auto w = qnt::quantize(matrix_view<const float>{weights.data(), s.n, s.k}, parse(format)).value();
            const test::plain_weights plain(w.view());
            for (const compute_mode mode : modes_of(w.view())) {
                const auto expected = plain.product(x, s.m, mode);
                INFO(format << " [" << s.n << ", " << s.k << "] M=" << s.m << " " << qnt::name_of(mode));
                test::on_every_isa([&](qnt::isa::id) { REQUIRE(test::same_bits(product(w, x, s.m, {.mode = mode}), expected)); });
            }
        }
}

TEST_CASE("products agree with double arithmetic on the decoded weights") {
    constexpr std::size_t n = 70, k = 700, m = 3;
    const auto weights = random_floats(n * k, 1), x = random_floats(m * k, 2);
    for (const char* format : formats) {
        const auto w = qnt::quantize(matrix_view<const float>{weights.data(), n, k}, parse(format)).value();
        std::vector<float> decoded(n * k);
        qnt::dequantize(matrix_view<float>{decoded.data(), n, k}, w.view());
        for (const compute_mode mode : modes_of(w.view())) {
            INFO(format << " " << qnt::name_of(mode));
            CHECK(test::relative_error(product(w, x, m, {.mode = mode}), x, decoded, n, k) < (mode == qnt::exact ? 1e-6 : 0.012));
        }
    }
}

TEST_CASE("the same bits for any number of threads and any batch") {
    constexpr std::size_t n = 200, k = 333, m = 64;
    const auto weights = random_floats(n * k, 4), x = random_floats(m * k, 5);
    for (const char* format : formats) {
        const auto w = qnt::quantize(matrix_view<const float>{weights.data(), n, k}, parse(format)).value();
        for (const compute_mode mode : modes_of(w.view()))
            test::on_every_isa([&](qnt::isa::id) {
                INFO(format << " " << qnt::name_of(mode));
                test::check_threads_and_batches(w, x, m, mode);
            });
    }
}

TEST_CASE("full-range codes are exact: nothing saturates") {
    constexpr std::size_t n = 32, k = 512;
    const auto random = random_floats(n * k + k, 6);
    std::vector<float> weights(n * k), x(k);
    for (std::size_t i = 0; i < n * k; ++i) weights[i] = i < 4 * k ? 127.0f : random[i] > 0 ? 127.0f : -127.0f;  // whole rows of +127, then corners
    for (std::size_t i = 0; i < k; ++i) x[i] = random[n * k + i] > 0 ? 127.0f : -127.0f;
    for (const bool all_positive : {false, true}) {
        if (all_positive) std::fill(x.begin(), x.end(), 127.0f);
        for (const char* format : {"int8_channel", "int8", "int8:128:f32", "int8:32:f32", "int4:128:f32", "uint4:128:f32", "nf4:128"}) {
            const auto w = qnt::quantize(matrix_view<const float>{weights.data(), n, k}, parse(format)).value();
            std::vector<float> decoded(n * k);
            qnt::dequantize(matrix_view<float>{decoded.data(), n, k}, w.view());
            INFO(format);
            test::on_every_isa([&](qnt::isa::id) {
                const auto y = product(w, x, 1, {.mode = qnt::int8_activations});
                for (std::size_t r = 0; r < n; ++r) {
                    double sum = 0;
                    for (std::size_t c = 0; c < k; ++c) sum += double(decoded[r * k + c]) * double(x[c]);
                    CHECK(y[r] == Approx(sum).epsilon(1e-6).margin(1));
                }
            });
        }
    }
}

TEST_CASE("epilogues are bias, then activation, then residual, in any order of writing") {
    constexpr std::size_t n = 37, k = 96, m = 5;
    const auto weights = random_floats(n * k, 7), x = random_floats(m * k, 8), bias = random_floats(n, 9), residual = random_floats(m * n, 10);
    const auto w = qnt::quantize<qnt::int4<32>>(matrix_view<const float>{weights.data(), n, k}).value();
    const matrix_view<const float> xs{x.data(), m, k}, rs{residual.data(), m, n};
    std::vector<float> plain(m * n), y(m * n);
    qnt::gemm(matrix_view<float>{plain.data(), m, n}, xs, w);
    const auto gelu = [](double v) { return 0.5 * v * (1 + std::tanh(std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v))); };
    std::vector<float> first;
    test::on_every_isa([&](qnt::isa::id) {
        for (const qnt::epilogue_list& e :
             {qnt::bias{bias} | qnt::gelu_tanh | qnt::residual{rs}, qnt::epilogue_list(qnt::residual{rs}) | qnt::gelu_tanh | qnt::bias{bias}}) {
            qnt::gemm(matrix_view<float>{y.data(), m, n}, xs, w, {.epilogue = e});
            for (std::size_t i = 0; i < m * n; ++i)
                CHECK(y[i] == Approx(gelu(double(plain[i] + bias[i % n])) + double(residual[i])).epsilon(1e-5).margin(1e-5));
            if (first.empty()) first = y;
            REQUIRE(test::same_bits(first, y));
        }
        std::vector<float> in_place = residual;  // the residual may be y itself
        const matrix_view<float> ys{in_place.data(), m, n};
        qnt::gemm(ys, xs, w, {.epilogue = qnt::residual{ys}});
        for (std::size_t i = 0; i < m * n; ++i) REQUIRE(in_place[i] == plain[i] + residual[i]);
    });
}

TEST_CASE("f16 and bf16 inputs and outputs are widened and rounded exactly") {
    constexpr std::size_t n = 19, k = 70, m = 3;
    const auto weights = random_floats(n * k, 11), x = random_floats(m * k, 12);
    const auto w = qnt::quantize<qnt::nf4<64>>(matrix_view<const float>{weights.data(), n, k}).value();
    for (const auto mode : {qnt::exact, qnt::int8_activations}) {
        std::vector<qnt::f16> xh, yh(m * n);
        std::vector<float> widened, y(m * n);
        for (const float v : x) {
            xh.push_back(qnt::f16(v));
            widened.push_back(float(xh.back()));
        }
        qnt::gemm(matrix_view<float>{y.data(), m, n}, matrix_view<const float>{widened.data(), m, k}, w, {.mode = mode});
        qnt::gemm(matrix_view<qnt::f16>{yh.data(), m, n}, matrix_view<const qnt::f16>{xh.data(), m, k}, w, {.mode = mode});
        for (std::size_t i = 0; i < m * n; ++i) REQUIRE(yh[i] == qnt::f16(y[i]));
        std::vector<qnt::bf16> xb(k, qnt::bf16(1.5f)), yb(n);
        std::vector<float> ones(k, 1.5f), yf(n);
        qnt::gemv(yb, xb, w, {.mode = mode});
        qnt::gemv(yf, ones, w, {.mode = mode});
        for (std::size_t i = 0; i < n; ++i) REQUIRE(yb[i] == qnt::bf16(yf[i]));
    }
}

TEST_CASE("ready activations give the bits of float rows, and only for matrices of their grouping") {
    constexpr std::size_t n = 40, k = 300, m = 6;
    const auto weights = random_floats(n * k, 13), x = random_floats(m * k, 14);
    const matrix_view<const float> wv{weights.data(), n, k}, xv{x.data(), m, k};
    const auto q = qnt::quantize<qnt::int4<64>>(wv).value();
    const auto v = qnt::quantize<qnt::uint4<64>>(wv).value();
    const auto other = qnt::quantize<qnt::int4<32>>(wv).value();
    const auto channel = qnt::quantize<qnt::int8_channel>(wv).value();
    const auto ready = qnt::quantize_activations(xv, q);
    std::vector<float> a(m * n), b(m * n);
    const matrix_view<float> av{a.data(), m, n}, bv{b.data(), m, n};
    qnt::gemm(av, ready, q);
    qnt::gemm(bv, xv, q);
    CHECK(test::same_bits(a, b));
    qnt::gemm(av, ready, v);
    qnt::gemm(bv, xv, v);
    CHECK(test::same_bits(a, b));
    CHECK_THROWS_AS(qnt::gemm(av, ready, other), qnt::contract_error);
    CHECK_THROWS_AS(qnt::gemm(av, ready, channel), qnt::contract_error);
    CHECK_THROWS_AS(qnt::gemm(av, ready, q, {.mode = qnt::exact}), qnt::contract_error);
}

TEST_CASE("a row with a NaN or an infinity gives NaN and spoils no other row") {
    constexpr std::size_t n = 20, k = 256, m = 3;
    const auto weights = random_floats(n * k, 15);
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()})
        for (const char* format : {"int8_channel", "int4:32"}) {
            auto x = random_floats(m * k, 16);
            const auto w = qnt::quantize(matrix_view<const float>{weights.data(), n, k}, parse(format)).value();
            const auto clean = product(w, x, m, {});
            x[k + 200] = bad;
            test::on_every_isa([&](qnt::isa::id) {
                const auto y = product(w, x, m, {});
                for (std::size_t r = 0; r < n; ++r) {
                    CHECK(std::isnan(y[n + r]));
                    CHECK(y[r] == clean[r]);
                    CHECK(y[2 * n + r] == clean[2 * n + r]);
                }
            });
        }
}

TEST_CASE("zeros, denormals and huge inputs") {
    constexpr std::size_t n = 16, k = 160;
    const auto weights = random_floats(n * k, 17);
    for (const char* format : {"int8_channel", "int4:32"}) {
        const auto w = qnt::quantize(matrix_view<const float>{weights.data(), n, k}, parse(format)).value();
        test::on_every_isa([&](qnt::isa::id) {
            for (const float size : {0.0f, 1e-40f, 1e-30f}) {
                const auto y = product(w, std::vector<float>(k, size), 1, {});
                CHECK(std::all_of(y.begin(), y.end(), [](float v) { return v == 0; }));
            }
            for (const float size : {1e-20f, 1e30f}) {
                const auto y = product(w, std::vector<float>(k, size), 1, {}), one = product(w, std::vector<float>(k, 1.0f), 1, {});
                for (std::size_t r = 0; r < n; ++r) CHECK(double(y[r]) == Approx(double(one[r]) * double(size)).epsilon(1e-5));
            }
        });
    }
}

TEST_CASE("no byte outside of the operands is touched") {
    std::mt19937 random(18);
    const auto pick = [&](std::size_t most) { return std::size_t(random()) % most + 1; };
    std::size_t cases = 0;
    for (int round = 0; round < 40; ++round)
        for (const char* format : formats) {
            const std::size_t n = pick(40), k = pick(200), m = pick(9);
            const bool at_start = round % 2 != 0;
            const auto weights = random_floats(n * k, unsigned(round)), xs = random_floats(m * k, 19);
            const auto w = qnt::quantize(matrix_view<const float>{weights.data(), n, k}, parse(format)).value();
            test::guarded<std::byte> bytes(w.bytes().size(), at_start);
            test::guarded<float> x(m * k, at_start), y(m * n, at_start), bias(n, at_start), residual(m * n, at_start);
            std::memcpy(bytes.data(), w.bytes().data(), w.bytes().size());
            std::copy(xs.begin(), xs.end(), x.data());
            std::fill_n(bias.data(), n, 1.0f);
            std::fill_n(residual.data(), m * n, 1.0f);
            const qnt::any_view<qnt::layout::panels> view{w.format().info, w.shape(), bytes.data()};
            for (const compute_mode mode : modes_of(w.view()))
                test::on_every_isa([&](qnt::isa::id) {
                    qnt::gemm(matrix_view<float>{y.data(), m, n}, matrix_view<const float>{x.data(), m, k}, view,
                              {.mode = mode,
                               .epilogue = qnt::bias{bias.span()} | qnt::gelu_tanh | qnt::residual{matrix_view<const float>{residual.data(), m, n}}});
                    ++cases;
                });
        }
    CHECK(cases >= 1000);
}

TEST_CASE("shapes that do not fit throw, name both shapes, and leave y alone") {
    const auto weights = random_floats(6 * 32, 20);
    const auto w = qnt::quantize<qnt::int8_channel>(matrix_view<const float>{weights.data(), 6, 32}).value();
    std::vector<float> y(6, 7.0f), x(32), wrong(31), bias(5);
    const auto message = [&](auto&& call) -> std::string {
        try {
            call();
        } catch (const qnt::contract_error& e) {
            return e.what();
        }
        return "";
    };
    CHECK(message([&] { qnt::gemv(y, wrong, w); }) == "qnt::gemv: x must have as many columns as w: y[1, 6] = x[1, 31] * w[6, 32]^T");
    CHECK(message([&] { qnt::gemv(wrong, x, w); }) == "qnt::gemv: y must have as many columns as w has rows: y[1, 31] = x[1, 32] * w[6, 32]^T");
    CHECK(message([&] { qnt::gemv(y, x, w, {.epilogue = qnt::bias{bias}}); }).find("bias has 5 values") != std::string::npos);
    CHECK(message([&] { qnt::gemm(matrix_view<float>{y.data(), 2, 3}, matrix_view<const float>{x.data(), 1, 32}, w); }) != "");
    CHECK(message([&] {
              const auto dense = qnt::quantize<qnt::dense_format<float>>(matrix_view<const float>{weights.data(), 6, 32}).value();
              qnt::gemv(y, x, dense, {.mode = qnt::int8_activations});
          }).find("no int8_activations mode") != std::string::npos);
    CHECK(std::all_of(y.begin(), y.end(), [](float v) { return v == 7.0f; }));
}

TEST_CASE("a matrix may be used by many threads at once") {
    constexpr std::size_t n = 64, k = 128;
    const auto weights = random_floats(n * k, 21), x = random_floats(k, 22);
    const auto w = qnt::quantize<qnt::int4<32>>(matrix_view<const float>{weights.data(), n, k}).value();
    std::vector<float> expected(n);
    qnt::gemv(expected, x, w);
    std::vector<std::vector<float>> results(8, std::vector<float>(n));
    std::vector<std::thread> threads;
    for (auto& y : results)
        threads.emplace_back([&] {
            for (int i = 0; i < 50; ++i) qnt::gemv(y, x, w);
        });
    for (std::thread& t : threads) t.join();
    for (const auto& y : results) CHECK(test::same_bits(y, expected));
}
