// The concept, and the facts derived for codes that the library does not have.
#include <qnt/code/int8.hpp>
#include <qnt/code/nf4.hpp>

#include <cmath>

#include "catch.hpp"

namespace {

using qnt::operand_family;
using qnt::panel_kind;

struct ternary_code {  // affine with 2 bits; 3 decodes but is never made
    static constexpr const char* name = "ternary";
    static constexpr int bits = 2;
    static constexpr float absmax = 1;
    static constexpr std::uint8_t encode(float x) { return x < -0.5f ? 0 : x > 0.5f ? 2 : 1; }
    static constexpr float decode(std::uint8_t q) { return float(q) - 1.0f; }
};

// Any list of ascending values.
template <int Bits, class Values> struct table_code {
    static constexpr const char* name = "table";
    static constexpr int bits = Bits;
    static constexpr float absmax = -Values::at(0);
    static constexpr std::uint8_t encode(float x) {
        int q = 0;
        for (int i = 0; i + 1 < 1 << Bits; ++i) q += x > (Values::at(i) + Values::at(i + 1)) / 2 ? 1 : 0;
        return std::uint8_t(q);
    }
    static constexpr float decode(std::uint8_t q) { return Values::at(q); }
};
struct eighths {  // quarters from -8 to 7.75, but for one value between two of them: integers in units of 1/8
    static constexpr float at(int q) { return (float(q) - 32.0f) * 0.25f + (q == 3 ? 0.125f : 0.0f); }
};
struct squares {  // no power of two makes integers of these
    static constexpr float at(int q) { return (q < 4 ? -1.0f : 1.0f) * float((q - 4) * (q - 4)) / 16.0f * 1.013f; }
};
struct cubes {  // nor of these, which fill a table of 256
    static constexpr float at(int q) { return float(q - 128) * float(q - 128) * float(q - 128) * 0x1p-21f; }
};
struct quarters {
    static constexpr float at(int q) { return (float(q) - 8.0f) / 4.0f; }
};
using eighths_code = table_code<6, eighths>;
using squares_code = table_code<3, squares>;
using cubes_code = table_code<8, cubes>;
using quarters_code = table_code<4, quarters>;

struct no_name {
    static constexpr int bits = 2;
    static constexpr float absmax = 1;
    static constexpr std::uint8_t encode(float) { return 0; }
    static constexpr float decode(std::uint8_t) { return 0; }
};
struct nine_bits : ternary_code {
    static constexpr int bits = 9;
};
struct no_bits : ternary_code {
    static constexpr int bits = 0;
};
struct decodes_double : ternary_code {
    static constexpr double decode(std::uint8_t) { return 0; }
};

// The unit by its definition, in double: the largest power of two from 1 to 1/64 that makes integers in [-127, 127] of all that is made.
template <class C> double expected_unit() {
    for (double unit = 1; unit > 0.01; unit /= 2) {
        bool exact = true;
        for (int q = 0; q < 1 << C::bits; ++q) {
            const double v = double(C::decode(std::uint8_t(q)));
            const bool made = int(C::encode(float(v))) == q;
            exact = exact && (!made || (v / unit == std::nearbyint(v / unit) && std::fabs(v / unit) <= 127));
        }
        if (exact) return unit;
    }
    return double(C::absmax) / 127;
}

}  // namespace

TEST_CASE("what is a code and what is not") {
    STATIC_REQUIRE(qnt::quantized_code<ternary_code>);
    STATIC_REQUIRE(qnt::quantized_code<cubes_code>);
    STATIC_REQUIRE_FALSE(qnt::quantized_code<no_name>);
    STATIC_REQUIRE_FALSE(qnt::quantized_code<nine_bits>);
    STATIC_REQUIRE_FALSE(qnt::quantized_code<no_bits>);
    STATIC_REQUIRE_FALSE(qnt::quantized_code<decodes_double>);
    STATIC_REQUIRE_FALSE(qnt::code<int>);
}

