// Are all numbers of a tensor finite? Asked of the bytes as they lie in a file, at any alignment.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace tools {

// A number of `bytes` bytes is infinite or NaN when all bits of `mask` are set.
struct not_finite_rule {
    const char* dtype;
    std::size_t bytes;
    std::uint64_t mask;
};
inline constexpr not_finite_rule not_finite_rules[] = {
    {"F64", 8, 0x7ff0'0000'0000'0000},
    {"F32", 4, 0x7f80'0000},
    {"F16", 2, 0x7c00},
    {"BF16", 2, 0x7f80},
    {"F8_E5M2", 1, 0x7c},
    {"F8_E4M3", 1, 0x7f},
    {"F8_E8M0", 1, 0xff},  // the last two have NaN only
};

template <class Word> std::size_t first_with_bits(std::span<const std::byte> bytes, Word mask) {
    constexpr std::size_t block = 4096;  // numbers whose test has no branch
    const std::size_t n = bytes.size() / sizeof(Word);
    const auto is_set = [&](std::size_t i) {
        Word w;
        std::memcpy(&w, bytes.data() + i * sizeof w, sizeof w);
        return Word(w & mask) == mask;
    };
    for (std::size_t first = 0; first < n; first += block) {
        const std::size_t end = std::min(n, first + block);
        unsigned found = 0;
        for (std::size_t i = first; i < end; ++i) found |= unsigned(is_set(i));
        for (std::size_t i = first; found && i < end; ++i)
            if (is_set(i)) return i;
    }
    return n;
}

// Index of the first number that is not finite; their count if there is none, or the dtype holds no such numbers.
inline std::size_t first_not_finite(std::span<const std::byte> bytes, std::string_view dtype) {
    for (const not_finite_rule& r : not_finite_rules) {
        if (dtype != r.dtype) continue;
        return r.bytes == 8   ? first_with_bits<std::uint64_t>(bytes, r.mask)
               : r.bytes == 4 ? first_with_bits(bytes, static_cast<std::uint32_t>(r.mask))
               : r.bytes == 2 ? first_with_bits(bytes, static_cast<std::uint16_t>(r.mask))
                              : first_with_bits(bytes, static_cast<std::uint8_t>(r.mask));
    }
    return bytes.size();
}

}  // namespace tools
