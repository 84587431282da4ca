#include <qnt/io/gguf_blocks.hpp>
#include <qnt/io/safetensors.hpp>
#include <qnt/thread_pool.hpp>

#include <cmath>
#include <iterator>
#include <random>

#include "npy.hpp"
#include "support.hpp"

using namespace qnt;
using test::same_bits;

namespace {

constexpr std::size_t block_rows = 36, block_cols = 256;

template <class T> test::npy<T> adversarial(const std::string& name) {
    return test::read_npy<T>(QNT_SOURCE_DIR "/tests/data/goldens/adversarial/" + name + ".npy");
}
std::span<const std::byte> bytes_of(const std::uint8_t* p, std::size_t n) { return std::as_bytes(std::span(p, n)); }
bool same_bytes(std::span<const std::byte> a, std::span<const std::byte> b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); }
bool is_finite_row(const float* x, std::size_t n) {
    return std::all_of(x, x + n, [](float v) { return std::isfinite(v); });
}
// The numbers of NaN too: ggml's bits of a NaN depend on the order of its operands, its place does not.
bool same_numbers(std::span<const float> a, std::span<const float> b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](float x, float y) {
        return std::bit_cast<std::uint32_t>(x) == std::bit_cast<std::uint32_t>(y) || (std::isnan(x) && std::isnan(y));
    });
}

const gguf_type with_goldens[] = {gguf_type::q8_0, gguf_type::q4_0, gguf_type::q4_1,   gguf_type::q5_0,  gguf_type::q5_1,   gguf_type::q4_k,
                                  gguf_type::q5_k, gguf_type::q6_k, gguf_type::iq4_nl, gguf_type::mxfp4, gguf_type::iq4_xs, gguf_type::nvfp4};

const gguf_type_info& info(gguf_type t) { return *find_gguf_type(std::uint32_t(t)); }

// 768 x 768, rows of the goldens in real/; empty if it is not there.
std::vector<float> real_rows() {
    const std::string path = QNT_SHARED_DIR "/data/gpt2_attention/gpt2_124m_attention_subset.safetensors";
    if (!test::file_exists(path)) {
        WARN("skipped: " << path << " is not there");
        return {};
    }
    const auto stored = safetensors_file::load(path).value().read_f32("h.5.attn.k.weight").value();
    std::vector<float> rows(stored.size());
    for (std::size_t r = 0; r < 768; ++r)
        for (std::size_t c = 0; c < 768; ++c) rows[r * 768 + c] = stored[c * 768 + r];
    return rows;
}

}  // namespace

TEST_CASE("gguf blocks: every type decodes to ggml's numbers, denormals and infinite scales too") {
    thread_pool pool(3);
    for (const gguf_type type : with_goldens) {
        INFO(info(type).name);
        const auto blocks = adversarial<std::uint8_t>(std::string("ggml_") + info(type).name);
        const auto decoded = adversarial<float>(std::string("ggml_") + info(type).name + "_deq");
        REQUIRE(blocks.cols() == block_cols / info(type).block * info(type).bytes);
        REQUIRE(decoded.size() == block_rows * block_cols);
        std::vector<float> out(decoded.size());
        REQUIRE(gguf_decode(std::uint32_t(type), bytes_of(blocks.data(), blocks.size()), out));
        CHECK(same_numbers(out, decoded));
        std::size_t finite_rows = 0;
        for (std::size_t r = 0; r < block_rows; ++r) {
            if (!is_finite_row(decoded.row(r), block_cols)) continue;
            ++finite_rows;
            CHECK(same_bits({&out[r * block_cols], block_cols}, {decoded.row(r), block_cols}));
        }
        CHECK(finite_rows >= 25);

        // The same over and over, on threads, with every byte of the blocks.
        const std::size_t copies = 40;
        std::vector<std::byte> many;
        for (std::size_t i = 0; i < copies; ++i)
            many.insert(many.end(), bytes_of(blocks.data(), blocks.size()).begin(), bytes_of(blocks.data(), blocks.size()).end());
        std::vector<float> threaded(copies * out.size());
        REQUIRE(gguf_decode(std::uint32_t(type), many, threaded, pool));
        for (std::size_t i = 0; i < copies; ++i) CHECK(same_numbers({&threaded[i * out.size()], out.size()}, out));
    }
}

