#include <qnt/model/policy.hpp>

#include "catch.hpp"

TEST_CASE("glob patterns") {
    CHECK(qnt::glob_match("*", ""));
    CHECK(qnt::glob_match("*", "h.0.mlp"));
    CHECK(qnt::glob_match("*.ln_*", "h.3.ln_1.weight"));
    CHECK(qnt::glob_match("h.?.attn", "h.3.attn"));
    CHECK(qnt::glob_match("a*b*c", "aXbYbZc"));
    CHECK(qnt::glob_match("a**", "a"));
    CHECK_FALSE(qnt::glob_match("h.?.attn", "h.13.attn"));
    CHECK_FALSE(qnt::glob_match("a*b*c", "aXbYbZ"));
    CHECK_FALSE(qnt::glob_match("", "a"));
    CHECK_FALSE(qnt::glob_match("wte", "wte.weight"));
    // exponential for a naive matcher
    CHECK_FALSE(qnt::glob_match("*a*a*a*a*a*a*a*a*a*a*a*a*b", std::string(2000, 'a')));
}

TEST_CASE("the first rule that matches wins, and no match is an error") {
    const qnt::policy p{{"*.ln_*", qnt::keep<float>}, {"wte", qnt::use<qnt::int8_channel>}, {"h.*", qnt::use<qnt::int4<32>>}};
    CHECK(p.format_for("h.0.ln_1")->name() == "f32");
    CHECK(p.format_for("wte")->name() == "int8_channel");
    CHECK(p.format_for("wte.weight")->name() == "int8_channel");
    CHECK_FALSE(p.format_for("wte.bias"));
    CHECK(qnt::policy({{"*.weight", qnt::use<qnt::int8>}}).format_for("wte.weight")->name() == "int8");
    CHECK(p.format_for("h.0.mlp.c_fc")->name() == "int4:32");
    const auto none = p.format_for("wpe");
    REQUIRE_FALSE(none);
    CHECK(none.error().code == qnt::errc::not_found);
    CHECK(none.error().message == "policy: no rule matches tensor 'wpe'; end the list with a rule for \"*\"");
}

TEST_CASE("policies are JSON lists of pairs") {
    const auto p = qnt::policy::parse(R"([["wte", "int8_channel"], ["h.\u002a", "nf4:48:bf16"], ["*", "f16"]])");
    REQUIRE(p);
    CHECK(p->rules().size() == 3);
    CHECK(p->format_for("h.1")->name() == "nf4:48:bf16");
    CHECK(qnt::policy::parse(p->to_json())->to_json() == p->to_json());
    for (const char* bad :
         {"", "{}", "[]", "[1]", "[[\"a\"]]", "[[\"a\", 3]]", "[[\"a\", \"int4:31\"]]", "[[\"a\", \"f32\"]] x", "[[\"a\", \"f32\", \"b\"]]"}) {
        INFO(bad);
        const auto refused = qnt::policy::parse(bad);
        REQUIRE_FALSE(refused);
        CHECK(refused.error().message.starts_with("policy: "));
    }
    CHECK(qnt::policy::parse(R"([["a", "f32"], ["b", "int4:31"]])").error().message.find("rule 1: format 'int4:31': group '31'") !=
          std::string::npos);
}
