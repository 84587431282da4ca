#include <qnt/code/int4.hpp>

#include <cfloat>
#include <cmath>
#include <random>
#include <set>

#include "catch.hpp"

using qnt::int4_code;

namespace {

int nearest(double x) { return int(std::fmin(7, std::fmax(-7, std::nearbyint(x)))); }
int level(float x) { return int(int4_code::encode(x)) - 8; }

}  // namespace

TEST_CASE("int4 decodes offset binary, also the level that it never makes") {
    for (int nibble = 0; nibble < 16; ++nibble) CHECK(int4_code::decode(std::uint8_t(nibble)) == float(nibble - 8));
}

TEST_CASE("int4 encodes to the nearest integer, ties to even") {
    for (int halves = -20; halves <= 20; ++halves)
        for (const float x : {float(halves) / 2, std::nextafter(float(halves) / 2, 1e9f), std::nextafter(float(halves) / 2, -1e9f)}) {
            CAPTURE(x);
            REQUIRE(level(x) == nearest(double(x)));
        }
    std::mt19937 random(1);
    for (int i = 0; i < 200'000; ++i) {
        const float x = float(double(std::int32_t(random())) * std::ldexp(1.0, -27 - int(random() % 10)));
        CAPTURE(x);
        REQUIRE(level(x) == nearest(double(x)));
    }
    CHECK(int4_code::encode(0.5f) == 8);
    CHECK(int4_code::encode(1.5f) == 10);
    CHECK(int4_code::encode(-0.5f) == 8);
    CHECK(int4_code::encode(-0.0f) == 8);
}

TEST_CASE("int4 saturates at 7 and never makes -8") {
    for (const float x : {7.0f, 7.5f, 8.0f, 100.0f, 0x1p24f, 1e30f, FLT_MAX}) {
        CAPTURE(x);
        CHECK(int4_code::encode(x) == 0xf);
        CHECK(int4_code::encode(-x) == 0x1);
    }
    std::set<std::uint8_t> made;
    for (float x = -20; x < 20; x += 0.125f) made.insert(int4_code::encode(x));
    CHECK(made.size() == 15);
    CHECK(made.count(0) == 0);
}

TEST_CASE("int4 codes survive decoding, and errors keep to max_error") {
    for (int q = 1; q < 16; ++q) CHECK(int(int4_code::encode(int4_code::decode(std::uint8_t(q)))) == q);
    double worst = 0;
    for (double x = -7; x <= 7; x += 1.0 / 256) worst = std::fmax(worst, std::fabs(x - double(int4_code::decode(int4_code::encode(float(x))))));
    CHECK(worst == double(int4_code::max_error));
}

TEST_CASE("int4's derived facts") {
    STATIC_REQUIRE(qnt::panel_kind_of<int4_code> == qnt::panel_kind::nibble);
    STATIC_REQUIRE(qnt::operand_family_of<int4_code> == qnt::operand_family::nibble_affine);
    STATIC_REQUIRE(qnt::operand_unit<int4_code> == 1.0f);
    STATIC_REQUIRE(qnt::has_exact_operands<int4_code>);
    STATIC_REQUIRE(qnt::is_affine<int4_code>);
    STATIC_REQUIRE(qnt::affine_offset<int4_code> == 8);
    STATIC_REQUIRE(qnt::zero_code<int4_code> == 8);
    STATIC_REQUIRE(qnt::operand_table<int4_code>.size() == 16);
    for (int q = 0; q < 16; ++q) CHECK(int(qnt::operand_table<int4_code>[std::size_t(q)]) == q - 8);
}