// No goldens: element by element from the text of the format, in double arithmetic (exact here).
TEST_CASE("gguf blocks: Q2_K and Q3_K by their definition") {
    std::mt19937 random(9);
    for (int round = 0; round < 50; ++round) {
        std::uint8_t b[110];
        for (std::uint8_t& v : b) v = std::uint8_t(random());
        b[81] &= 0xbb, b[83] &= 0xbb, b[109] &= 0xbb;  // finite scales
        const auto half_at = [&](std::size_t at) { return double(float(f16::from_bits(std::uint16_t(b[at] | b[at + 1] << 8)))); };
        float q2[256], q3[256];
        REQUIRE(gguf_decode(10, bytes_of(b, 84), q2));
        REQUIRE(gguf_decode(11, bytes_of(b, 110), q3));
        const auto bit = [&](std::size_t byte, std::size_t n) { return b[byte] >> n & 1; };
        for (std::size_t i = 0; i < 256; ++i) {
            const std::size_t pair = i / 32 % 4 * 2, in_32 = i % 32, of_128 = i / 128, group = i / 16;
            const auto two_bits = [&](std::size_t from) {
                return bit(from + of_128 * 32 + in_32, pair) + 2 * bit(from + of_128 * 32 + in_32, pair + 1);
            };
            const double scale2 = half_at(80) * (b[group] % 16), minimum2 = half_at(82) * (b[group] / 16);
            CHECK(q2[i] == float(scale2 * two_bits(16) - minimum2));
            int scale3 = -32;  // bits 0..3 in bytes 96..103, bits 4..5 in bytes 104..107
            for (std::size_t n = 0; n < 4; ++n) scale3 += bit(96 + group % 8, n + group / 8 * 4) << n;
            for (std::size_t n = 0; n < 2; ++n) scale3 += bit(104 + group % 4, n + group / 4 * 2) << (4 + n);
            CHECK(q3[i] == float(half_at(108) * scale3 * (two_bits(32) - (bit(in_32, i / 32) ? 0 : 4))));
        }
    }
}

TEST_CASE("gguf blocks: decoding stays inside of its blocks and its output") {
    for (std::size_t id = 0; id < 64; ++id) {
        const gguf_type_info* t = find_gguf_type(std::uint32_t(id));
        if (!t || !t->decodes) continue;
        INFO(t->name);
        for (const bool at_start : {false, true})
            for (const std::size_t n : {0u, 1u, 3u}) {
                test::guarded<std::uint8_t> blocks(n * t->bytes, at_start);
                test::guarded<float> out(n * t->block, at_start);
                for (std::size_t i = 0; i < n * t->bytes; ++i) blocks.data()[i] = std::uint8_t(i * 37);
                REQUIRE(gguf_decode(std::uint32_t(id), bytes_of(blocks.data(), n * t->bytes), out.span()));
            }
    }
}

