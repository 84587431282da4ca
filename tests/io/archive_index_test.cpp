#include <qnt/io/archive.hpp>

#include <bit>
#include <cmath>
#include <deque>

#include "catch.hpp"
#include "temp_folder.hpp"

using namespace qnt;

// tests/data/golden-1.0.qnt must stay readable for ever, and the writer must go on making it. What it holds is computed here in another
// way: weights that are a code times a power of two, and their bytes by the text of packed/layout.hpp, without the library's layout,
// encoders or half-precision numbers. It was made once, by the first writer of version 1.0:
//     build/release/bin/tests_io "[.golden]"
namespace {

const std::string golden_path = QNT_SOURCE_DIR "/tests/data/golden-1.0.qnt";

// Bytes of a number that the type holds exactly, not subnormal.
std::string bytes_of(float value, scalar_type type) {
    const auto u = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t half = value == 0 ? 0 : (u >> 16 & 0x8000) | (((u >> 23 & 255) - 112) << 10 | (u >> 13 & 1023));
    const std::uint32_t bits = type == scalar_type::f32 ? u : type == scalar_type::bf16 ? u >> 16 : half;
    std::string s;
    for (int i = 0; i < (type == scalar_type::f32 ? 4 : 2); ++i) s += static_cast<char>(bits >> 8 * i);
    return s;
}

struct golden_matrix {
    std::string format;
    std::size_t rows, cols, group;  // columns to a scale; 0: the row, or the matrix
    int bits;                       // 4, 8: of a code; 16, 32: of a number, which has no scale
    scalar_type scale;              // or the number's own type
    int zero_code;

