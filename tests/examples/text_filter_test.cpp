#include <gpt2/text_filter.hpp>

#include "catch.hpp"

namespace {

// All that comes out, a byte at a time or in pieces of n.
std::string filtered(const std::string& text, const std::vector<std::string>& stops, std::size_t n, bool* stopped = nullptr) {
    gpt2::text_filter filter(stops);
    std::string out;
    for (std::size_t at = 0; at < text.size(); at += n) {
        const std::string part = filter.push(std::string_view(text).substr(at, n));
        CHECK(qnt::is_utf8(part));
        out += part;
    }
    out += filter.finish();
    if (stopped) *stopped = filter.stopped();
    return out;
}

}  // namespace

TEST_CASE("text_filter: a text ends before the first stop string, however its bytes come") {
    const std::string text = "aab aaab \xc3\xa9t\xc3\xa9 ab";
    for (const std::string stop : {"aaab", "ab", "b a", "\xc3\xa9t", "zzz", "aab aaab \xc3\xa9t\xc3\xa9 ab", "b"})
        for (std::size_t n = 1; n <= text.size(); ++n) {
            bool stopped = false;
            const std::string out = filtered(text, {"never", stop}, n, &stopped);
            INFO(stop << " in pieces of " << n);
            CHECK(out == text.substr(0, text.find(stop)));
            CHECK(stopped == (text.find(stop) != text.npos));
        }
}

TEST_CASE("text_filter: of several stop strings the one that is whole first counts") {
    for (std::size_t n = 1; n <= 12; ++n) {
        CHECK(filtered("one two three", {"three", "two", "o t"}, n) == "one ");
        CHECK(filtered("xabcde", {"abcd", "c"}, n) == "xab");
        CHECK(filtered("xabcde", {"c", "abc"}, n) == "x");
    }
    CHECK(filtered("abcd", {"cd", "bc"}, 4) == "a");
    CHECK(filtered("abcd", {"bcd", "bc"}, 1) == "a");
}

TEST_CASE("text_filter: shows at once what cannot be part of a stop string") {
    gpt2::text_filter filter({"\n\n", "END"});
    CHECK(filter.push("abc") == "abc");
    CHECK(filter.push("\n") == "");
    CHECK(filter.push("x E") == "\nx ");
    CHECK(filter.push("N") == "");
    CHECK(filter.push("d") == "ENd");
    CHECK(filter.push("\n") == "");
    CHECK(filter.finish() == "\n");
    CHECK_FALSE(filter.stopped());
}

TEST_CASE("text_filter: bytes that are no characters become U+FFFD, cut ones wait") {
    gpt2::text_filter filter;
    CHECK(filter.push("\xf0\x9f") == "");
    CHECK(filter.push("\x98\x80!") == "\xf0\x9f\x98\x80!");
    CHECK(filter.push("\xff") == "\xef\xbf\xbd");
    CHECK(filter.push("\xc3") == "");
    CHECK(filter.finish() == "\xef\xbf\xbd");
}
