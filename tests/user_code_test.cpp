// A number format of one's own: this struct, and no file of the library touched.
#include <qnt/matmul.hpp>
#include <qnt/quantize.hpp>

#include "plain_matmul.hpp"

namespace {

struct ternary_code {
    static constexpr const char* name = "ternary";
    static constexpr int bits = 2;
    static constexpr float absmax = 1;
    static constexpr std::uint8_t encode(float x) { return x < -0.5f ? 0 : x > 0.5f ? 2 : 1; }
    static constexpr float decode(std::uint8_t q) { return float(q) - 1.0f; }
};
using ternary = qnt::format<ternary_code, qnt::per_group<64, qnt::f16>>;

// No zero: the values lie halfway between integers.
struct half_steps_code {
    static constexpr const char* name = "half_steps";
    static constexpr int bits = 4;
    static constexpr float absmax = 7.5f;
    static constexpr std::uint8_t encode(float x) {
        const float q = qnt::round_even(x + 7.5f);
        return std::uint8_t(q < 0 ? 0 : q > 15 ? 15 : q);
    }
    static constexpr float decode(std::uint8_t q) { return float(q) - 7.5f; }
};

// With zero points and without a rule: levels from 0 to the last, of any number of bits.
template <int Bits> struct level_code {
    static constexpr const char* name = "level";
    static constexpr int bits = Bits, last = (1 << Bits) - 1, max_zero = last < 15 ? last : 15;
    static constexpr float absmax = last;
    static constexpr std::uint8_t encode(float x) { return encode_level(x, 0); }
    static constexpr std::uint8_t encode_level(float x, int zero) {
        const int q = int(qnt::round_even(x < -1000.0f ? -1000.0f : x > 1000.0f ? 1000.0f : x)) + zero;
        return std::uint8_t(q < 0 ? 0 : q > last ? last : q);
    }
    static constexpr float decode(std::uint8_t q) { return float(q); }
};
template <int Bits, std::size_t Group> using levels = qnt::format<level_code<Bits>, qnt::per_group<Group, qnt::f16, qnt::offset_kind::integer_zero>>;

}  // namespace

TEST_CASE("a code of the user's own with zero points makes the codes of one that states a rule") {
    const std::size_t n = 20, k = 200;
    auto weights = test::random_floats(n * k, 2);
    for (std::size_t i = 0; i < 64; ++i) weights[i] = 0;         // scale 0
    for (std::size_t i = 64; i < 128; ++i) weights[i] *= 1e-8f;  // a scale that underflows
    const qnt::matrix_view<const float> view{weights.data(), n, k};
    test::on_every_isa([&](qnt::isa::id) {
        qnt::quantization_report report, expected;
        const auto own = qnt::quantize<levels<4, 64>>(view, {.report = &report}).value();
        const auto known = qnt::quantize<qnt::uint4<64>>(view, {.report = &expected}).value();
        CHECK(std::ranges::equal(own.bytes(), known.bytes()));
        CHECK(report.clipped == expected.clipped);
        CHECK(report.sqnr_db == expected.sqnr_db);
        CHECK(report.sqnr_db > 15);
    });
}

TEST_CASE("codes of 2 to 7 bits with zero points multiply alike on every instruction set, for few rows and many") {
    const std::size_t n = 50, k = 300;
    auto weights = test::random_floats(n * k, 3);
    for (float& w : weights) w = w < 0 ? w / 8 : w;  // the zero points of wide codes reach 15 of 127 levels only
    const auto x = test::random_floats(35 * k, 4);
    const auto check = [&]<class F>(const qnt::packed_matrix<F>& packed) {
        const test::plain_weights plain(packed.view());
        REQUIRE(std::ranges::any_of(plain.zeros, [](std::uint8_t z) { return z > 0; }));
        for (const auto mode : {qnt::exact, qnt::int8_activations}) {
            const auto expected = plain.product(x, 35, mode);
            for (const std::size_t m : {std::size_t{1}, std::size_t{3}, std::size_t{16}, std::size_t{35}})
                test::on_every_isa([&](qnt::isa::id) {
                    INFO(F::code::bits << " bits, " << m << " rows, mode " << int(mode));
                    std::vector<float> y(m * n);
                    qnt::gemm(qnt::matrix_view<float>{y.data(), m, n}, qnt::matrix_view<const float>{x.data(), m, k}, packed, {.mode = mode});
                    CHECK(test::same_bits(y, std::span(expected).first(m * n)));
                });
        }
    };
    const qnt::matrix_view<const float> view{weights.data(), n, k};
    check(qnt::quantize<levels<2, 32>>(view).value());
    check(qnt::quantize<levels<4, 64>>(view).value());
    check(qnt::quantize<levels<5, 64>>(view).value());
    check(qnt::quantize<levels<6, 16>>(view).value());
    check(qnt::quantize<levels<7, 256>>(view).value());
}

TEST_CASE("a code of the user's own multiplies in both modes on every instruction set") {
    constexpr std::size_t n = 50, k = 200;
    std::vector<float> weights(n * k), x(k, 1.0f), y(n), expected(n);
    const auto random = test::random_floats(n * k, 1);
    for (std::size_t i = 0; i < n * k; ++i) {
        weights[i] = random[i] < -0.3f ? -1.0f : random[i] > 0.3f ? 1.0f : 0.0f;
        expected[i / k] += weights[i];
    }
    const auto packed = qnt::quantize<ternary>(qnt::matrix_view<const float>{weights.data(), n, k}).value();
    test::on_every_isa([&](qnt::isa::id) {
        for (const auto mode : {qnt::exact, qnt::int8_activations}) {
            qnt::gemv(y, x, packed, {.mode = mode});
            for (std::size_t r = 0; r < n; ++r) CHECK(y[r] == Approx(expected[r]).epsilon(1e-6));
        }
    });
}

TEST_CASE("a code whose values lie halfway between integers multiplies in both modes on every instruction set") {
    using F = qnt::format<half_steps_code, qnt::per_group<64, float>>;
    constexpr std::size_t n = 50, k = 200, m = 35;
    const auto weights = test::random_floats(n * k, 5), x = test::random_floats(m * k, 6);
    const auto packed = qnt::quantize<F>(qnt::matrix_view<const float>{weights.data(), n, k}).value();
    std::vector<float> decoded(n * k);
    qnt::dequantize(qnt::matrix_view<float>{decoded.data(), n, k}, packed);
    test::on_every_isa([&](qnt::isa::id) {
        for (const std::size_t rows : {std::size_t{1}, std::size_t{16}, m})
            for (const auto mode : {qnt::exact, qnt::int8_activations}) {
                std::vector<float> y(rows * n);
                qnt::gemm(qnt::matrix_view<float>{y.data(), rows, n}, qnt::matrix_view<const float>{x.data(), rows, k}, packed, {.mode = mode});
                INFO(rows << " rows, mode " << int(mode));
                CHECK(test::relative_error(y, x, decoded, n, k) <= (mode == qnt::exact ? 1e-6 : 0.01));
            }
    });
}
