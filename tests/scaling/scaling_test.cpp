#include <qnt/format.hpp>

#include <cmath>
#include <random>
#include <span>
#include <string>

#include "npy.hpp"

namespace {

using qnt::dynamic_u8;
using qnt::granularity;
using qnt::offset_kind;
using qnt::scalar_type;

template <class S> bool says(granularity kind, std::size_t group, scalar_type scale, offset_kind offset, bool nested) {
    return S::kind == kind && S::group == group && S::scale == scale && S::offset == offset && S::is_nested == nested;
}

// The nearest value in double; where x is the f32 midpoint itself the lower one.
int nearest(float x) {
    int best = 0;
    for (int q = 1; q < 256; ++q) {
        const auto i = std::size_t(q);
        if (x == (dynamic_u8::values[i - 1] + dynamic_u8::values[i]) / 2) return q - 1;
        if (std::fabs(double(x) - double(dynamic_u8::values[i])) < std::fabs(double(x) - double(dynamic_u8::values[std::size_t(best)]))) best = q;
    }
    return best;
}

}  // namespace

TEST_CASE("scalings state what they are") {
    STATIC_REQUIRE(qnt::scaling<qnt::per_tensor<float>>);
    STATIC_REQUIRE(qnt::scaling<qnt::per_channel<qnt::f16>>);
    STATIC_REQUIRE(qnt::scaling<qnt::unscaled>);
    STATIC_REQUIRE_FALSE(qnt::scaling<int>);

    CHECK(says<qnt::unscaled>(granularity::none, 0, scalar_type::none, offset_kind::none, false));
    CHECK(says<qnt::per_tensor<qnt::bf16>>(granularity::tensor, 0, scalar_type::bf16, offset_kind::none, false));
    CHECK(says<qnt::per_channel<float>>(granularity::channel, 0, scalar_type::f32, offset_kind::none, false));
    CHECK(says<qnt::per_group<48, qnt::f16>>(granularity::group, 48, scalar_type::f16, offset_kind::none, false));
    CHECK(
        says<qnt::per_group<64, qnt::bf16, offset_kind::integer_zero>>(granularity::group, 64, scalar_type::bf16, offset_kind::integer_zero, false));
    CHECK(says<qnt::per_group<64, qnt::nested<dynamic_u8, 256>>>(granularity::group, 64, scalar_type::f32, offset_kind::none, true));
    CHECK(says<qnt::per_group<qnt::dynamic_group, float>>(granularity::group, qnt::dynamic_group, scalar_type::f32, offset_kind::none, false));
}

TEST_CASE("formats are products of a code and a scaling") {
    STATIC_REQUIRE(qnt::format_type<qnt::nf4<64>>);
    STATIC_REQUIRE(qnt::format_type<qnt::q8_0>);
    STATIC_REQUIRE_FALSE(qnt::format_type<qnt::nf4_code>);
    STATIC_REQUIRE(std::is_same_v<qnt::q8_0, qnt::format<qnt::int8_code, qnt::per_group<32, qnt::f16>>>);
    STATIC_REQUIRE(qnt::is_static_group<qnt::int4<32>>);
    STATIC_REQUIRE_FALSE(qnt::is_static_group<qnt::int4<qnt::dynamic_group>>);

    constexpr qnt::format_info nf4 = qnt::info_of<qnt::nf4_dq<64>>;
    CHECK(std::string(nf4.code_name) == "nf4");
    CHECK(nf4.bits == 4);
    CHECK(nf4.is_nested);
    CHECK(nf4.is_grouped());
    CHECK_FALSE(nf4.exact_operands);
    CHECK(nf4.tables == &qnt::tables_of<qnt::nf4_code>);
    CHECK(qnt::info_of<qnt::uint4<32>>.has_zero());
    CHECK_FALSE(qnt::info_of<qnt::int4<32>>.has_zero());
    CHECK(qnt::info_of<qnt::dense_format<qnt::f16>>.is_dense());
    CHECK_FALSE(qnt::info_of<qnt::int8>.is_dense());

    // equal but for the group size, which is a shape's: and different in every other respect
    CHECK(qnt::info_of<qnt::nf4<64>> == qnt::info_of<qnt::nf4<128>>);
    const qnt::format_info all[] = {qnt::info_of<qnt::nf4<64>>,  qnt::info_of<qnt::nf4<64, qnt::f16>>, qnt::info_of<qnt::nf4_dq<64>>,
                                    qnt::info_of<qnt::int4<64>>, qnt::info_of<qnt::uint4<64>>,         qnt::info_of<qnt::int8_group<64>>,
                                    qnt::info_of<qnt::int8>,     qnt::info_of<qnt::int8_channel>,      qnt::info_of<qnt::dense_format<float>>};
    for (const auto& a : all)
        for (const auto& b : all) CHECK((a == b) == (&a == &b));
}

