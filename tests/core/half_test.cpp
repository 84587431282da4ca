#include <qnt/core/half.hpp>
#include <qnt/isa/isa.hpp>

#include <cmath>
#include <limits>
#include <random>

#include "catch.hpp"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

using qnt::bf16;
using qnt::f16;

// A binary format by its numbers alone, computed in double: sign, `exponent_bits` of exponent, `mantissa_bits` behind the point.
struct binary_format {
    int exponent_bits, mantissa_bits;
    int bias() const { return (1 << (exponent_bits - 1)) - 1; }
    int top() const { return (1 << exponent_bits) - 1; }  // exponent of infinities and NaN

    double value(unsigned bits) const {
        const int exponent = int(bits >> mantissa_bits) & top(), mantissa = int(bits) & ((1 << mantissa_bits) - 1);
        double v;
        if (exponent == top()) v = mantissa ? std::numeric_limits<double>::quiet_NaN() : std::numeric_limits<double>::infinity();
        else if (exponent == 0) v = std::ldexp(mantissa, 1 - bias() - mantissa_bits);
        else v = std::ldexp(mantissa + (1 << mantissa_bits), exponent - bias() - mantissa_bits);
        return bits >> 15 ? -v : v;
    }
    // The nearest number of the format, ties to even, overflow to infinity. Dividing by a power of two is exact, nearbyint is to even.
    double round(double x) const {
        if (x == 0 || std::isinf(x)) return x;
        const int exponent = std::max(std::ilogb(x), 1 - bias()), step = exponent - mantissa_bits;
        const double rounded = std::ldexp(std::nearbyint(std::ldexp(x, -step)), step);
        return std::fabs(rounded) >= std::ldexp(1.0, bias() + 1) ? std::copysign(std::numeric_limits<double>::infinity(), x) : rounded;
    }
};
constexpr binary_format ieee_half{5, 10}, brain{8, 7};

template <class H> constexpr binary_format format_of = std::is_same_v<H, f16> ? ieee_half : brain;

bool same_number(double a, double b) { return a == b && std::signbit(a) == std::signbit(b); }

// Counting, not a CHECK for each: there are millions.
template <class H> bool narrows_right(float x) { return same_number(double(float(H(x))), format_of<H>.round(double(x))); }

float from_bits(std::uint32_t bits) { return std::bit_cast<float>(bits); }

}  // namespace

TEMPLATE_TEST_CASE("16-bit floats widen to their value, all of them", "", f16, bf16) {
    const binary_format format = format_of<TestType>;
    for (unsigned bits = 0; bits < 65536; ++bits) {
        const float wide = float(TestType::from_bits(std::uint16_t(bits)));
        const double expected = format.value(bits);
        CAPTURE(bits, wide, expected);
        if (std::isnan(expected)) {
            REQUIRE(std::isnan(wide));
            REQUIRE(std::signbit(wide) == (bits >> 15 != 0));
        } else {
            REQUIRE(same_number(double(wide), expected));
        }
    }
}

TEMPLATE_TEST_CASE("narrowing what was widened gives the same bits, NaN become quiet", "", f16, bf16) {
    const binary_format format = format_of<TestType>;
    for (unsigned bits = 0; bits < 65536; ++bits) {
        const unsigned again = TestType(float(TestType::from_bits(std::uint16_t(bits)))).bits;
        CAPTURE(bits, again);
        if (std::isnan(format.value(bits))) REQUIRE(again == (bits | 1u << (format.mantissa_bits - 1)));
        else REQUIRE(again == bits);
    }
}

TEMPLATE_TEST_CASE("narrowing rounds to nearest, ties to even: every midpoint and its neighbours", "", f16, bf16) {
    const binary_format format = format_of<TestType>;
    const unsigned infinity = unsigned(format.top()) << format.mantissa_bits;
    for (unsigned bits = 0; bits < infinity; ++bits) {
        const double below = format.value(bits), above = bits + 1 == infinity ? std::ldexp(1.0, format.bias() + 1) : format.value(bits + 1);
        const float middle = float((below + above) / 2);
        REQUIRE(double(middle) == (below + above) / 2);  // one more bit of mantissa than the format: exact in f32
        const float down = std::nextafter(middle, 0.0f), up = std::nextafter(middle, std::numeric_limits<float>::infinity());
        CAPTURE(bits, middle);
        for (const float sign : {1.0f, -1.0f}) {
            const unsigned sign_bit = sign < 0 ? 0x8000u : 0u;
            REQUIRE(TestType(sign * down).bits == (bits | sign_bit));
            REQUIRE(TestType(sign * middle).bits == ((bits + (bits & 1)) | sign_bit));
            REQUIRE(TestType(sign * up).bits == ((bits + 1) | sign_bit));
        }
    }
}

TEMPLATE_TEST_CASE("narrowing agrees with rounding in double", "", f16, bf16) {
    std::mt19937 random(1);
    std::size_t wrong = 0;
    float example = 0;
    const auto check = [&](float x) {
        if (!std::isnan(x) && !narrows_right<TestType>(x)) {
            ++wrong;
            example = x;
        }
    };
    for (int i = 0; i < 1'000'000; ++i) check(from_bits(std::uint32_t(random())));  // all exponents alike
    for (int i = 0; i < 1'000'000; ++i) {                                           // where numbers of both formats lie
        const double x = std::ldexp(double(std::int32_t(random())), int(random() % 48) - 60);
        check(float(x));
    }
    CAPTURE(example);
    CHECK(wrong == 0);
}

