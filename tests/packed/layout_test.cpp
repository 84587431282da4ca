// Where bytes lie, against offsets worked out by hand from the text of packed/layout.hpp.
#include <qnt/packed/layout.hpp>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "catch.hpp"

namespace {

using qnt::info_of;
using qnt::packed_shape;
using qnt::panel_layout;
using qnt::rows_layout;

using int8_channel_f16 = qnt::format<qnt::int8_code, qnt::per_channel<qnt::f16>>;
struct three_bits {
    static constexpr const char* name = "three";
    static constexpr int bits = 3;
    static constexpr float absmax = 3;
    static constexpr std::uint8_t encode(float x) { return std::uint8_t(int(qnt::round_even(x < -3 ? -3 : x > 3 ? 3 : x)) + 4); }
    static constexpr float decode(std::uint8_t q) { return float(q) - 4.0f; }
};

}  // namespace

TEST_CASE("a shape cuts K into groups, the last one as long as what is left") {
    const packed_shape s{5, 100, 48};
    CHECK(s.groups() == 3);
    CHECK(s.group_begin(2) == 96);
    CHECK(s.group_length(0) == 48);
    CHECK(s.group_length(2) == 4);
    const packed_shape whole{5, 100, 0};
    CHECK(whole.groups() == 1);
    CHECK(whole.group_size() == 100);
    CHECK(whole.group_length(0) == 100);
    for (const std::size_t cols : {std::size_t{1}, std::size_t{15}, std::size_t{16}, std::size_t{17}, std::size_t{47}, std::size_t{48},
                                   std::size_t{49}, std::size_t{96}, std::size_t{97}})
        for (const std::size_t group : {std::size_t{0}, std::size_t{16}, std::size_t{48}, std::size_t{1024}}) {
            const packed_shape any{1, cols, group};
            std::size_t sum = 0;
            for (std::size_t g = 0; g < any.groups(); ++g) {
                CHECK(any.group_begin(g) == sum);
                CHECK(any.group_length(g) > 0);
                sum += any.group_length(g);
            }
            CAPTURE(cols, group);
            CHECK(sum == cols);
        }
}

TEST_CASE("layout::rows: codes, scales, zeros, outer, each on a line") {
    SECTION("int4:32 with f16 scales, [5, 100]") {
        const rows_layout at(info_of<qnt::int4<32>>, {5, 100, 32});
        CHECK(at.row_bytes == 50);
        CHECK(at.codes.begin == 0);
        CHECK(at.codes.bytes == 250);
        CHECK(at.scales.begin == 256);
        CHECK(at.scales.bytes == 5 * 4 * 2);
        CHECK(at.zeros.bytes == 0);
        CHECK(at.outer.bytes == 0);
        CHECK(at.buffer_bytes() == 320);
        CHECK(at.payload_bytes() == 290);
    }
    SECTION("uint4:16 with bf16 scales, [3, 33]: three groups, two bytes of zero points") {
        const rows_layout at(info_of<qnt::uint4<16, qnt::bf16>>, {3, 33, 16});
        CHECK(at.row_bytes == 17);
        CHECK(at.codes.bytes == 51);
        CHECK(at.scales.begin == 64);
        CHECK(at.scales.bytes == 18);
        CHECK(at.zero_row_bytes == 2);
        CHECK(at.zeros.begin == 128);
        CHECK(at.zeros.bytes == 6);
        CHECK(at.buffer_bytes() == 192);
        CHECK(at.payload_bytes() == 51 + 18 + 6);
    }
    SECTION("nf4_dq:64, [10, 1665]: 27 groups, 270 scales of a byte, two blocks and the offset") {
        const rows_layout at(info_of<qnt::nf4_dq<64>>, {10, 1665, 64});
        CHECK(at.row_bytes == 833);
        CHECK(at.scales.begin == 8384);  // 8330 rounded up
        CHECK(at.scales.bytes == 270);
        CHECK(at.outer.begin == 8704);
        CHECK(at.outer.bytes == 12);
        CHECK(at.buffer_bytes() == 8768);
    }
    SECTION("int8: one scale; int8_channel: one per row; dense: none") {
        CHECK(rows_layout(info_of<qnt::int8>, {7, 9, 0}).scales.bytes == 4);
        CHECK(rows_layout(info_of<qnt::int8_channel>, {7, 9, 0}).scales.bytes == 28);
        CHECK(rows_layout(info_of<int8_channel_f16>, {7, 9, 0}).scales.bytes == 14);
        const rows_layout dense(info_of<qnt::dense_format<qnt::f16>>, {7, 9, 0});
        CHECK(dense.row_bytes == 18);
        CHECK(dense.payload_bytes() == 126);
        CHECK(dense.buffer_bytes() == 128);
    }
    SECTION("3-bit codes fill bytes across codes, rows start on a byte") {
        const rows_layout at(info_of<qnt::format<three_bits, qnt::per_channel<float>>>, {4, 9, 0});
        CHECK(at.row_bytes == 4);  // 27 bits
        CHECK(at.codes.bytes == 16);
    }
}

