// How alike two texts are.
#pragma once
#include <algorithm>
#include <cstdint>
#include <numeric>
#include <span>
#include <string_view>
#include <vector>

#include "../io/text.hpp"

namespace qnt {
inline namespace QNT_BASELINE {

// Levenshtein distance: the least number of insertions, deletions and substitutions that make b of a (V. I. Levenshtein 1966, "Binary codes
// capable of correcting deletions, insertions, and reversals"; the two rows of Wagner and Fischer 1974). O(|a| |b|) time.
inline std::size_t edit_distance(std::u32string_view a, std::u32string_view b) {
    if (a.size() < b.size()) std::swap(a, b);
    std::vector<std::size_t> row(b.size() + 1);  // of the prefix of a so far, to every prefix of b
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 0; i < a.size(); ++i) {
        std::size_t diagonal = row[0]++;
        for (std::size_t j = 0; j < b.size(); ++j) {
            const std::size_t substituted = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            row[j + 1] = std::min({substituted, diagonal + 1, row[j] + 1});
        }
    }
    return row.back();
}

// The characters of UTF-8, U+FFFD for every byte that belongs to none.
inline std::u32string code_points(std::string_view s) {
    std::u32string out;
    while (!s.empty()) {
        const std::size_t n = utf8_length(s);
        char32_t c = n == 0 ? U'\xFFFD' : static_cast<unsigned char>(s[0]);
        if (n > 1) c &= 0x7Fu >> n;
        for (std::size_t i = 1; i < n; ++i) c = c << 6 | (static_cast<unsigned char>(s[i]) & 0x3Fu);
        out += c;
        s.remove_prefix(std::max<std::size_t>(n, 1));
    }
    return out;
}

// 1 - edit_distance / length of the longer, in characters: 1 if equal (two empty texts too), 0 if nothing fits.
inline double character_similarity(std::string_view a, std::string_view b) {
    const std::u32string x = code_points(a), y = code_points(b);
    const std::size_t longer = std::max(x.size(), y.size());
    return longer == 0 ? 1 : 1 - double(edit_distance(x, y)) / double(longer);
}

// |A & B| / |A | B| of the sets of tokens (P. Jaccard 1901); 1 if both are empty. Order and repetition do not count.
inline double jaccard_similarity(std::span<const std::int32_t> a, std::span<const std::int32_t> b) {
    const auto set_of = [](std::span<const std::int32_t> ids) {
        std::vector<std::int32_t> set(ids.begin(), ids.end());
        std::sort(set.begin(), set.end());
        set.erase(std::unique(set.begin(), set.end()), set.end());
        return set;
    };
    const std::vector<std::int32_t> x = set_of(a), y = set_of(b);
    std::size_t shared = 0;
    for (const std::int32_t id : x) shared += std::binary_search(y.begin(), y.end(), id);
    const std::size_t all = x.size() + y.size() - shared;
    return all == 0 ? 1 : double(shared) / double(all);
}

}  // namespace QNT_BASELINE
}  // namespace qnt