TEMPLATE_TEST_CASE("zeros, infinities and NaN narrow to their like", "", f16, bf16) {
    const unsigned infinity = unsigned(format_of<TestType>.top()) << format_of<TestType>.mantissa_bits;
    CHECK(TestType(0.0f).bits == 0);
    CHECK(TestType(-0.0f).bits == 0x8000);
    CHECK(TestType(std::numeric_limits<float>::infinity()).bits == infinity);
    CHECK(TestType(-std::numeric_limits<float>::infinity()).bits == (infinity | 0x8000));
    CHECK(TestType(std::numeric_limits<float>::max()).bits == infinity);
    CHECK(TestType(std::numeric_limits<float>::denorm_min()).bits == 0);
    // A NaN whose payload lies in the bits that are cut off must not become an infinity.
    for (const std::uint32_t nan : {0x7fc00000u, 0x7f800001u, 0xff800001u, 0x7fffffffu, 0xffffffffu, 0x7fa00000u}) {
        CAPTURE(nan);
        const TestType h(from_bits(nan));
        CHECK(std::isnan(float(h)));
        CHECK((h.bits >> 15) == (nan >> 31));
    }
}

TEST_CASE("f16 narrows and widens like the processor") {
#if defined(__x86_64__)
    if (!qnt::isa::supported(qnt::isa::id::avx2)) {
        WARN("skipped: this machine has no F16C");
        return;
    }
    struct hardware {
        __attribute__((target("f16c"))) static std::uint16_t narrow(float x) {
            return std::uint16_t(_mm_extract_epi16(_mm_cvtps_ph(_mm_set_ss(x), _MM_FROUND_TO_NEAREST_INT), 0));
        }
        __attribute__((target("f16c"))) static float widen(std::uint16_t bits) { return _mm_cvtss_f32(_mm_cvtph_ps(_mm_set1_epi16(short(bits)))); }
    };
#elif defined(__aarch64__)
    struct hardware {
        static std::uint16_t narrow(float x) {
            std::uint32_t bits;
            asm("fcvt %h0, %s1" : "=w"(bits) : "w"(x));
            return std::uint16_t(bits);
        }
        static float widen(std::uint16_t bits) {
            float x;
            asm("fcvt %s0, %h1" : "=w"(x) : "w"(std::uint32_t(bits)));
            return x;
        }
    };
#endif
#if defined(__x86_64__) || defined(__aarch64__)
    for (unsigned bits = 0; bits < 65536; ++bits) {
        CAPTURE(bits);
        REQUIRE(std::bit_cast<std::uint32_t>(float(f16::from_bits(std::uint16_t(bits)))) ==
                std::bit_cast<std::uint32_t>(hardware::widen(std::uint16_t(bits))));
    }
    std::mt19937 random(2);
    std::size_t wrong = 0;
    std::uint32_t example = 0;
    for (int i = 0; i < 3'000'000; ++i) {
        // every second one in f16's range; NaN with any payload are among the others
        const std::uint32_t any = std::uint32_t(random()), near = (any & 0x8fffffffu) | 0x30000000u;
        const std::uint32_t bits = i % 2 ? any : near;
        if (f16(from_bits(bits)).bits != hardware::narrow(from_bits(bits))) {
            ++wrong;
            example = bits;
        }
    }
    CAPTURE(example);
    CHECK(wrong == 0);
#else
    WARN("skipped: no such conversion is known for this processor");
#endif
}

TEST_CASE("half types are constant expressions and name themselves") {
    STATIC_REQUIRE(f16(1.0f).bits == 0x3c00);
    STATIC_REQUIRE(float(f16::from_bits(0x7bff)) == 65504.0f);
    STATIC_REQUIRE(float(f16::from_bits(0x0001)) == 0x1p-24f);
    STATIC_REQUIRE(bf16(1.0f).bits == 0x3f80);
    STATIC_REQUIRE(f16(65519.99f).bits == 0x7bff);
    STATIC_REQUIRE(f16(65520.0f).bits == 0x7c00);
    STATIC_REQUIRE(f16{} == f16(0.0f));
    STATIC_REQUIRE_FALSE(f16(0.0f) == f16(-0.0f));  // bits, not values
    STATIC_REQUIRE(sizeof(f16) == 2);
    STATIC_REQUIRE(sizeof(bf16) == 2);

    STATIC_REQUIRE(qnt::scalar<float>);
    STATIC_REQUIRE(qnt::scalar<f16>);
    STATIC_REQUIRE(qnt::scalar<bf16>);
    STATIC_REQUIRE_FALSE(qnt::scalar<double>);
    STATIC_REQUIRE(qnt::size_of(qnt::scalar_type_of<float>) == 4);
    STATIC_REQUIRE(qnt::size_of(qnt::scalar_type_of<f16>) == 2);
    STATIC_REQUIRE(qnt::size_of(qnt::scalar_type_of<bf16>) == 2);
    STATIC_REQUIRE(qnt::size_of(qnt::scalar_type::none) == 0);
    CHECK(std::string(qnt::name_of(qnt::scalar_type::f16)) == "f16");
    CHECK(std::string(qnt::name_of(qnt::scalar_type::bf16)) == "bf16");
    CHECK(std::string(qnt::name_of(qnt::scalar_type::f32)) == "f32");
}