TEST_CASE("layout::panels: a linear stream of lines, each group with its scales behind it") {
    SECTION("int4:32 with f16 scales, [17, 100]: 8 k to a line") {
        const packed_shape s{17, 100, 32};
        const panel_layout at(info_of<qnt::int4<32>>, s);
        CHECK(at.k_per_line == 8);
        CHECK(at.line == 64);
        CHECK(at.meta_bytes == 32);  // 16 f16
        CHECK(at.group_bytes == 4 * 64 + 32);
        CHECK(at.panel_bytes == 960);  // 3 * 288 + 64 + 32
        CHECK(at.panels == 2);
        CHECK(at.buffer_bytes() == 1920);
        CHECK(at.scales_at(s, 0) == 256);
        CHECK(at.scales_at(s, 2) == 2 * 288 + 256);
        CHECK(at.scales_at(s, 3) == 3 * 288 + 64);  // 4 columns are left: one line
    }
    SECTION("uint4:16 with f16 scales: 16 scales, 16 zero points, padded to 64 bytes") {
        const packed_shape s{16, 40, 16};
        const panel_layout at(info_of<qnt::uint4<16>>, s);
        CHECK(at.zero_offset == 32);
        CHECK(at.meta_bytes == 64);
        CHECK(at.group_bytes == 2 * 64 + 64);
        CHECK(at.zeros_at(s, 1) == 192 + 128 + 32);
        CHECK(at.panel_bytes == 2 * 192 + 64 + 64);
    }
    SECTION("uint4:16 with f32 scales: 64 + 16 bytes, padded to 96") {
        const panel_layout at(info_of<qnt::uint4<16, float>>, {16, 16, 16});
        CHECK(at.zero_offset == 64);
        CHECK(at.meta_bytes == 96);
        CHECK(at.panel_bytes == 256);  // 128 + 96, rounded up to a line
    }
    SECTION("nf4_dq: the panel holds the expanded f32 scales") {
        const panel_layout at(info_of<qnt::nf4_dq<64>>, {16, 64, 64});
        CHECK(at.meta_bytes == 64);
        CHECK(at.panel_bytes == 8 * 64 + 64);
    }
    SECTION("int8_channel, [33, 21]: 4 k to a line, 16 scales behind the panel") {
        const packed_shape s{33, 21, 0};
        const panel_layout at(info_of<qnt::int8_channel>, s);
        CHECK(at.k_per_line == 4);
        CHECK(at.scales_at(s, 0) == 6 * 64);
        CHECK(at.panel_bytes == 6 * 64 + 64);
        CHECK(at.panels == 3);
    }
    SECTION("q8_0, [1, 33]") {
        const packed_shape s{1, 33, 32};
        const panel_layout at(info_of<qnt::q8_0>, s);
        CHECK(at.group_bytes == 8 * 64 + 32);
        CHECK(at.scales_at(s, 1) == 544 + 64);
        CHECK(at.panel_bytes == 640);
    }
    SECTION("dense: no scales, lines of 128 and 256 bytes") {
        const panel_layout half(info_of<qnt::dense_format<qnt::bf16>>, {16, 5, 0}), word(info_of<qnt::dense_format<float>>, {16, 5, 0});
        CHECK(half.line == 128);
        CHECK(half.panel_bytes == 256);
        CHECK(half.meta_bytes == 0);
        CHECK(word.line == 256);
        CHECK(word.panel_bytes == 512);
    }
    SECTION("positions: byte [k / 4][row][k % 4], two nibbles of 4 k each in a line of 8") {
        const panel_layout bytes(info_of<qnt::int8_channel>, {16, 64, 0}), nibbles(info_of<qnt::nf4<64>>, {16, 64, 64}),
            words(info_of<qnt::dense_format<float>>, {16, 64, 0});
        CHECK(bytes.code_at(0, 0) == 0);
        CHECK(bytes.code_at(0, 3) == 3);
        CHECK(bytes.code_at(1, 0) == 4);
        CHECK(bytes.code_at(15, 3) == 63);
        CHECK(bytes.code_at(0, 4) == 64);
        CHECK(bytes.code_at(5, 11) == 2 * 64 + 5 * 4 + 3);
        CHECK(nibbles.code_at(5, 2) == 22);
        CHECK(nibbles.code_at(5, 6) == 22);
        CHECK_FALSE(nibbles.is_high_nibble(2));
        CHECK(nibbles.is_high_nibble(6));
        CHECK(nibbles.code_at(5, 10) == 64 + 22);
        CHECK_FALSE(nibbles.is_high_nibble(10));
        CHECK(nibbles.code_at(15, 63) == 7 * 64 + 63);
        CHECK(words.code_at(2, 6, 4) == 256 + (2 * 4 + 2) * 4);
    }
}