TEST_CASE("gguf blocks: dense types") {
    const float numbers[] = {0, -0.0f, 1, -2.5f, 65504, 0x1p-24f, -0x1.8p-20f, 0x1p-14f};
    for (const gguf_type type : {gguf_type::f32, gguf_type::f16, gguf_type::bf16}) {
        const auto bytes = gguf_encode(type, numbers).value();
        REQUIRE(bytes.size() == std::size(numbers) * info(type).bytes);
        float back[std::size(numbers)];
        REQUIRE(gguf_decode(std::uint32_t(type), bytes, back));
        for (std::size_t i = 0; i < std::size(numbers); ++i)
            CHECK(same_bits({&back[i], 1}, std::vector<float>{type == gguf_type::bf16 && i == 4 ? 65536.0f : numbers[i]}));
    }
    const float f[] = {1.5f, -2};
    CHECK(same_bytes(gguf_encode(gguf_type::f16, f).value(), std::as_bytes(std::span<const std::uint8_t>({0x00, 0x3e, 0x00, 0xc0}))));
    CHECK(same_bytes(gguf_encode(gguf_type::bf16, f).value(), std::as_bytes(std::span<const std::uint8_t>({0xc0, 0x3f, 0x00, 0xc0}))));
    CHECK(same_bytes(gguf_encode(gguf_type::f32, f).value(), std::as_bytes(std::span(f))));
    const float large[] = {1, 65520};
    CHECK(gguf_encode(gguf_type::f16, large).error().message == "qnt::gguf_encode: element 1 (65520) overflows F16");
    CHECK(gguf_encode(gguf_type::bf16, std::vector<float>{3.4e38f}).error().code == errc::scale_range);
    for (const gguf_type type : {gguf_type::f32, gguf_type::f16, gguf_type::bf16})
        CHECK(gguf_encode(type, std::vector<float>{1, 2, -INFINITY}).error().message == "qnt::gguf_encode: element 2 is not a finite number");
}

TEST_CASE("gguf blocks: adversarial numbers become ggml's bytes, what would become infinite or NaN an error") {
    const auto x = adversarial<float>("inputs");
    for (const gguf_type type : {gguf_type::q8_0, gguf_type::q4_0, gguf_type::q4_1}) {
        INFO(info(type).name);
        const std::size_t size = info(type).bytes;
        const auto blocks = adversarial<std::uint8_t>(std::string("ggml_") + info(type).name);
        std::size_t compared = 0, refused = 0, overflowing = 0;
        for (std::size_t r = 0; r < block_rows; ++r)
            for (std::size_t b = 0; b < 8; ++b) {
                INFO("row " << r << ", block " << b);
                const auto mine = gguf_encode(type, {x.row(r) + 32 * b, 32});
                const std::uint8_t* theirs = blocks.row(r) + size * b;
                if (!is_finite_row(x.row(r) + 32 * b, 32)) {
                    CHECK(mine.error().code == errc::not_finite);
                    ++refused;
                } else if ((theirs[1] & 0x7c) == 0x7c || (type == gguf_type::q4_1 && (theirs[3] & 0x7c) == 0x7c)) {
                    CHECK(mine.error().code == errc::scale_range);
                    ++overflowing;
                } else {
                    REQUIRE(mine.has_value());
                    CHECK(same_bytes(*mine, bytes_of(theirs, size)));
                    ++compared;
                }
            }
        CHECK(compared + refused + overflowing == block_rows * 8);
        CHECK(compared >= 230);
        CHECK(refused >= 5);
        CHECK(overflowing >= 2);
    }
    // On threads the first bad block is named.
    std::vector<float> many(64 * 1000, 1.0f);
    many[32 * 1999 + 3] = many[32 * 777 + 5] = NAN;
    thread_pool pool(3);
    CHECK(gguf_encode(gguf_type::q4_0, many, pool).error().message ==
          "qnt::gguf_encode: element " + std::to_string(32 * 777 + 5) + " is not a finite number");
    many[32 * 777 + 5] = 3e38f;
    CHECK(gguf_encode(gguf_type::q8_0, many, pool).error().message ==
          "qnt::gguf_encode: block 777 (elements from 24864): its f16 scale or minimum of Q8_0 overflows; scale the weights down");
}

TEST_CASE("gguf blocks: a real matrix becomes ggml's bytes") {
    const std::vector<float> x = real_rows();
    if (x.empty()) return;
    thread_pool pool(2);
    for (const auto& [type, name] : {std::pair(gguf_type::q8_0, "Q8_0"), {gguf_type::q4_0, "Q4_0"}, {gguf_type::q4_1, "Q4_1_rows0_31"}}) {
        INFO(name);
        const auto theirs = test::load_shared<std::uint8_t>("data/goldens/real/ggml_" + std::string(name) + ".npy");
        if (!theirs) continue;
        REQUIRE(theirs->cols() == 768 / 32 * info(type).bytes);
        const auto mine = gguf_encode(type, std::span(x).first(theirs->rows() * 768), pool).value();
        CHECK(same_bytes(mine, bytes_of(theirs->data(), theirs->size())));
    }
}

