#include <qnt/io/json.hpp>

#include <nlohmann/json.hpp>
#include <random>

#include "catch.hpp"
#include "temp_folder.hpp"

using namespace qnt;

static nlohmann::json converted(const json_value& v) {
    switch (v.kind()) {
    case json_kind::boolean: return v.as_bool().value();
    case json_kind::string: return std::string(v.as_string().value());
    case json_kind::number:
        if (const auto n = v.as_uint64()) return n.value();
        return v.as_double().value();
    case json_kind::array: {
        auto a = nlohmann::json::array();
        for (const json_value& item : v.items()) a.push_back(converted(item));
        return a;
    }
    case json_kind::object: {
        auto o = nlohmann::json::object();
        for (const json_member& m : v.members()) o[m.key] = converted(m.value);
        return o;
    }
    default: return nullptr;
    }
}

static bool holds_odd_number(const json_value& v) {
    if (v.kind() == json_kind::number) return !v.as_double();
    for (const json_value& item : v.items())
        if (holds_odd_number(item)) return true;
    for (const json_member& m : v.members())
        if (holds_odd_number(m.value)) return true;
    return false;
}

// nlohmann::json as the oracle, but for what we refuse on purpose and what only it does.
static void agrees(const std::string& text) {
    INFO("text: " << printable(text));
    const auto ours = parse_json(text);
    if (!ours) {
        INFO(ours.error().message);
        CHECK(ours.error().code == errc::corrupt);
        CHECK(contains(ours.error().message, "byte offset"));
        CHECK(is_utf8(ours.error().message));
        if (contains(ours.error().message, "duplicate key") || contains(ours.error().message, "nested deeper")) return;
        if (text.starts_with("\xef\xbb\xbf")) return;  // it skips a byte order mark
        CHECK_FALSE(nlohmann::json::accept(text));
        return;
    }
    const auto theirs = nlohmann::json::parse(text, nullptr, false);
    if (holds_odd_number(*ours)) return;  // nlohmann refuses what overflows a double and rounds to 0 what underflows
    CHECK(converted(*ours) == theirs);
}

// clang-format off
static const char* const documents[] = {
    "", " ", "null", "nul", "nulll", "true", "false", "tru", "True", " \t\r\n0 \n", "\v0", "0", "-0", "00", "01", "-01", "-", "+1", "1.",
    ".5", "0.5", "1e5", "1E+5", "1e-5", "1e", "1e+", "0e0", "0.0e-0", "1.5.2", "0x10", "1_000", "NaN", "Infinity", "-Infinity",
    "18446744073709551615", "18446744073709551616", "-1", "1e999", "4.9e-324", "123456789012345678901234567890", "0.1", "\"\"", "\"a", "\"",
    "'a'", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\x41\"", "\"\\u0041\"", "\"\\u00e9\\u20ac\"", "\"\\ud83d\\ude00\"", "\"\\ud83d\"",
    "\"\\ude00\"", "\"\\ud83d\\u0041\"", "\"\\ud83dx\"", "\"\\ud83d\\\"", "\"\\u12\"", "\"\\u12g4\"", "\"\\u-123\"", "\"\\u+123\"",
    "\"\\U0041\"", "\"\\u0000\"", "\"\t\"", "\"\n\"", "\"\x7f\"", "\"\xc3\xa9\"", "\"\xe2\x82\xac\"", "\"\xf0\x9f\x98\x80\"", "\"\x80\"",
    "\"\xc0\xaf\"", "\"\xc1\xbf\"", "\"\xe0\x80\xaf\"", "\"\xed\xa0\x80\"", "\"\xed\x9f\xbf\"", "\"\xf0\x80\x80\x80\"",
    "\"\xf4\x8f\xbf\xbf\"", "\"\xf4\x90\x80\x80\"", "\"\xf5\x80\x80\x80\"", "\"\xff\"", "\"\xc3\"", "\"\xe2\x82\"", "\"\xe2\x82",
    "\xef\xbb\xbf{}", "[]", "[ ]", "[", "]", "[,]", "[1,]", "[1 2]", "[1,,2]", "[1]]", "[1}", "[[[[]]]]", "{}", "{ }", "{", "}", "{\"a\"}",
    "{\"a\":}", "{\"a\":1,}", "{a:1}", "{1:1}", "{\"a\" : 1 , \"b\":[true,null]}", "{\"a\":1 \"b\":2}", "{\"\":0}",
    "{\"a\":{\"a\":{\"a\":[]}}}", "[1] x", "[1]//x", "/*x*/1", "[1]\n\n", "\"a\"\"b\"", "{} {}", "[\"\\\\\"]",
    "[1e5,-2.5E-3,true,false,null,\"x\"]",
};
// clang-format on

TEST_CASE("JSON is accepted and understood as by nlohmann::json") {
    for (const char* text : documents) agrees(text);
    for (const auto& text : {std::string("[0]\0", 4), std::string("\"\0\"", 3), std::string("\0", 1)})
        CHECK_FALSE(parse_json(text));  // to nlohmann NUL is an end
}