TEST_CASE("bits per weight as hand-computed") {
    const auto stored = [](auto pair) { return pair.stored; };
    const auto streamed = [](auto pair) { return pair.streamed; };
    // 768 x 768 and 3072 x 768: multiples of everything, so the formulas of the documentation hold exactly
    CHECK(stored(qnt::bits_per_weight<qnt::int8>(768, 768)) == 8 + 32.0 / (768 * 768));
    CHECK(stored(qnt::bits_per_weight<qnt::int8_channel>(768, 768)) == 8 + 32.0 / 768);
    CHECK(stored(qnt::bits_per_weight<qnt::q8_0>(768, 768)) == 8.5);
    CHECK(stored(qnt::bits_per_weight<qnt::nf4<64>>(768, 768)) == 4.5);
    CHECK(stored(qnt::bits_per_weight<qnt::nf4<64, qnt::f16>>(768, 768)) == 4.25);
    CHECK(stored(qnt::bits_per_weight<qnt::nf4_dq<64>>(768, 768)) == 4 + 8.0 / 64 + 32.0 / 64 / 256 + 32.0 / (768 * 768));
    CHECK(stored(qnt::bits_per_weight<qnt::int4<32>>(768, 768)) == 4.5);
    CHECK(stored(qnt::bits_per_weight<qnt::int4<128>>(768, 768)) == 4.125);
    CHECK(stored(qnt::bits_per_weight<qnt::uint4<64>>(768, 768)) == 4 + 16.0 / 64 + 4.0 / 64);
    CHECK(stored(qnt::bits_per_weight<qnt::uint4<32>>(768, 768)) == 4.625);
    CHECK(stored(qnt::bits_per_weight<qnt::dense_format<float>>(768, 768)) == 32);
    CHECK(stored(qnt::bits_per_weight<qnt::dense_format<qnt::f16>>(5, 3)) == 16);

    CHECK(streamed(qnt::bits_per_weight<qnt::nf4<64>>(768, 768)) == 4.5);
    CHECK(streamed(qnt::bits_per_weight<qnt::nf4_dq<64>>(768, 768)) == 4.5);  // scales expanded
    CHECK(streamed(qnt::bits_per_weight<qnt::int4<32>>(768, 768)) == 4.5);
    CHECK(streamed(qnt::bits_per_weight<qnt::uint4<64>>(768, 768)) == 4.5);  // zero points as bytes, padded
    CHECK(streamed(qnt::bits_per_weight<qnt::int8_channel>(768, 768)) == 8 + 32.0 / 768);
    CHECK(streamed(qnt::bits_per_weight<qnt::int8_channel>(17, 768)) == Approx(2 * (768 * 16 + 64) * 8.0 / (17 * 768)));  // 15 rows of padding
    CHECK(streamed(qnt::bits_per_weight<qnt::dense_format<float>>(16, 3)) == Approx(32 * 4.0 / 3));

    CHECK(qnt::storage_bytes<qnt::nf4<64>>(3, 100) == 150 + 3 * 2 * 4);
    CHECK(qnt::storage_bytes<qnt::nf4<64>>(3, 101) == 153 + 3 * 2 * 4);
    CHECK(qnt::storage_bytes<qnt::q8_0>(3, 33) == 99 + 3 * 2 * 2);
    CHECK(qnt::bits_per_weight<qnt::nf4<64>>(0, 5).stored == 0);
    STATIC_REQUIRE(qnt::storage_bytes<qnt::int8>(2, 8) == 20);
}