TEMPLATE_TEST_CASE("operands stand for the values in units that fit 8 bits", "", ternary_code, eighths_code, squares_code, cubes_code, quarters_code,
                   qnt::int8_code, qnt::nf4_code) {
    const double unit = double(qnt::operand_unit<TestType>);
    CHECK(unit == Approx(expected_unit<TestType>()).epsilon(1e-7));
    for (std::size_t q = 0; q < std::size_t{1} << TestType::bits; ++q) {
        const double value = double(TestType::decode(std::uint8_t(q)));
        if (std::size_t(TestType::encode(float(value))) != q) continue;  // no encoder makes it
        const int operand = int(qnt::operand_table<TestType>[q]);
        CAPTURE(q, value, operand);
        CHECK(std::abs(operand) <= 127);
        if (qnt::has_exact_operands<TestType>) CHECK(operand * unit == value);
        else CHECK(std::fabs(operand * unit - value) <= 0.5 * unit * (1 + 1e-6));
    }
}

TEST_CASE("units and families of different codes") {
    STATIC_REQUIRE(qnt::operand_unit<ternary_code> == 1.0f);
    STATIC_REQUIRE(qnt::operand_unit<quarters_code> == 0.25f);
    STATIC_REQUIRE(qnt::operand_unit<eighths_code> == 0.125f);
    STATIC_REQUIRE(qnt::has_exact_operands<eighths_code>);
    STATIC_REQUIRE_FALSE(qnt::has_exact_operands<squares_code>);
    STATIC_REQUIRE_FALSE(qnt::has_exact_operands<cubes_code>);

    STATIC_REQUIRE(qnt::is_affine<ternary_code>);
    STATIC_REQUIRE(qnt::affine_offset<ternary_code> == 1);
    STATIC_REQUIRE_FALSE(qnt::is_affine<quarters_code>);
    STATIC_REQUIRE(qnt::affine_offset<quarters_code> == 0);

    STATIC_REQUIRE(qnt::operand_family_of<ternary_code> == operand_family::nibble_affine);
    STATIC_REQUIRE(qnt::operand_family_of<quarters_code> == operand_family::nibble_table);
    STATIC_REQUIRE(qnt::operand_family_of<squares_code> == operand_family::nibble_table);
    STATIC_REQUIRE(qnt::operand_family_of<eighths_code> == operand_family::byte_value);
    STATIC_REQUIRE(qnt::operand_family_of<cubes_code> == operand_family::byte_table);

    STATIC_REQUIRE(qnt::panel_kind_of<ternary_code> == panel_kind::nibble);
    STATIC_REQUIRE(qnt::panel_kind_of<squares_code> == panel_kind::nibble);
    STATIC_REQUIRE(qnt::panel_kind_of<eighths_code> == panel_kind::byte);
    STATIC_REQUIRE(qnt::panel_kind_of<cubes_code> == panel_kind::byte);

    STATIC_REQUIRE(qnt::zero_code<ternary_code> == 1);
    STATIC_REQUIRE(qnt::zero_code<quarters_code> == 8);
    STATIC_REQUIRE(qnt::zero_code<eighths_code> == 32);
}

TEMPLATE_TEST_CASE("run-time tables say the same", "", ternary_code, eighths_code, squares_code, cubes_code, qnt::nf4_code) {
    constexpr const qnt::code_tables& t = qnt::tables_of<TestType>;
    CHECK(t.unit == qnt::operand_unit<TestType>);
    CHECK(t.offset == qnt::affine_offset<TestType>);
    CHECK(t.zero == TestType::encode(0.0f));
    for (std::size_t q = 0; q < 256; ++q) {
        const bool is_level = q < std::size_t{1} << TestType::bits;
        CAPTURE(q);
        CHECK(t.values[q] == (is_level ? TestType::decode(std::uint8_t(q)) : 0.0f));
        CHECK(int(t.operands[q]) == (is_level ? int(qnt::operand_table<TestType>[q % qnt::operand_table<TestType>.size()]) : 0));
    }
}
