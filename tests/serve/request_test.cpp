#include <serve/request.hpp>

#include "catch.hpp"
#include "text.hpp"

namespace {

const serve::defaults standard{.context = 512};
const serve::limits bounds;

serve::generate_request generate(const std::string& body) { return serve::parse_generate(body, standard, bounds); }
serve::generate_request openai(const std::string& body) { return serve::parse_completions(body, standard, bounds); }

template <class Parse> void check_refused(const Parse& parse, const std::string& body, const std::string& field, const std::string& part) {
    INFO(body.substr(0, 200));
    try {
        parse(body);
        FAIL("accepted");
    } catch (const serve::api_error& e) {
        INFO(e.what());
        CHECK(e.status == 400);
        CHECK(e.field == field);
        CHECK(contains(e.what(), part));
        CHECK(qnt::is_utf8(e.what()));
    }
}

}  // namespace

TEST_CASE("request: what is left out is the service's default") {
    const auto r = generate(R"({"prompt": "a\u00e9"})");
    REQUIRE(r.prompts.size() == 1);
    CHECK(std::get<std::string>(r.prompts[0]) == "a\xc3\xa9");
    CHECK_FALSE(r.is_array);
    CHECK(r.sampling.max_new_tokens == 64);
    CHECK(r.sampling.temperature == 0.8f);
    CHECK(r.sampling.top_k == 40);
    CHECK(r.sampling.top_p == 1);
    CHECK_FALSE(r.seed);
    CHECK_FALSE(r.stream);
    CHECK(r.stops.empty());
}

TEST_CASE("request: every field is read") {
    const auto r = generate(R"({"max_new_tokens": 512, "temperature": 0, "top_k": 3, "top_p": 0.5, "seed": 18446744073709551615,
        "stop": ["x", "\n"], "stream": true, "prompt": ["a", "b"]})");
    CHECK(r.prompts.size() == 2);
    CHECK(r.is_array);
    CHECK(r.sampling.max_new_tokens == 512);
    CHECK(r.sampling.temperature == 0);
    CHECK(r.sampling.top_k == 3);
    CHECK(r.sampling.top_p == 0.5f);
    CHECK(r.sampling.seed == ~std::uint64_t{0});
    CHECK(r.seed == ~std::uint64_t{0});
    CHECK(r.stops == std::vector<std::string>{"x", "\n"});
    CHECK(r.stream);
    CHECK(generate(R"({"prompt": "a", "stop": "x"})").stops == std::vector<std::string>{"x"});
    CHECK(generate(R"({"prompt": "a", "top_p": 1e-300})").sampling.top_p > 0);
}

TEST_CASE("request: what is wrong is refused in the name of its field") {
    for (const std::string value : {"-1", "NaN", "Infinity", "1e999", "101", "\"hot\"", "null", "true", "[]", "{}"})
        check_refused(generate, R"({"prompt": "a", "temperature": )" + value + "}", "temperature", "temperature");
    for (const std::string value : {"0", "-1", "513", "1e2", "2.0", "\"5\"", "null"})
        check_refused(generate, R"({"prompt": "a", "max_new_tokens": )" + value + "}", "max_new_tokens", "max_new_tokens");
    for (const std::string value : {"0", "-0.0", "1.01", "null"})
        check_refused(generate, R"({"prompt": "a", "top_p": )" + value + "}", "top_p", "top_p");
    check_refused(generate, R"({"prompt": "a", "top_k": 2147483648})", "top_k", "from 0 to 2147483647, not 2147483648");
    check_refused(generate, R"({"prompt": "a", "seed": 18446744073709551616})", "seed", "seed must be an integer");
    check_refused(generate, R"({"prompt": "a", "stop": ""})", "stop", "1 to 256 bytes");
    check_refused(generate, R"({"prompt": "a", "stream": 1})", "stream", "expected true or false");
    check_refused(generate, R"({"prompt": ["a"]})", "prompt", "2 to 16 strings");
    check_refused(generate, R"({"prompt": ""})", "prompt", "empty");
    check_refused(generate, R"({"prompt": "a", "prompt": "b"})", "prompt", "twice");
    check_refused(generate, R"({"prompt": "a", "promt": 1})", "promt", "unknown field \"promt\"");
    check_refused(generate, R"({"prompt": "\ud800"})", "prompt", "surrogate");
    check_refused(generate, "{\"prompt\": \"\xff\"}", "prompt", "UTF-8");
    check_refused(generate, "{}", "prompt", "missing");
    check_refused(generate, "  \n", "", "empty");
    check_refused(generate, "[]", "", "object");
    check_refused(generate, R"({"prompt": "a"} 1)", "", "end of the text");
    check_refused(generate, R"({"prompt": )" + std::string(100000, '['), "prompt", "string");
    check_refused(openai, R"({"prompt": "a", "x": )" + std::string(100000, '['), "x", "64 levels");
    check_refused(generate, "{\"\\u001b[31m\": 1}", "\\x1b[31m", "\\x1b");
}

