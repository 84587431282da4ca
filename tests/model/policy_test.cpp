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
    CHECK(p.format_for("\x1b[31m").error().message.find("tensor '\\x1b[31m'") != std::string::npos);
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

TEST_CASE("outlier columns are asked for behind a format, or by the name of the paper's") {
    const auto parsed = [](const char* text) { return qnt::policy_rule::parse("*", text).value(); };
    for (const auto& [text, name, outliers] : {std::tuple{"llmint8", "int8_channel+outliers:6", 6.0f},
                                               {"llmint8:4.5", "int8_channel+outliers:4.5", 4.5f},
                                               {"int8_channel+outliers:6.0", "int8_channel+outliers:6", 6.0f},
                                               {"int4:32:f32+outliers", "int4:32:f32+outliers:6", 6.0f},
                                               {"nf4:64+outliers:0.1", "nf4:64+outliers:0.1", 0.1f},
                                               {"nf4:64", "nf4:64", 0.0f}}) {
        INFO(text);
        CHECK(parsed(text).outliers == outliers);
        CHECK(parsed(text).format_name() == name);
        CHECK(parsed(name).outliers == outliers);
        CHECK(parsed(name).format == parsed(text).format);
    }
    const auto p = qnt::policy::parse(R"([["wte", "int8"], ["h.*", "llmint8"], ["*", "f32"]])").value();
    CHECK(p.to_json() == R"([["wte", "int8"], ["h.*", "int8_channel+outliers:6"], ["*", "f32"]])");
    CHECK(p.needs_calibration());
    CHECK(p.rule_for("h.0.mlp.c_fc.weight")->outliers == 6);
    CHECK(p.format_for("h.0.mlp.c_fc.weight")->name() == "int8_channel");
    CHECK(p.rule_for("wte")->outliers == 0);
    CHECK_FALSE(qnt::policy::parse(R"([["*", "int8"]])")->needs_calibration());
    for (const auto& [text, part] : {std::pair{"llmint8:", "the threshold must be a positive number"},
                                     {"llmint8:0", "must be a positive number"},
                                     {"llmint8:-6", "must be a positive number"},
                                     {"llmint8:inf", "must be a positive number"},
                                     {"llmint8:nan", "must be a positive number"},
                                     {"llmint8:6x", "must be a positive number"},
                                     {"int4:32+outliers6", "must be a positive number"},
                                     {"int4:32+columns", "unknown suffix '+columns'"},
                                     {"int4:31+outliers", "group '31'"},
                                     {"f16+outliers:6", "f16 has no codes"},
                                     {"llmint8_", "unknown"}}) {
        INFO(text);
        const auto refused = qnt::policy_rule::parse("*", text);
        REQUIRE_FALSE(refused);
        CHECK(refused.error().code == qnt::errc::invalid_argument);
        CHECK(refused.error().message.find(part) != std::string::npos);
        CHECK(refused.error().message.find(std::string("format '")) == 0);
    }
    CHECK_FALSE(qnt::any_format::parse("llmint8"));  // a format is what codes are; which columns have none is said by a rule
}
