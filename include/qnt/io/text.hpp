// Text that came from a file, on its way into a message: UTF-8 checks and escapes, so that a hostile name never reaches a terminal raw.
#pragma once
#include <string>
#include <string_view>

#include "../core/config.hpp"

namespace qnt {
inline namespace QNT_BASELINE {

// Bytes of the well-formed UTF-8 sequence at the front of s, 0 if there is none (Unicode 15, table 3-7: no overlong forms, no
// surrogates, nothing above U+10FFFF).
constexpr std::size_t utf8_length(std::string_view s) {
    const auto byte = [&](std::size_t i) { return i < s.size() ? static_cast<unsigned char>(s[i]) : 0u; };
    const unsigned lead = byte(0), second = byte(1);
    if (lead < 0x80) return s.empty() ? 0 : 1;
    if (lead < 0xc2 || lead > 0xf4) return 0;
    const std::size_t n = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    for (std::size_t i = 1; i < n; ++i)
        if ((byte(i) & 0xc0) != 0x80) return 0;
    const bool is_overlong = (lead == 0xe0 && second < 0xa0) || (lead == 0xf0 && second < 0x90);
    const bool is_no_character = (lead == 0xed && second > 0x9f) || (lead == 0xf4 && second > 0x8f);
    return is_overlong || is_no_character ? 0 : n;
}

// Is all of s well-formed UTF-8?
constexpr bool is_utf8(std::string_view s) {
    while (!s.empty()) {
        const std::size_t n = utf8_length(s);
        if (n == 0) return false;
        s.remove_prefix(n);
    }
    return true;
}

// s for a message: control characters (C0, DEL, C1) and bytes that are not UTF-8 as \xNN, cut after `limit` bytes.
inline std::string printable(std::string_view s, std::size_t limit = 120) {
    constexpr const char* digits = "0123456789abcdef";
    std::string out;
    for (std::size_t n = 0; !s.empty(); s.remove_prefix(n)) {
        if (out.size() >= limit) return out + "...";
        n = utf8_length(s);
        const bool is_c1 = n == 2 && s[0] == '\xc2' && static_cast<unsigned char>(s[1]) < 0xa0;
        if (n > 0 && !is_c1 && static_cast<unsigned char>(s[0]) >= 0x20 && s[0] != 0x7f) {
            out += s.substr(0, n);
            continue;
        }
        n = n == 0 ? 1 : n;
        for (const char c : s.substr(0, n)) {
            out += "\\x";
            out += digits[static_cast<unsigned char>(c) >> 4];
            out += digits[static_cast<unsigned char>(c) & 15];
        }
    }
    return out;
}

// The same between quotation marks: for names and values.
inline std::string in_quotes(std::string_view s) { return '"' + printable(s) + '"'; }

}  // namespace QNT_BASELINE
}  // namespace qnt
