#include <qnt/core/float_math.hpp>

#include <cmath>
#include <limits>
#include <random>

#include "catch.hpp"

namespace {

std::uint32_t bits_of(float x) { return std::bit_cast<std::uint32_t>(x); }
float from_bits(std::uint32_t bits) { return std::bit_cast<float>(bits); }

// Values that a compiler cannot see through.
template <class T> T opaque(T x) {
    volatile T v = x;
    return v;
}

struct fma_check {
    std::size_t wrong = 0, seen = 0;
    float a = 0, b = 0, c = 0;
    void operator()(float x, float y, float z) {
        const float expected = std::fma(opaque(x), opaque(y), opaque(z)), actual = qnt::fma(opaque(x), opaque(y), opaque(z));
        ++seen;
        if (std::isnan(expected) ? !std::isnan(actual) : bits_of(expected) != bits_of(actual)) {
            ++wrong;
            a = x, b = y, c = z;
        }
    }
    void all_signs(float x, float y, float z) {
        for (const float s : {1.0f, -1.0f})
            for (const float t : {1.0f, -1.0f}) (*this)(s* x, y, t* z);
    }
};

}  // namespace

TEST_CASE("is_finite and magnitude look at bits") {
    for (const std::uint32_t bits : {0u, 1u, 0x80000000u, 0x007fffffu, 0x7f7fffffu, 0xff7fffffu, 0x3f800000u}) CHECK(qnt::is_finite(from_bits(bits)));
    for (const std::uint32_t bits : {0x7f800000u, 0xff800000u, 0x7fc00000u, 0x7f800001u, 0xffffffffu}) CHECK_FALSE(qnt::is_finite(from_bits(bits)));
    CHECK(bits_of(qnt::magnitude(-0.0f)) == 0);
    CHECK(qnt::magnitude(-2.5f) == 2.5f);
    CHECK(bits_of(qnt::magnitude(from_bits(0xffc00001u))) == 0x7fc00001u);
    CHECK(std::isnan(qnt::quiet_nan()));
}

