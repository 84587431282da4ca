#include <qnt/kernels/table.hpp>

#include "nn/reference.hpp"

#define QNT_ISA_FILE "kernels/math_spans.inl"
#include <qnt/isa/foreach.hpp>

namespace qnt::kernels {
constexpr decltype(&isa::scalar::exp_span) exp_span[isa::count] = QNT_EVERY_ISA(exp_span);
constexpr decltype(&isa::scalar::tree_sum_of) tree_sum_of[isa::count] = QNT_EVERY_ISA(tree_sum_of);
}  // namespace qnt::kernels

namespace {

std::vector<float> exp(const std::vector<float>& x) {
    std::vector<float> y(x.size());
    qnt::kernels::exp_span[std::size_t(qnt::isa::active())](y.data(), x.data(), x.size());
    return y;
}

// Every 1009th float, by its bits, that is neither NaN nor infinite.
const std::vector<float>& many_floats() {
    static const std::vector<float> floats = [] {
        std::vector<float> v;
        for (std::uint64_t bits = 0; bits < std::uint64_t{1} << 32; bits += 1009)
            if (const float x = std::bit_cast<float>(std::uint32_t(bits)); qnt::is_finite(x)) v.push_back(x);
        v.resize(v.size() / 16 * 16);
        return v;
    }();
    return floats;
}

}  // namespace

TEST_CASE("exp is within its bound over all magnitudes") {
    const std::vector<float>& x = many_floats();
    const std::vector<float> y = exp(x);
    double worst = 0, worst_subnormal = 0;
    std::size_t wrong_infinities = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        const double expected = std::exp(double(x[i]));
        const bool overflows = expected >= 0x1.ffffffp127;  // from the midpoint above the largest float on
        if (overflows || !qnt::is_finite(y[i])) wrong_infinities += !(overflows && y[i] > 0 && !qnt::is_finite(y[i]));
        else {
            double& worst_here = expected < 0x1p-126 ? worst_subnormal : worst;
            worst_here = std::max(worst_here, reference::ulps(y[i], expected));
        }
    }
    CHECK(wrong_infinities == 0);
    CHECK(worst <= 1.03);
    CHECK(worst_subnormal <= 0.76);
}

TEST_CASE("exp has the same bits everywhere") {
    const std::vector<float>& x = many_floats();
    std::vector<float> expected(x.size());
    std::transform(x.begin(), x.end(), expected.begin(), reference::exp);
    test::on_every_isa([&](auto) { CHECK(test::same_bits(exp(x), expected)); });
}

TEST_CASE("exp of special numbers") {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    std::vector<float> x(16, 0.0f);
    const float special[] = {-0.0f, -infinity, -104.0f, -103.98f, infinity, 89.0f, 1e30f, -1e30f, qnt::quiet_nan(), -qnt::quiet_nan()};
    std::copy(std::begin(special), std::end(special), x.begin());
    test::on_every_isa([&](auto) {
        const std::vector<float> y = exp(x);
        const float expected[] = {1.0f, 0.0f, 0.0f, 0.0f, infinity, infinity, infinity, 0.0f};
        CHECK(test::same_bits(std::span(y).first(8), expected));
        CHECK((std::bit_cast<std::uint32_t>(y[8]) & 0x7fffffffu) > 0x7f800000u);
        CHECK((std::bit_cast<std::uint32_t>(y[9]) & 0x7fffffffu) > 0x7f800000u);
        CHECK(y[10] == 1.0f);
    });
}

TEST_CASE("the tree of 16 partial sums") {
    const std::vector<float> x = test::random_floats(16, 1);
    const float expected = reference::tree_sum(16, [&](float, std::size_t i) { return x[i]; });
    test::on_every_isa([&](qnt::isa::id id) { CHECK(qnt::kernels::tree_sum_of[std::size_t(id)](x.data()) == expected); });
}
