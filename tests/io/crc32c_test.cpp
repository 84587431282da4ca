#include <qnt/io/crc32c.hpp>

#include <vector>

#include "catch.hpp"
#include "temp_folder.hpp"

using namespace qnt;

TEST_CASE("crc32c has the values of RFC 3720 and the definition, in any pieces") {
    CHECK(crc32c({}) == 0);
    CHECK(crc32c(as_bytes("123456789")) == 0xe3069283u);
    std::vector<std::byte> zeros(32), ones(32, std::byte{0xff}), up(32);
    for (std::size_t i = 0; i < 32; ++i) up[i] = std::byte(i);
    CHECK(crc32c(zeros) == 0x8a9136aau);
    CHECK(crc32c(ones) == 0x62a8ab43u);
    CHECK(crc32c(up) == 0x46dd794eu);

    std::vector<std::byte> bytes(300);
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = std::byte(i * i * 31 + i);
    for (std::size_t n = 0; n < bytes.size(); ++n) {
        std::uint32_t c = ~0u;  // bit by bit
        for (std::size_t i = 0; i < n; ++i) {
            c ^= std::uint32_t(bytes[i]);
            for (int bit = 0; bit < 8; ++bit) c = c >> 1 ^ (c & 1 ? 0x82f63b78u : 0u);
        }
        const auto whole = std::span<const std::byte>(bytes).first(n);
        CHECK(crc32c(whole) == ~c);
        CHECK(crc32c(whole.subspan(n / 3), crc32c(whole.first(n / 3))) == ~c);
    }
}