TEST_CASE("request: no text of two bytes is accepted or crashes") {
    for (int a = 0; a < 256; ++a)
        for (int b = 0; b < 256; ++b) {
            const std::string body{char(a), char(b)};
            CHECK_THROWS_AS(generate(body), serve::api_error);
        }
}

TEST_CASE("request: OpenAI's prompts are texts, tokens, or several of either") {
    CHECK(openai(R"({"prompt": "a"})").prompts.size() == 1);
    CHECK(openai(R"({"prompt": ["a"]})").prompts.size() == 1);
    CHECK(openai(R"({"prompt": ["a", "b"], "n": 2})").choices == 2);
    const auto tokens = openai(R"({"prompt": [1, 2, 3]})");
    REQUIRE(tokens.prompts.size() == 1);
    CHECK(std::get<std::vector<std::int32_t>>(tokens.prompts[0]) == std::vector<std::int32_t>{1, 2, 3});
    const auto two = openai(R"({"prompt": [[1, 2], [3]]})");
    REQUIRE(two.prompts.size() == 2);
    CHECK(std::get<std::vector<std::int32_t>>(two.prompts[1]) == std::vector<std::int32_t>{3});
    check_refused(openai, R"({"prompt": [1, "a"]})", "prompt", "mixes");
    check_refused(openai, R"({"prompt": ["a", 1]})", "prompt", "mixes");
    check_refused(openai, R"({"prompt": [[]]})", "prompt", "empty");
    check_refused(openai, R"({"prompt": []})", "prompt", "missing");
    check_refused(openai, R"({"prompt": [-1]})", "prompt", "integer");
}

TEST_CASE("request: OpenAI's defaults are its own, null is the same as left out, what does not change the text is let pass") {
    const auto r = openai(R"({"model": "m", "prompt": "a", "max_tokens": null, "temperature": null, "user": {"a": [1]}, "logit_bias": {},
        "logprobs": null, "presence_penalty": 0, "best_of": 1, "stream_options": {"include_usage": true}})");
    CHECK(r.model == "m");
    CHECK(r.sampling.max_new_tokens == 16);
    CHECK(r.sampling.temperature == 1);
    CHECK(r.sampling.top_k == 0);
    CHECK(r.include_usage);
    check_refused(openai, R"({"prompt": "a", "logprobs": 2})", "logprobs", "not supported");
    check_refused(openai, R"({"prompt": "a", "frequency_penalty": 0.5})", "frequency_penalty", "penalties");
    check_refused(openai, R"({"prompt": "a", "logit_bias": {"5": 1}})", "logit_bias", "not supported");
    check_refused(openai, R"({"prompt": ["a", "b", "c"], "n": 6})", "n", "16");
}

TEST_CASE("request: an evaluation needs no body") {
    CHECK(serve::parse_evaluate("", standard, bounds).prompts.empty());
    CHECK(serve::parse_evaluate("{}", standard, bounds).max_new_tokens == 32);
    CHECK(serve::parse_evaluate("", {.context = 8}, bounds).max_new_tokens == 8);
    CHECK(serve::parse_evaluate(R"({"prompts": ["a"], "max_new_tokens": 5})", standard, bounds).prompts.size() == 1);
    const auto parse = [](const std::string& body) { return serve::parse_evaluate(body, standard, bounds); };
    check_refused(parse, R"({"file": "/etc/passwd"})", "file", "unknown");
    check_refused(parse, R"({"max_new_tokens": 257})", "max_new_tokens", "256");
    check_refused(parse, R"({"prompts": []})", "prompts", "at least one");
}
