// A number format of one's own: this struct, and no file of the library touched.
#include <qnt/matmul.hpp>
#include <qnt/quantize.hpp>

#include "support.hpp"

namespace {

struct ternary_code {
    static constexpr const char* name = "ternary";
    static constexpr int bits = 2;
    static constexpr float absmax = 1;
    static constexpr std::uint8_t encode(float x) { return x < -0.5f ? 0 : x > 0.5f ? 2 : 1; }
    static constexpr float decode(std::uint8_t q) { return float(q) - 1.0f; }
};
using ternary = qnt::format<ternary_code, qnt::per_group<64, qnt::f16>>;

}  // namespace

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
