// SHA-256 (FIPS 180-4): which text, which model a figure belongs to, as `sha256sum` says it.
#pragma once
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

namespace eval {

class sha256 {
public:
    sha256& add(std::span<const std::byte> bytes) {
        size_ += bytes.size();
        while (!bytes.empty()) {
            const std::size_t n = std::min(bytes.size(), block_.size() - used_);
            std::memcpy(block_.data() + used_, bytes.data(), n);
            bytes = bytes.subspan(n);
            if ((used_ += n) == block_.size()) {
                compress();
                used_ = 0;
            }
        }
        return *this;
    }
    sha256& add(const std::string& text) { return add(std::as_bytes(std::span(text))); }

    std::string hex() const {
        sha256 last = *this;  // with the padding: a bit, zeros, the length in bits
        const std::uint64_t bits = 8 * size_;
        std::string padding(1 + (119 - used_ % 64) % 64, '\0');
        padding[0] = '\x80';
        for (int shift = 56; shift >= 0; shift -= 8) padding += char(bits >> shift & 255);
        last.add(padding);
        std::string out;
        for (const std::uint32_t word : last.state_)
            for (int shift = 28; shift >= 0; shift -= 4) out += "0123456789abcdef"[word >> shift & 15];
        return out;
    }

private:
    void compress() {
        static constexpr std::array<std::uint32_t, 64> k{
            0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
            0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
            0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
            0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
            0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
            0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
        std::array<std::uint32_t, 64> w;
        for (std::size_t t = 0; t < 16; ++t) {
            std::uint32_t word = 0;
            for (std::size_t i = 0; i < 4; ++i) word = word << 8 | std::to_integer<std::uint32_t>(block_[4 * t + i]);
            w[t] = word;
        }
        const auto small = [](std::uint32_t x, int a, int b, int shift) { return std::rotr(x, a) ^ std::rotr(x, b) ^ x >> shift; };
        const auto big = [](std::uint32_t x, int a, int b, int c) { return std::rotr(x, a) ^ std::rotr(x, b) ^ std::rotr(x, c); };
        for (std::size_t t = 16; t < 64; ++t) w[t] = small(w[t - 2], 17, 19, 10) + w[t - 7] + small(w[t - 15], 7, 18, 3) + w[t - 16];
        auto [a, b, c, d, e, f, g, h] = state_;
        for (std::size_t t = 0; t < 64; ++t) {
            const std::uint32_t t1 = h + big(e, 6, 11, 25) + ((e & f) ^ (~e & g)) + k[t] + w[t];
            const std::uint32_t t2 = big(a, 2, 13, 22) + ((a & b) ^ (a & c) ^ (b & c));
            h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
        }
        const std::array<std::uint32_t, 8> sum{a, b, c, d, e, f, g, h};
        for (std::size_t i = 0; i < 8; ++i) state_[i] += sum[i];
    }

    std::array<std::uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    std::array<std::byte, 64> block_{};
    std::size_t used_ = 0, size_ = 0;
};

}  // namespace eval