TEST_CASE("mul rounds before anything is added, whatever the flags") {
    std::mt19937 random(1);
    std::size_t inexact = 0;
    for (int i = 0; i < 10'000; ++i) {
        const float a = from_bits(0x3f800000u | (std::uint32_t(random()) >> 9)), b = from_bits(0x3f800000u | (std::uint32_t(random()) >> 9));
        const float rounded = float(opaque(double(a) * double(b)));
        // What is left is the rounding error of the product in a fused addition, and nothing in two roundings.
        REQUIRE(qnt::mul(a, b) - rounded == 0.0f);
        inexact += double(rounded) != double(a) * double(b);
        const double c = double(a) + 0x1p-40, d = double(b) + 0x1p-41;
        const double product = opaque(c * d);
        REQUIRE(qnt::mul(c, d) - product == 0.0);
    }
    CHECK(inexact > 9'000);
    STATIC_REQUIRE(qnt::mul(3.0f, 0.5f) == 1.5f);
}

TEST_CASE("round_even is nearbyint up to 2^22") {
    const auto check = [](float x) { return qnt::round_even(opaque(x)) == std::nearbyint(x); };
    for (int i = -3000; i <= 3000; ++i)
        for (const float x : {float(i) * 0.5f, std::nextafter(float(i) * 0.5f, 1e9f), std::nextafter(float(i) * 0.5f, -1e9f)}) {
            CAPTURE(x);
            REQUIRE(check(x));
        }
    std::mt19937 random(2);
    for (int i = 0; i < 200'000; ++i) {
        const float x = float(std::int32_t(random())) * std::ldexp(1.0f, -9 - int(random() % 24));
        CAPTURE(x);
        REQUIRE(std::fabs(x) <= 0x1p22f);
        REQUIRE(check(x));
    }
    for (const float x : {0x1p22f, -0x1p22f, 0x1p22f - 0.5f, 0x1p22f - 1.5f, -0x1p22f + 0.5f}) {
        CAPTURE(x);
        CHECK(check(x));
    }
    STATIC_REQUIRE(qnt::round_even(2.5f) == 2.0f);
    STATIC_REQUIRE(qnt::round_even(-3.5f) == -4.0f);
}

TEST_CASE("fma has one rounding") {
    fma_check check;
    std::mt19937 random(3);
    const auto any = [&] { return from_bits(std::uint32_t(random())); };
    const auto mantissa = [&] { return from_bits(0x3f800000u | std::uint32_t(random()) >> 9); };  // [1, 2)

    SECTION("any bits, infinities and NaN among them") {
        for (int i = 0; i < 500'000; ++i) check(any(), any(), any());
        const float special[] = {0.0f,
                                 1.0f,
                                 std::numeric_limits<float>::infinity(),
                                 std::numeric_limits<float>::max(),
                                 std::numeric_limits<float>::min(),
                                 std::numeric_limits<float>::denorm_min(),
                                 std::numeric_limits<float>::quiet_NaN()};
        for (const float a : special)
            for (const float b : special)
                for (const float c : special) check.all_signs(a, b, c);
    }
    SECTION("addends of about the size of the product") {
        for (int i = 0; i < 500'000; ++i) {
            const float a = mantissa(), b = mantissa(), c = std::ldexp(mantissa(), int(random() % 56) - 28);
            check.all_signs(a, b, c);
        }
    }
    SECTION("cancellation: the addend is the product, nearly") {
        for (int i = 0; i < 200'000; ++i) {
            const float a = mantissa(), b = mantissa();
            const float c = from_bits(bits_of(-(a * b)) + std::uint32_t(random() % 5) - 2);
            check(a, b, c);
            check(std::ldexp(a, -90), std::ldexp(b, -40), std::ldexp(c, -130));  // what is left is subnormal
        }
    }
    SECTION("halfway cases that a tiny addend decides") {
        // (1 + i * 2^-12) * (1 + 2^-12) = 1 + (i + 1) * 2^-12 + i * 2^-24: for odd i exactly between two floats
        for (int i = 1; i < 4000; ++i)
            for (const float tiny : {0.0f, 0x1p-40f, 0x1p-60f, 0x1p-100f, 0x1p-149f, 1.5f * 0x1p-77f})
                check.all_signs(1.0f + float(i) * 0x1p-12f, 1.0f + 0x1p-12f, tiny);
        // and products far below the half unit of the addend, which itself lies anywhere
        for (int i = 0; i < 100'000; ++i) check.all_signs(std::ldexp(mantissa(), -20), std::ldexp(mantissa(), -4 - int(random() % 60)), mantissa());
        // addend + product = halfway -+ a bit of the product that a double of the sum cannot hold
        // (1 - j * 2^-23) * (1 + j * 2^-23) * 2^-24 is below half a unit of c by so little that double rounds it to the half or next to it
        for (int j = 0; j < 3000; ++j)
            for (const float c : {1.0f, 1.0f + 0x1p-23f, 1.0f + 0x1p-22f, 2.0f - 0x1p-23f}) {
                const float a = 1.0f - float(j) * 0x1p-23f, b = 1.0f + float(j) * 0x1p-23f;
                check.all_signs(a, b * 0x1p-24f, c);
                check.all_signs(b, -a * 0x1p-24f, c);
            }
        for (int i = 0; i < 100'000; ++i) {
            const float a = from_bits(0x3f800001u + std::uint32_t(random() % 64)),
                        b = std::ldexp(from_bits(0x3f800001u + std::uint32_t(random() % 64)), -24);
            check.all_signs(a, b, std::ldexp(mantissa(), int(random() % 10)));
        }
    }
    SECTION("results around the smallest numbers") {
        for (int i = 0; i < 300'000; ++i) {
            const float a = std::ldexp(mantissa(), -70 - int(random() % 10)), b = std::ldexp(mantissa(), -60 - int(random() % 20));
            const float c = std::ldexp(float(random() % 64), -149);
            check.all_signs(a, b, c);
        }
        for (int i = 0; i < 2000; ++i)
            check.all_signs(std::ldexp(float(i), -75), std::ldexp(1.0f, -75), std::ldexp(float(i % 7), -149));  // ties at 2^-150
    }
    SECTION("results around the largest numbers") {
        const float max = std::numeric_limits<float>::max();
        for (int i = 0; i < 100'000; ++i)
            check.all_signs(std::ldexp(mantissa(), 63), std::ldexp(mantissa(), 63), std::ldexp(mantissa(), 60 + int(random() % 68)));
        for (const float c : {0.0f, 1.0f, 0x1p103f, 0x1p102f, 0x1.fffffep102f, 0x1.000002p103f, max}) {
            check.all_signs(max, 1.0f, c);  // the midpoint above max is max + 2^103: even, so infinity
            check.all_signs(0x1.fffffep63f, 0x1p64f, c);
        }
    }
    CAPTURE(check.a, check.b, check.c);
    CHECK(check.wrong == 0);
    CHECK(check.seen > 2000);
}