TEST_CASE("max_abs_error is half a step, in the unit of the weights") {
    STATIC_REQUIRE(qnt::max_abs_error<qnt::int8_channel>(127.0f) == 0.5f);
    STATIC_REQUIRE(qnt::max_abs_error<qnt::int4<32>>(14.0f) == 1.0f);
    CHECK(qnt::max_abs_error<qnt::nf4<64>>(2.0f) == Approx(2 * 0.152));
}

TEST_CASE("codes of any width are bit strings, least significant bit first") {
    std::mt19937 random(1);
    for (int bits = 1; bits <= 8; ++bits) {
        const std::size_t n = 53;
        std::vector<std::uint8_t> codes(n);
        std::vector<bool> expected;
        std::vector<std::byte> bytes((n * std::size_t(bits) + 7) / 8);
        for (std::size_t i = 0; i < n; ++i) {
            codes[i] = std::uint8_t(random() & ((1u << bits) - 1));
            for (int b = 0; b < bits; ++b) expected.push_back(codes[i] >> b & 1);
        }
        std::vector<std::size_t> order(n);
        for (std::size_t i = 0; i < n; ++i) order[i] = i * 17 % n;  // any order of writing
        for (std::byte& b : bytes) b = std::byte(random() & 255);   // what was there before must not shine through
        for (const std::size_t i : order) qnt::detail::set_bits(bytes.data(), i, bits, codes[i]);
        CAPTURE(bits);
        for (std::size_t i = 0; i < expected.size(); ++i) REQUIRE((unsigned(bytes[i / 8]) >> i % 8 & 1) == expected[i]);
        for (std::size_t i = 0; i < n; ++i) REQUIRE(qnt::detail::get_bits(bytes.data(), i, bits) == codes[i]);
        // neighbours stay as they are, and only the low bits of a code are taken
        qnt::detail::set_bits(bytes.data(), 20, bits, std::uint8_t(0xff));
        qnt::detail::set_bits(bytes.data(), 21, bits, 0);
        for (std::size_t i = 0; i < n; ++i)
            REQUIRE(qnt::detail::get_bits(bytes.data(), i, bits) == (i == 20 ? (1u << bits) - 1 : i == 21 ? 0 : codes[i]));
    }
}

TEST_CASE("scalars are stored little-endian in their type") {
    std::byte bytes[4] = {};
    qnt::detail::store_scalar(bytes, qnt::scalar_type::f32, 1.5f);
    CHECK((bytes[2] == std::byte{0xc0} && bytes[3] == std::byte{0x3f}));
    CHECK(qnt::detail::load_scalar(bytes, qnt::scalar_type::f32) == 1.5f);
    qnt::detail::store_scalar(bytes, qnt::scalar_type::f16, 1.5f);
    CHECK((bytes[0] == std::byte{0x00} && bytes[1] == std::byte{0x3e}));
    CHECK(qnt::detail::load_scalar(bytes, qnt::scalar_type::f16) == 1.5f);
    qnt::detail::store_scalar(bytes, qnt::scalar_type::bf16, -1.5f);
    CHECK((bytes[0] == std::byte{0xc0} && bytes[1] == std::byte{0xbf}));
    CHECK(qnt::detail::load_scalar(bytes, qnt::scalar_type::bf16) == -1.5f);
    CHECK(qnt::round_to(qnt::scalar_type::f16, 1.0f + 0x1p-12f) == 1.0f);
    CHECK(qnt::round_to(qnt::scalar_type::bf16, 1.0f + 0x1p-7f) == 1.0f + 0x1p-7f);
    CHECK(qnt::round_to(qnt::scalar_type::bf16, 1.0f + 0x1p-9f) == 1.0f);
    CHECK(qnt::round_to(qnt::scalar_type::f32, 1.0f + 0x1p-23f) == 1.0f + 0x1p-23f);
}