// torch.linspace works in f32, so entries may lie a unit or two beside the exact ones; the goldens below say which.
TEST_CASE("the dynamic map has 7 decades of 1, 2, 4, .. 64 steps") {
    std::vector<double> magnitudes;
    for (int decade = 0; decade < 7; ++decade) {
        const int steps = 1 << decade;
        for (int j = 0; j < steps; ++j) magnitudes.push_back((0.1 + 0.9 * (j + 0.5) / steps) * std::pow(10.0, decade - 6));
    }
    REQUIRE(magnitudes.size() == 127);
    for (std::size_t j = 0; j < 127; ++j) {
        CAPTURE(j);
        CHECK(double(dynamic_u8::values[128 + j]) == Approx(magnitudes[j]).epsilon(3e-7));
        CHECK(dynamic_u8::values[126 - j] == -dynamic_u8::values[128 + j]);
    }
    CHECK(dynamic_u8::values[127] == 0.0f);
    CHECK(dynamic_u8::values[255] == 1.0f);
    for (std::size_t j = 1; j < 256; ++j) CHECK(dynamic_u8::values[j - 1] < dynamic_u8::values[j]);

    // All bits, where the goldens are not at hand: FNV-1a of bitsandbytes' table.
    std::uint64_t hash = 14695981039346656037u;
    for (const std::byte b : std::as_bytes(std::span(dynamic_u8::values))) hash = (hash ^ std::uint64_t(b)) * 1099511628211u;
    CHECK(hash == 0xd677f22a96665bc4u);
}

TEST_CASE("the dynamic map is the one of bitsandbytes") {
    const auto golden = test::load_shared<float>("data/goldens/real/dynamic_map_256.npy");
    if (!golden) return;
    REQUIRE(golden->size() == 256);
    for (std::size_t j = 0; j < 256; ++j) {
        CAPTURE(j);
        CHECK(dynamic_u8::values[j] == (*golden)[j]);
    }
}

TEST_CASE("dynamic_u8 encodes to the nearest value, ties to the lower code") {
    for (int q = 0; q < 255; ++q) {
        const float middle = (dynamic_u8::values[std::size_t(q)] + dynamic_u8::values[std::size_t(q) + 1]) / 2;
        CAPTURE(q, middle);
        CHECK(int(dynamic_u8::encode(middle)) == q);
        CHECK(int(dynamic_u8::encode(std::nextafter(middle, 2.0f))) == q + 1);
    }
    for (int q = 0; q < 256; ++q) CHECK(int(dynamic_u8::encode(dynamic_u8::values[std::size_t(q)])) == q);
    std::mt19937 random(1);
    for (int i = 0; i < 20'000; ++i) {
        const float x = float(std::ldexp(double(std::int32_t(random())), -30 - int(random() % 22)));
        CAPTURE(x);
        REQUIRE(int(dynamic_u8::encode(x)) == nearest(x));
    }
    CHECK(dynamic_u8::encode(0.0f) == 127);
    CHECK(dynamic_u8::encode(-0.0f) == 127);
    CHECK(dynamic_u8::encode(1e30f) == 255);
    CHECK(dynamic_u8::encode(-1e30f) == 0);
}
