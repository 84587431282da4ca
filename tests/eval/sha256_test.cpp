#include "eval/sha256.hpp"

#include "catch.hpp"

// The examples of NIST (FIPS 180-4 and its test vectors).
TEST_CASE("SHA-256 of the examples of its standard") {
    const auto of = [](const std::string& text) { return eval::sha256().add(text).hex(); };
    CHECK(of("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK(of("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") == "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    CHECK(of(std::string(1000000, 'a')) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("SHA-256 does not depend on how the text comes") {
    std::string text;
    for (int i = 0; i < 1000; ++i) text += char('a' + i * 7 % 26);
    for (const std::size_t step : {1u, 3u, 55u, 64u, 65u, 128u}) {
        eval::sha256 parts;
        for (std::size_t at = 0; at < text.size(); at += step) parts.add(text.substr(at, step));
        CHECK(parts.hex() == eval::sha256().add(text).hex());
    }
}