    std::size_t length() const { return group ? group : cols; }
    bool is_dense() const { return bits > 8; }
    bool is_tensor() const { return format == "int8"; }
    bool has_zero_point() const { return format.starts_with("uint4"); }
    bool is_zero_row(std::size_t r) const { return r == 2 && !is_dense() && !is_tensor(); }
    int zero_point(std::size_t r, std::size_t c) const { return has_zero_point() && !is_zero_row(r) ? int(3 + r + c / length()) % 16 : 0; }
    float scale_of(std::size_t r, std::size_t c) const {
        if (is_zero_row(r)) return 0;
        return is_tensor() ? 0.25f : format == "nf4_dq:64" ? 0.5f : std::ldexp(1.0f, int((r + 2 * (c / length())) % 5) - 4);
    }
    // As a panel stores it: int8 in two's complement, int4 plus 8, nf4 and uint4 as they are. The first two of a group are its largest.
    int code(std::size_t r, std::size_t c) const {
        if (is_zero_row(r)) return zero_code;
        const std::size_t k = is_tensor() ? r * cols + c : c % length();
        if (bits == 8) return k == 0 ? 127 : int((r * 31 + c * 57) % 255) - 127;
        if (format.starts_with("int4")) return k == 0 ? 15 : 1 + int((r * 5 + c * 3) % 15);
        return k == 0 ? 15 : k == 1 ? 0 : int((r * 5 + c * 7) % 16);
    }
    float value(std::size_t r, std::size_t c) const {
        // Dettmers et al. 2023 (arXiv:2305.14314), appendix E
        constexpr float nf4[16] = {-1.0f,
                                   -0.6961928009986877f,
                                   -0.5250730514526367f,
                                   -0.39491748809814453f,
                                   -0.28444138169288635f,
                                   -0.18477343022823334f,
                                   -0.09105003625154495f,
                                   0.0f,
                                   0.07958029955625534f,
                                   0.16093020141124725f,
                                   0.24611230194568634f,
                                   0.33791524171829224f,
                                   0.44070982933044434f,
                                   0.5626170039176941f,
                                   0.7229568362236023f,
                                   1.0f};
        if (is_dense()) return 0.25f * float(int((r * 7 + c * 5) % 33) - 16);
        const int q = code(r, c);
        const float level = format.starts_with("nf4") ? nf4[q] : has_zero_point() ? float(q - zero_point(r, c)) : bits == 4 ? float(q - 8) : float(q);
        return level * scale_of(r, c);
    }
    std::vector<float> weights() const {
        std::vector<float> w;
        for (std::size_t r = 0; r < rows; ++r)
            for (std::size_t c = 0; c < cols; ++c) w.push_back(value(r, c));
        return w;
    }
    std::string panels() const {
        std::string out;
        for (std::size_t first = 0; first < rows; first += 16) {
            for (std::size_t begin = 0; begin < cols; begin += length()) {
                const std::size_t end = std::min(cols, begin + length()), step = bits == 4 ? 8 : 4;
                for (std::size_t k = begin; k < end; k += step)
                    for (std::size_t r = first; r < first + 16; ++r)
                        for (std::size_t c = k; c < k + 4; ++c) {
                            const auto at = [&](std::size_t col) { return r < rows && col < end ? code(r, col) : zero_code; };
                            if (is_dense()) out += bytes_of(r < rows && c < end ? value(r, c) : 0, scale);
                            else out += static_cast<char>(bits == 8 ? at(c) : at(c) | at(c + 4) << 4);
                        }
                if (is_dense()) continue;
                for (std::size_t r = first; r < first + 16; ++r) out += bytes_of(r < rows ? scale_of(r, begin) : 0, scale);
                if (!has_zero_point()) continue;
                for (std::size_t r = first; r < first + 16; ++r) out += static_cast<char>(r < rows ? zero_point(r, begin) : 0);
                out.append((32 - (has_zero_point() ? 16 + 16 * bytes_of(1, scale).size() : 0) % 32) % 32, '\0');
            }
            out.append((64 - out.size() % 64) % 64, '\0');
        }
        return out;
    }
};

const std::vector<golden_matrix> matrices = {
    {"f32", 3, 5, 0, 32, scalar_type::f32, 0},          {"f16", 2, 5, 0, 16, scalar_type::f16, 0},
    {"bf16", 2, 5, 0, 16, scalar_type::bf16, 0},        {"int8", 3, 6, 0, 8, scalar_type::f32, 0},
    {"int8_channel", 17, 5, 0, 8, scalar_type::f32, 0}, {"int8:16", 3, 20, 16, 8, scalar_type::f16, 0},
    {"nf4:64", 3, 70, 64, 4, scalar_type::f32, 7},      {"nf4_dq:64", 2, 64, 64, 4, scalar_type::f32, 7},
    {"int4:32", 3, 40, 32, 4, scalar_type::f16, 8},     {"int4:16:f32", 18, 16, 16, 4, scalar_type::f32, 8},
    {"uint4:16", 4, 18, 16, 4, scalar_type::f16, 0},    {"uint4:32:bf16", 1, 9, 32, 4, scalar_type::bf16, 0},
};
const std::vector<float> numbers = {1.5f, -2, 0, 0.25f, 1024, -0.5f};
const archive_metadata metadata = {{"source", "golden"}, {"caf\xc3\xa9", "two\nlines"}, {"", ""}};

void write_golden(const std::string& path) {
    std::deque<any_matrix> quantized;
    archive_writer out;
    for (const golden_matrix& m : matrices) {
        const auto w = m.weights();
        quantized.push_back(quantize(matrix_view<const float>{w.data(), m.rows, m.cols}, any_format::parse(m.format).value()).value());
        out.add("matrix " + m.format, quantized.back().view()).value();
    }
    std::vector<f16> halves;
    std::vector<bf16> brains;
    for (const float x : numbers) halves.push_back(f16(x)), brains.push_back(bf16(x));
    out.add("array f32", numbers, {2, 3}).value();
    out.add("array f16", halves).value();
    out.add("array bf16", brains, {1, 6, 1}).value();
    out.add("empty", std::vector<float>{}, {3, 0}).value();
    for (const auto& [key, value] : metadata) out.set_metadata(key, value).value();
    out.finish(path).value();
}

std::string text_of(std::span<const std::byte> bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

}  // namespace

TEST_CASE("make the golden archive, where there is none", "[.golden]") {
    REQUIRE_FALSE(std::filesystem::exists(golden_path));
    write_golden(golden_path);
}

TEST_CASE("the golden archive of version 1.0 is read, and has the bytes that its text says") {
    const bool load = GENERATE(false, true);
    const auto a = (load ? archive::load(golden_path) : archive::map(golden_path)).value();
    REQUIRE(a.verify());
    CHECK(a.bytes() <= 16384);
    CHECK(a.metadata() == metadata);
    REQUIRE(a.tensors().size() == matrices.size() + 4);
    for (std::size_t i = 0; i < matrices.size(); ++i) {
        const golden_matrix& m = matrices[i];
        const archive_tensor& t = a.tensors()[i];
        INFO(m.format);
        CHECK(t.name == "matrix " + m.format);
        CHECK(t.format.name() == m.format);
        CHECK(t.layout == archive_layout::panels);
        CHECK(t.shape == std::vector<std::size_t>{m.rows, m.cols});
        CHECK(text_of(t.data) == m.panels());
        std::vector<float> decoded(m.rows * m.cols);
        dequantize(matrix_view<float>{decoded.data(), m.rows, m.cols}, a.get_any(t.name).value());
        CHECK(decoded == m.weights());
    }
    const auto array = [&](const char* name, scalar_type type, const std::vector<std::size_t>& shape) {
        const archive_tensor& t = *a.find(name).value();
        CHECK(t.layout == archive_layout::array);
        CHECK(t.format.name() == name_of(type));
        CHECK(t.shape == shape);
        std::string bytes;
        for (const float x : numbers) bytes += bytes_of(x, type);
        CHECK(text_of(t.data) == bytes);
        CHECK(a.read_f32(name).value() == numbers);
    };
    array("array f32", scalar_type::f32, {2, 3});
    array("array f16", scalar_type::f16, {6});
    array("array bf16", scalar_type::bf16, {1, 6, 1});
    CHECK(a.find("empty").value()->data.empty());
    CHECK(a.find("empty").value()->shape == std::vector<std::size_t>{3, 0});
}

TEST_CASE("the writer makes the golden archive, byte for byte") {
    const temp_folder folder;
    write_golden(folder / "again.qnt");
    CHECK(text_of(folder / "again.qnt") == text_of(golden_path));
}
