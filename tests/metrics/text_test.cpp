#include <qnt/metrics/text.hpp>

#include <algorithm>
#include <random>
#include <set>
#include <string>

#include "catch.hpp"

using namespace qnt;

// By its recursive definition.
static std::size_t distance_by_definition(std::u32string_view a, std::u32string_view b) {
    if (a.empty() || b.empty()) return a.size() + b.size();
    const auto rest_a = a.substr(1), rest_b = b.substr(1);
    if (a[0] == b[0]) return distance_by_definition(rest_a, rest_b);
    return 1 + std::min({distance_by_definition(rest_a, b), distance_by_definition(a, rest_b), distance_by_definition(rest_a, rest_b)});
}

TEST_CASE("edit distance") {
    CHECK(edit_distance(U"kitten", U"sitting") == 3);  // the example of every text book
    CHECK(edit_distance(U"", U"abc") == 3);
    CHECK(edit_distance(U"abc", U"abc") == 0);
    std::mt19937 random(1);
    for (int round = 0; round < 200; ++round) {
        std::u32string a(random() % 7, U' '), b(random() % 7, U' ');
        for (char32_t& c : a) c = U'a' + char32_t(random() % 3);
        for (char32_t& c : b) c = U'a' + char32_t(random() % 3);
        CHECK(edit_distance(a, b) == distance_by_definition(a, b));
        CHECK(edit_distance(a, b) == edit_distance(b, a));
    }
}

TEST_CASE("character similarity counts characters, not bytes") {
    CHECK(character_similarity("", "") == 1);
    CHECK(character_similarity("abc", "") == 0);
    CHECK(character_similarity("abcd", "abcx") == Approx(0.75));
    CHECK(character_similarity("a\xC3\xA4", "a\xC3\xBC") == Approx(0.5));                 // one of two letters differs
    CHECK(character_similarity("\xF0\x9F\x98\x80", "\xF0\x9F\x98\x80!") == Approx(0.5));  // an emoji is one
    CHECK(code_points("a\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80") == U"a\u00e4\u20ac\U0001F600");
    CHECK(code_points("\xFF\xC3") == U"\uFFFD\uFFFD");
}

TEST_CASE("Jaccard similarity of tokens") {
    const std::vector<std::int32_t> a{1, 2, 2, 3}, b{3, 2, 4}, none;
    CHECK(jaccard_similarity(a, b) == Approx(2.0 / 4));
    CHECK(jaccard_similarity(a, a) == 1);
    CHECK(jaccard_similarity(a, none) == 0);
    CHECK(jaccard_similarity(none, none) == 1);
    std::mt19937 random(2);
    for (int round = 0; round < 50; ++round) {
        std::vector<std::int32_t> x(1 + random() % 20), y(1 + random() % 20);
        for (auto& v : x) v = std::int32_t(random() % 15);
        for (auto& v : y) v = std::int32_t(random() % 15);
        const std::set<std::int32_t> sx(x.begin(), x.end()), sy(y.begin(), y.end());
        std::set<std::int32_t> both = sx;
        both.insert(sy.begin(), sy.end());
        CHECK(jaccard_similarity(x, y) == Approx(double(sx.size() + sy.size() - both.size()) / double(both.size())));
    }
}
