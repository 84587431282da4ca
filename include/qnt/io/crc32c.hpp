// CRC-32C (Castagnoli, reflected polynomial 0x82f63b78; RFC 3720, appendix B.4): finds every flipped bit and every burst up to 32 bits.
#pragma once
#include <array>
#include <cstring>
#include <span>

#include "../core/config.hpp"

namespace qnt {
namespace detail {

// tables[k][b]: the checksum of byte b followed by k zero bytes, so that 8 bytes are looked up at once (slicing-by-8).
inline constexpr auto crc32c_tables = [] {
    std::array<std::array<std::uint32_t, 256>, 8> tables{};
    for (std::uint32_t b = 0; b < 256; ++b) {
        std::uint32_t c = b;
        for (int bit = 0; bit < 8; ++bit) c = c >> 1 ^ (c & 1 ? 0x82f63b78u : 0u);
        tables[0][b] = c;
    }
    for (std::size_t k = 1; k < 8; ++k)
        for (std::size_t b = 0; b < 256; ++b) tables[k][b] = tables[k - 1][b] >> 8 ^ tables[0][tables[k - 1][b] & 255];
    return tables;
}();

}  // namespace detail

inline namespace QNT_BASELINE {

// Of `bytes`, or with `previous` of what came before them and them.
inline std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t previous = 0) {
    const auto& t = detail::crc32c_tables;
    std::uint32_t c = ~previous;
    for (; bytes.size() >= 8; bytes = bytes.subspan(8)) {
        std::uint32_t low, high;
        std::memcpy(&low, bytes.data(), 4);
        std::memcpy(&high, bytes.data() + 4, 4);
        low ^= c;
        c = t[7][low & 255] ^ t[6][low >> 8 & 255] ^ t[5][low >> 16 & 255] ^ t[4][low >> 24] ^ t[3][high & 255] ^ t[2][high >> 8 & 255] ^
            t[1][high >> 16 & 255] ^ t[0][high >> 24];
    }
    for (const std::byte b : bytes) c = c >> 8 ^ t[0][(c ^ std::uint32_t(b)) & 255];
    return ~c;
}

}  // namespace QNT_BASELINE
}  // namespace qnt
