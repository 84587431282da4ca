#include <qnt/code/int8.hpp>

#include <cfloat>
#include <cmath>
#include <random>
#include <set>

#include "catch.hpp"

using qnt::int8_code;

namespace {

// The level by the text of the header: nearest integer, ties to even, saturated.
int nearest(double x) { return int(std::fmin(127, std::fmax(-127, std::nearbyint(x)))); }
int level(float x) { return int(std::int8_t(int8_code::encode(x))); }

}  // namespace

TEST_CASE("int8 decodes two's complement") {
    for (int q = -128; q <= 127; ++q) CHECK(int8_code::decode(std::uint8_t(q & 255)) == float(q));
}

TEST_CASE("int8 encodes to the nearest integer, ties to even") {
    for (int halves = -256; halves <= 256; ++halves)
        for (const float x : {float(halves) / 2, std::nextafter(float(halves) / 2, 1e9f), std::nextafter(float(halves) / 2, -1e9f)}) {
            CAPTURE(x);
            REQUIRE(level(x) == nearest(double(x)));
        }
    std::mt19937 random(1);
    for (int i = 0; i < 300'000; ++i) {
        const float x = float(double(std::int32_t(random())) * std::ldexp(1.0, -23 - int(random() % 12)));
        CAPTURE(x);
        REQUIRE(level(x) == nearest(double(x)));
    }
    CHECK(level(0.5f) == 0);
    CHECK(level(1.5f) == 2);
    CHECK(level(-2.5f) == -2);
    CHECK(level(-0.0f) == 0);
}

TEST_CASE("int8 saturates and never makes -128") {
    for (const float x : {127.0f, 127.4f, 127.5f, 128.0f, 1e6f, 0x1p22f, 0x1p24f, 1e30f, FLT_MAX}) {
        CAPTURE(x);
        CHECK(level(x) == 127);
        CHECK(level(-x) == -127);
    }
    std::set<std::uint8_t> made;
    for (float x = -300; x < 300; x += 0.125f) made.insert(int8_code::encode(x));
    CHECK(made.size() == 255);
    CHECK(made.count(0x80) == 0);
}

TEST_CASE("int8 codes survive decoding, and errors keep to max_error") {
    for (int q = -127; q <= 127; ++q) CHECK(level(int8_code::decode(std::uint8_t(q & 255))) == q);
    double worst = 0;
    for (double x = -127; x <= 127; x += 1.0 / 64) worst = std::fmax(worst, std::fabs(x - double(int8_code::decode(int8_code::encode(float(x))))));
    CHECK(worst == double(int8_code::max_error));  // 0.5, and ties reach it
}

TEST_CASE("int8's derived facts") {
    STATIC_REQUIRE(qnt::quantized_code<int8_code>);
    STATIC_REQUIRE_FALSE(qnt::dense<int8_code>);
    STATIC_REQUIRE(qnt::panel_kind_of<int8_code> == qnt::panel_kind::byte);
    STATIC_REQUIRE(qnt::operand_family_of<int8_code> == qnt::operand_family::byte_value);
    STATIC_REQUIRE(qnt::operand_unit<int8_code> == 1.0f);
    STATIC_REQUIRE(qnt::has_exact_operands<int8_code>);
    STATIC_REQUIRE_FALSE(qnt::is_affine<int8_code>);  // 0x80 comes behind 0x7f but stands for less
    STATIC_REQUIRE(qnt::affine_offset<int8_code> == 0);
    STATIC_REQUIRE(qnt::zero_code<int8_code> == 0);
    for (int q = -127; q <= 127; ++q) CHECK(int(qnt::operand_table<int8_code>[std::size_t(q & 255)]) == q);
    CHECK(int(qnt::operand_table<int8_code>[0x80]) == -127);  // clamped: the integer dot products rely on it
}