TEST_CASE("gguf blocks: what cannot be done says why") {
    std::vector<float> x(96, 1);
    std::vector<std::byte> b(102);
    CHECK(gguf_decode(77, b, x).error().message == "qnt::gguf_decode: type 77 is unknown");
    CHECK(gguf_decode(4, b, x).error().code == errc::unsupported);
    CHECK(gguf_decode(16, b, x).error().message == "qnt::gguf_decode: IQ2_XXS is not decoded");
    CHECK(gguf_decode(8, b, x));
    CHECK(gguf_decode(8, std::span(b).first(101), x).error().code == errc::invalid_argument);
    CHECK(gguf_decode(8, b, std::span(x).first(95)).error().message ==
          "qnt::gguf_decode: 102 bytes of Q8_0 to 95 numbers: a block is 34 bytes and 32 numbers");
    CHECK(gguf_decode(8, b, std::span(x).first(64)).error().code == errc::invalid_argument);
    CHECK(gguf_encode(gguf_type::q4_k, x).error().code == errc::unsupported);
    CHECK(gguf_encode(static_cast<gguf_type>(99), x).error().code == errc::unsupported);
    CHECK(gguf_encode(gguf_type::q8_0, std::span(x).first(33)).error().code == errc::invalid_argument);
    CHECK(gguf_encode(gguf_type::q8_0, x, std::span(b).first(68)).error().code == errc::invalid_argument);
    for (std::uint32_t id : {4u, 5u, 31u, 36u, 38u, 43u, ~0u}) CHECK(find_gguf_type(id) == nullptr);
    CHECK(find_gguf_type(14)->name == std::string("Q6_K"));
    CHECK(find_gguf_type(14)->bytes == 210);
}

TEST_CASE("gguf blocks: packed matrices go to blocks and decode to the same numbers") {
    const std::size_t rows = 37, cols = 96;
    const auto x = test::random_floats(rows * cols, 7);
    thread_pool pool(2);
    for (const auto& [text, type] : {std::pair("int8:32", gguf_type::q8_0),
                                     {"int4:32", gguf_type::q4_0},
                                     {"f32", gguf_type::f32},
                                     {"f16", gguf_type::f16},
                                     {"bf16", gguf_type::bf16}}) {
        INFO(text);
        const any_format format = any_format::parse(text).value();
        CHECK(grid_of(type) == format);
        CHECK(gguf_type_of(format) == type);
        const auto w = quantize(matrix_view<const float>{x.data(), rows, cols}, format).value();
        const auto blocks = gguf_encode(w.view(), pool).value();
        std::vector<float> theirs(rows * cols), ours(rows * cols);
        REQUIRE(gguf_decode(std::uint32_t(type), blocks, theirs));
        dequantize(matrix_view<float>{ours.data(), rows, cols}, w.view());
        CHECK(same_bits(theirs, ours));
    }
    for (const char* text : {"int8:64", "int8:32:f32", "int8", "int8_channel", "nf4:32", "uint4:32", "int4:32:bf16", "int4:64"}) {
        INFO(text);
        const any_format format = any_format::parse(text).value();
        CHECK(!gguf_type_of(format));
        const auto w = quantize(matrix_view<const float>{x.data(), rows, cols}, format).value();
        const error e = gguf_encode(w.view()).error();
        CHECK(e.code == errc::unsupported);
        CHECK(e.message.find(text) != std::string::npos);
    }
    const auto odd = quantize(matrix_view<const float>{x.data(), 4, 40}, any_format::parse("int8:32").value()).value();
    CHECK(gguf_encode(odd.view()).error().message.find("rows of 40 numbers are not whole blocks of 32") != std::string::npos);
    for (const gguf_type type : {gguf_type::q4_1, gguf_type::q5_0, gguf_type::iq4_nl, gguf_type::mxfp4, gguf_type::q6_k, gguf_type::i8})
        CHECK(!grid_of(type));
}