TEST_CASE("mutated JSON is accepted and understood as by nlohmann::json") {
    std::mt19937 random(1);
    const auto below = [&](std::size_t n) { return std::size_t(random() % n); };
    const std::string config = text_of(QNT_SOURCE_DIR "/examples/models/qnt-gpt2-5m/config.json");
    const std::string alphabet = "{}[]\",:\\u0123456789aefd-+.En \t\n\x80\xc3\xa9\xed\xa0\xf4";
    REQUIRE(!config.empty());
    agrees(config);
    for (int i = 0; i < 20000; ++i) {
        std::string text = i % 10 == 0 ? config : documents[below(std::size(documents))];
        for (std::size_t n = below(4) + 1; n-- > 0;) {
            const char c = alphabet[below(alphabet.size())];
            const std::size_t at = below(text.size() + 1);
            switch (below(4)) {
            case 0: text.insert(at, 1, c); break;
            case 1: text.erase(at, 1); break;
            case 2: at < text.size() ? void(text[at] = c) : void(); break;
            default: text += documents[below(std::size(documents))];
            }
        }
        agrees(text);
    }
}

TEST_CASE("JSON: keys come once, levels are counted, values too") {
    const auto message = [](const std::string& text) { return parse_json(text).error().message; };
    CHECK(message("{\"a\":1,\"b\":2,\"a\":3}") == "JSON, byte offset 13: duplicate key \"a\"");
    CHECK(contains(message("{\"x\":{\"a\":1,\"\\u0061\":2}}"), "byte offset 12: duplicate key \"a\""));
    CHECK(parse_json("{\"a\":{\"a\":1},\"b\":{\"a\":2}}"));

    const auto nested = [](std::size_t levels, char open, char close) {
        return open == '[' ? std::string(levels, open) + std::string(levels, close) : [&] {
            std::string s;
            for (std::size_t i = 0; i < levels; ++i) s += "{\"a\":";
            return s + "0" + std::string(levels, close);
        }();
    };
    for (const auto& [open, close] : {std::pair('[', ']'), std::pair('{', '}')}) {
        CHECK(parse_json(nested(64, open, close)));
        CHECK(contains(message(nested(65, open, close)), "nested deeper than 64"));
        CHECK(contains(message(nested(1'000'000, open, close)), "nested deeper than 64"));
    }
    std::string zeros = "[0";
    for (std::size_t i = 0; i < json_max_values; ++i) zeros += ",0";
    CHECK(contains(message(zeros + "]"), "more than"));
}

TEST_CASE("JSON errors say where, what was expected and what was found") {
    const auto message = [](const std::string& text) { return parse_json(text, 100).error().message; };
    CHECK(message("[1,\x01]") == "JSON, byte offset 103: expected a value, found \"\\x01\"");
    CHECK(message("[1") == "JSON, byte offset 102: expected ',' or ']' in an array");
    CHECK(message("") == "JSON, byte offset 100: expected a value, the text ends here");
    CHECK(message("{\"a\":tru}") == "JSON, byte offset 105: expected true or false, found true or false");

    const json_value v = parse_json("{\"n\":-1.5,\"s\":\"x\",\"b\":true,\"a\":[7]}").value();
    CHECK(v.find("n")->as_double().value() == -1.5);
    CHECK(v.find("n")->as_uint64().error().message == "JSON, byte offset 5: expected an integer from 0 to 2^64 - 1, found -1.5");
    CHECK(v.find("s")->as_double().error().message == "JSON, byte offset 14: expected a number that a double can hold, found a string");
    CHECK(v.find("b")->as_string().error().message == "JSON, byte offset 22: expected a string, found true or false");
    CHECK(v.find("a")->as_bool().error().code == errc::corrupt);
    CHECK(v.find("a")->items()[0].as_uint64().value() == 7);
    CHECK(v.find("a")->offset() == 31);
    CHECK(v.find("a")->members().empty());
    CHECK(v.items().empty());
    CHECK(v.find("x") == nullptr);
    CHECK(v.members()[1].key == "s");
}

TEST_CASE("JSON value by value, without a tree") {
    json_reader in(" {\"count\": 3, \"skipped\": [1, {\"a\": \"b\"}, null, true], \"names\": [\"x\", \"y\"]} ");
    std::uint64_t count = 0;
    std::string names;
    const auto r = in.object([&](std::string_view key) -> result<void> {
        if (key == "count") {
            const auto n = in.uint64();
            if (!n) return n.error();
            count = *n;
            return {};
        }
        if (key == "names") return in.array([&]() -> result<void> { return names += in.string().value(), result<void>(); });
        return in.skip();
    });
    REQUIRE(r);
    REQUIRE(in.end());
    CHECK(count == 3);
    CHECK(names == "xy");
}

TEST_CASE("text for messages and for files") {
    CHECK(printable("caf\xc3\xa9 \x1b[31m\x7f\xc2\x9b\xff") == "caf\xc3\xa9 \\x1b[31m\\x7f\\xc2\\x9b\\xff");
    CHECK(in_quotes("a") == "\"a\"");
    CHECK(printable(std::string(100'000, 'a')).size() < 200);
    for (unsigned lead = 0; lead < 256; ++lead)  // all two-byte strings, against the oracle
        for (unsigned second = 0; second < 256; ++second) {
            const std::string s{static_cast<char>(lead), static_cast<char>(second)};
            if (lead < 0x20 || second < 0x20 || lead == '"' || lead == '\\' || second == '"' || second == '\\') continue;
            if (is_utf8(s) != nlohmann::json::accept("\"" + s + "\"")) FAIL(lead << " " << second);
        }
    std::string all;
    for (int c = 0; c < 128; ++c) all += static_cast<char>(c);
    all += "\xc3\xa9";
    CHECK(nlohmann::json::parse(json_escape(all)) == all);
    CHECK(parse_json(json_escape(all))->as_string().value() == all);
}
