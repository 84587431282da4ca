#include <qnt/code/dense.hpp>

#include <string>

#include "catch.hpp"

using qnt::dense_code;

TEST_CASE("dense codes are codes without levels") {
    STATIC_REQUIRE(qnt::dense<dense_code<float>>);
    STATIC_REQUIRE(qnt::code<dense_code<qnt::f16>>);
    STATIC_REQUIRE_FALSE(qnt::quantized_code<dense_code<float>>);
    STATIC_REQUIRE_FALSE(qnt::quantized_code<dense_code<qnt::bf16>>);
    STATIC_REQUIRE(std::is_same_v<dense_code<qnt::bf16>::storage, qnt::bf16>);
    STATIC_REQUIRE(dense_code<float>::bits == 32);
    STATIC_REQUIRE(dense_code<qnt::f16>::bits == 16);
    STATIC_REQUIRE(dense_code<qnt::bf16>::bits == 16);
    CHECK(std::string(dense_code<float>::name) == "f32");
    CHECK(std::string(dense_code<qnt::f16>::name) == "f16");
    CHECK(std::string(dense_code<qnt::bf16>::name) == "bf16");
}

TEST_CASE("dense codes' derived facts") {
    STATIC_REQUIRE(qnt::panel_kind_of<dense_code<float>> == qnt::panel_kind::word);
    STATIC_REQUIRE(qnt::panel_kind_of<dense_code<qnt::f16>> == qnt::panel_kind::half);
    STATIC_REQUIRE(qnt::panel_kind_of<dense_code<qnt::bf16>> == qnt::panel_kind::half);
    STATIC_REQUIRE(qnt::operand_family_of<dense_code<float>> == qnt::operand_family::dense_f32);
    STATIC_REQUIRE(qnt::operand_family_of<dense_code<qnt::f16>> == qnt::operand_family::dense_f16);
    STATIC_REQUIRE(qnt::operand_family_of<dense_code<qnt::bf16>> == qnt::operand_family::dense_bf16);
    STATIC_REQUIRE(qnt::tables_of<dense_code<float>>.values[5] == 0.0f);
}
