#include <qnt/io/bitsandbytes.hpp>

#include <cmath>

#include "../npy.hpp"
#include "../support.hpp"
#include "../to_float.hpp"
#include "safetensors_builder.hpp"

using namespace qnt;
using dtype = safetensors_dtype;
using kind = bitsandbytes_kind;

namespace {

template <class T> test::npy<T> golden(const std::string& name) {
    return test::read_npy<T>(std::string(QNT_SOURCE_DIR) + "/tests/data/goldens/adversarial/" + name + ".npy");
}
std::vector<std::size_t> finite_rows() {
    const auto bad = golden<std::uint8_t>("nonfinite_rows");
    std::vector<std::size_t> rows;
    for (std::size_t r = 0; r < bad.size(); ++r)
        if (!bad[r]) rows.push_back(r);
    return rows;
}
template <class T> std::vector<T> take_rows(const test::npy<T>& all, std::size_t per_row) {
    std::vector<T> out;
    for (const std::size_t r : finite_rows()) out.insert(out.end(), all.data() + r * per_row, all.data() + (r + 1) * per_row);
    return out;
}

// Written by hand, so that readers are not tested with our own writer.
const double fp4_twelfths[16] = {0, 0.0625, 8, 12, 4, 6, 2, 3, 0, -0.0625, -8, -12, -4, -6, -2, -3};
std::vector<float> table_of(kind k) {
    std::vector<float> t;
    for (std::size_t q = 0; q < 16; ++q) t.push_back(k == kind::fp4 ? float(fp4_twelfths[q] / 12) : nf4_code::values[q]);
    return t;
}
named_array text_array(const std::string& name, const std::string& text) {
    return test::array_of(name, dtype::u8, {text.size()}, std::vector<char>(text.begin(), text.end()));
}
std::vector<named_array> plain(kind k, std::size_t rows, std::size_t cols, std::size_t blocksize, const std::vector<std::uint8_t>& packed,
                               const std::vector<float>& absmax) {
    const std::string type = k == kind::nf4 ? "nf4" : "fp4";
    return {test::array_of("fc.weight", dtype::u8, {packed.size(), 1}, packed),
            test::array_of("fc.weight.absmax", dtype::f32, {absmax.size()}, absmax),
            test::array_of("fc.weight.quant_map", dtype::f32, {16}, table_of(k)),
            text_array("fc.weight.quant_state.bitsandbytes__" + type,
                       "{\"quant_type\": \"" + type + "\", \"blocksize\": " + std::to_string(blocksize) + ", \"dtype\": \"float32\", \"shape\": [" +
                           std::to_string(rows) + ", " + std::to_string(cols) + "]}")};
}
// Random codes and absmax.
struct sample {
    std::vector<std::uint8_t> packed;
    std::vector<float> absmax, values;  // values: decoded, [n]
};
sample random_sample(kind k, std::size_t n, std::size_t blocksize, unsigned seed) {
    sample s;
    std::mt19937 random(seed);
    const auto table = table_of(k);
    for (std::size_t b = 0; b * blocksize < n; ++b) s.absmax.push_back(float(random() % 100'000 + 1) * 1e-5f);
    std::vector<unsigned> codes(n + n % 2);
    for (std::size_t i = 0; i < n; ++i) codes[i] = random() % 16;
    for (std::size_t i = 0; i < n; i += 2) s.packed.push_back(std::uint8_t(codes[i] * 16 + codes[i + 1]));
    for (std::size_t i = 0; i < n; ++i) s.values.push_back(float(double(table[codes[i]]) * double(s.absmax[i / blocksize])));
    return s;
}

std::vector<named_array> written(const std::vector<float>& x, std::size_t rows, std::size_t cols, const bitsandbytes_options& o) {
    return write_bitsandbytes("fc.weight", {x.data(), rows, cols}, o).value();
}
template <class T> std::vector<T> values_in(const named_array& a) {
    std::vector<T> v(a.bytes.size() / sizeof(T));
    std::memcpy(v.data(), a.bytes.data(), a.bytes.size());
    return v;
}
std::string text_in(const named_array& a) { return {reinterpret_cast<const char*>(a.bytes.data()), a.bytes.size()}; }
std::string refusal(const std::vector<named_array>& tensors, errc code) {
    const test::safetensors_image image(tensors);
    const auto file = image.file();
    const auto w = read_bitsandbytes(file, "fc.weight");
    REQUIRE_FALSE(w.has_value());
    INFO(w.error().message);
    CHECK(w.error().code == code);
    CHECK(w.error().message.find("image: tensor \"fc.") == 0);
    return w.error().message;
}
}  // namespace

TEST_CASE("bitsandbytes: 4-bit goldens are read to the bit, and written byte for byte") {
    const kind k = GENERATE(kind::nf4, kind::fp4);
    const std::string type = name_of(k);
    const auto packed = take_rows(golden<std::uint8_t>(type + "_b64_packed"), 128);
    const auto absmax = take_rows(golden<float>(type + "_b64_absmax"), 4), expected = take_rows(golden<float>(type + "_b64_deq"), 256);
    const auto x = take_rows(golden<float>("inputs"), 256);
    const std::size_t rows = x.size() / 256;
    REQUIRE(rows == 31);

    const test::safetensors_image image(plain(k, rows, 256, 64, packed, absmax));
    const auto file = image.file();
    const any_matrix w = read_bitsandbytes(file, "fc.weight").value();
    CHECK(w.format().name() == (k == kind::nf4 ? "nf4:64" : "fp4_bnb:64"));
    CHECK(test::same_bits(test::decoded(w), expected));
    test::chaotic_executor threads;
    CHECK(test::same_bits(read_bitsandbytes_f32(file, "fc.weight", threads).value(), expected));

    auto out = written(x, rows, 256, {.kind = k});
    REQUIRE(out.size() == 4);
    CHECK(values_in<std::uint8_t>(out[0]) == packed);
    CHECK(out[0].shape == std::vector<std::size_t>{packed.size(), 1});
    CHECK(test::same_bits(values_in<float>(out[1]), absmax));
    CHECK(out[3].name == "fc.weight.quant_state.bitsandbytes__" + type);
    CHECK(text_in(out[3]) == "{\"quant_type\": \"" + type + "\", \"blocksize\": 64, \"dtype\": \"float32\", \"shape\": [31, 256]}");
    const test::safetensors_image again(out);
    CHECK(std::ranges::equal(read_bitsandbytes(again.file(), "fc.weight").value().bytes(), w.bytes()));
}

TEST_CASE("bitsandbytes: odd lengths and short last blocks") {
    for (const std::size_t n : {std::size_t{1}, std::size_t{2}, std::size_t{3}, std::size_t{31}, std::size_t{33}, std::size_t{63}, std::size_t{65},
                                std::size_t{100}, std::size_t{127}, std::size_t{129}, std::size_t{255}, std::size_t{257}, std::size_t{1000}}) {
        const std::string name = "odd" + std::to_string(n);
        INFO(name);
        const auto x = golden<float>(name + "_input"), absmax = golden<float>(name + "_nf4_absmax"), expected = golden<float>(name + "_nf4_deq");
        const auto packed = golden<std::uint8_t>(name + "_nf4_packed");
        const test::safetensors_image image(plain(kind::nf4, 1, n, 64, packed, absmax));
        CHECK(test::same_bits(test::decoded(read_bitsandbytes(image.file(), "fc.weight").value()), expected));
        CHECK(test::same_bits(read_bitsandbytes_f32(image.file(), "fc.weight").value(), expected));
        const auto out = written(x, 1, n, {});
        CHECK(values_in<std::uint8_t>(out[0]) == packed);
        CHECK(test::same_bits(values_in<float>(out[1]), absmax));
        // a column of n rows has the same flattened numbers, and blocks across rows
        const auto column = written(x, n, 1, {});
        CHECK(values_in<std::uint8_t>(column[0]) == packed);
        CHECK(test::same_bits(values_in<float>(column[1]), absmax));
    }
}

TEST_CASE("bitsandbytes: nested absmax expand as bitsandbytes does it") {
    const kind k = GENERATE(kind::nf4, kind::fp4);
    const std::size_t rows = 40, cols = 512, blocks = rows * cols / 32;
    sample s = random_sample(k, rows * cols, 32, 5);
    std::mt19937 random(6);
    std::vector<std::uint8_t> inner;
    for (std::size_t i = 0; i < blocks; ++i) inner.push_back(std::uint8_t(random() % 256));
    const std::vector<float> outer{0.031f, 0.07f, 0.0011f};
    REQUIRE(ceil_div(blocks, 256) == outer.size());
    const float offset = 0.1234567f;
    const std::vector<float> map(dynamic_u8::values.begin(), dynamic_u8::values.end()), table = table_of(k);
    const std::string type = name_of(k);
    std::vector<named_array> tensors{
        test::array_of("fc.weight", dtype::u8, {s.packed.size(), 1}, s.packed),
        test::array_of("fc.weight.absmax", dtype::u8, {blocks}, inner),
        test::array_of("fc.weight.quant_map", dtype::f32, {16}, table),
        test::array_of("fc.weight.nested_absmax", dtype::f32, {3}, outer),
        test::array_of("fc.weight.nested_quant_map", dtype::f32, {256}, map),
        text_array("fc.weight.quant_state.bitsandbytes__" + type,
                   "{\"quant_type\": \"" + type +
                       "\", \"blocksize\": 32, \"dtype\": \"bfloat16\", \"shape\": [40, 512], "
                       "\"nested_blocksize\": 256, \"nested_dtype\": \"float32\", \"nested_offset\": 0.12345670163631439}")};
    std::vector<float> expected(rows * cols);
    for (std::size_t i = 0; i < expected.size(); ++i) {
        const float product = test::to_float(double(map[inner[i / 32]]) * double(outer[i / 32 / 256])), absmax = product + offset;
        const unsigned byte = s.packed[i / 2];
        expected[i] = float(double(table[i % 2 ? byte % 16 : byte / 16]) * double(absmax));
    }
    const test::safetensors_image image(tensors);
    const auto file = image.file();
    const any_matrix w = read_bitsandbytes(file, "fc.weight").value();
    CHECK(w.format().name() == (k == kind::nf4 ? "nf4_dq:32" : "fp4_bnb:32"));
    CHECK(test::same_bits(test::decoded(w), expected));
    CHECK(test::same_bits(read_bitsandbytes_f32(file, "fc.weight").value(), expected));
    const auto found = find_bitsandbytes(file, "fc.weight").value().value();
    CHECK(found.nested);
    CHECK(found.nested_offset == offset);
    CHECK(found.dtype == "bfloat16");
    CHECK(found.parts.size() == 6);

    test::set(test::part(tensors, "fc.weight.nested_quant_map"), 3, -0.5f);  // another map: expanded scales all the same
    const test::safetensors_image other(tensors);
    CHECK(read_bitsandbytes(other.file(), "fc.weight").value().format().name() == (k == kind::nf4 ? "nf4:32" : "fp4_bnb:32"));
}

TEST_CASE("bitsandbytes: what is written nested reads as what quantize() makes") {
    const auto x = test::random_floats(24 * 256, 3, 0.1f);
    const matrix_view<const float> view{x.data(), 24, 256};
    const auto out = written(x, 24, 256, {.blocksize = 128, .nested = true, .dtype = scalar_type::bf16});
    const test::safetensors_image image(out);
    const auto direct = quantize(view, any_format::parse("nf4_dq:128").value(), {.compat = compatibility::bitsandbytes}).value();
    const auto read = read_bitsandbytes(image.file(), "fc.weight").value();
    CHECK(read.format() == direct.format());
    CHECK(std::ranges::equal(read.bytes(), direct.bytes()));
    const std::string text = text_in(out.back());
    CHECK(text.find("{\"quant_type\": \"nf4\", \"blocksize\": 128, \"dtype\": \"bfloat16\", \"shape\": [24, 256], \"nested_blocksize\": 256, "
                    "\"nested_dtype\": \"float32\", \"nested_offset\": 0.") == 0);
    const auto fp4 = written(x, 24, 256, {.kind = kind::fp4, .nested = true});
    const test::safetensors_image fp4_image(fp4);
    CHECK(read_bitsandbytes(fp4_image.file(), "fc.weight").value().format().name() == "fp4_bnb:64");
}

TEST_CASE("bitsandbytes: numbers of quant_state are written as Python does") {
    CHECK(detail::python_float(0.0) == "0.0");
    CHECK(detail::python_float(1.0) == "1.0");
    CHECK(detail::python_float(-2.5) == "-2.5");
    CHECK(detail::python_float(double(0.1234567f)) == "0.12345670163631439");
    CHECK(detail::python_float(0.0001) == "0.0001");
    CHECK(detail::python_float(0.00001) == "1e-05");
    CHECK(detail::python_float(1.5e-7) == "1.5e-07");
    CHECK(detail::python_float(1e15) == "1000000000000000.0");
    CHECK(detail::python_float(1e16) == "1e+16");
    CHECK(detail::python_float(1.25e100) == "1.25e+100");
}

TEST_CASE("bitsandbytes: blocks that cross rows become smaller groups where they can") {
    struct {
        std::size_t rows, cols, blocksize;
        const char* format;
    } const cases[] = {{6, 96, 64, "nf4:32"},  {4, 64, 256, "nf4:64"}, {5, 48, 32, "nf4:16"}, {3, 768, 4096, "nf4:256"}, {1, 40, 64, "nf4:64"},
                       {7, 128, 64, "nf4:64"}, {3, 40, 64, nullptr},   {9, 7, 32, nullptr},   {3, 33, 32, nullptr}};
    for (const auto& c : cases) {
        INFO(c.rows << " x " << c.cols << ", blocks of " << c.blocksize);
        const auto s = random_sample(kind::nf4, c.rows * c.cols, c.blocksize, unsigned(c.cols));
        const auto tensors = plain(kind::nf4, c.rows, c.cols, c.blocksize, s.packed, s.absmax);
        const test::safetensors_image image(tensors);
        CHECK(test::same_bits(read_bitsandbytes_f32(image.file(), "fc.weight").value(), s.values));
        if (c.format) {
            const auto w = read_bitsandbytes(image.file(), "fc.weight").value();
            CHECK(w.format().name() == c.format);
            CHECK(test::same_bits(test::decoded(w), s.values));
        } else {
            CHECK(contains(refusal(tensors, errc::unsupported), "cross rows"));
        }
    }
}

TEST_CASE("bitsandbytes: LLM.int8") {
    const std::size_t rows = 19, cols = 70;
    const auto x = test::random_floats(rows * cols, 9, 3.0f);
    std::vector<std::int8_t> codes;
    std::vector<float> absmax;
    for (std::size_t r = 0; r < rows; ++r) {
        float top = 0;
        for (std::size_t c = 0; c < cols; ++c) top = std::fmax(top, std::fabs(float(f16(x[r * cols + c]))));
        absmax.push_back(top);
        for (std::size_t c = 0; c < cols; ++c) codes.push_back(std::int8_t(std::nearbyintf(float(f16(x[r * cols + c])) * ((1.0f / top) * 127.0f))));
    }
    auto out = written(x, rows, cols, {.kind = kind::llm_int8});
    REQUIRE(out.size() == 3);
    CHECK(values_in<std::int8_t>(out[0]) == codes);
    CHECK(out[1].name == "fc.SCB");
    CHECK(test::same_bits(values_in<float>(out[1]), absmax));
    CHECK(out[2].name == "fc.weight_format");
    CHECK(out[2].shape.empty());

    const test::safetensors_image image(out);
    const auto found = find_bitsandbytes(image.file(), "fc.weight").value().value();
    CHECK(found.kind == kind::llm_int8);
    CHECK(found.parts == std::vector<std::string>{"fc.weight", "fc.SCB", "fc.weight_format"});
    const auto w = read_bitsandbytes(image.file(), "fc.weight").value();
    CHECK(w.format().name() == "int8_channel");
    const auto ours = test::decoded(w), theirs = read_bitsandbytes_f32(image.file(), "fc.weight").value();
    for (std::size_t i = 0; i < ours.size(); ++i) {
        const float product = float(codes[i]) * absmax[i / cols];  // an int8 times an f16: exact
        REQUIRE(theirs[i] == float(double(product) * double(float(1 / 127.0))));
        REQUIRE(std::fabs(double(ours[i]) - double(theirs[i])) <= std::ldexp(std::fabs(double(theirs[i])), -22));
        REQUIRE(std::fabs(double(ours[i]) - double(codes[i]) * double(absmax[i / cols]) / 127) <= std::ldexp(std::fabs(double(ours[i])), -23));
    }
    test::set(out[0], cols + 5, std::int8_t(-128));
    CHECK(contains(refusal(out, errc::unsupported), "row 1, column 5: code -128"));
    const test::safetensors_image least(out);
    CHECK(read_bitsandbytes_f32(least.file(), "fc.weight").value()[cols + 5] == -128 * absmax[1] * 7.874015718698502e-3f);

    auto bad = out;
    test::set(bad[2], 0, std::uint8_t(1));
    CHECK(contains(refusal(bad, errc::unsupported), "layout 1"));
    bad = out;
    bad[1].shape = {1, rows};
    CHECK(contains(refusal(bad, errc::corrupt), "shape [1,19], must be [19]"));
    bad = out;
    test::set(bad[1], 4, std::nanf(""));
    CHECK(contains(refusal(bad, errc::not_finite), "element 4"));
    bad = out;
    bad[0].shape = {cols * rows};
    CHECK(contains(refusal(bad, errc::corrupt), "must be [out,in]"));
    bad = {out[0], out[2]};
    CHECK(contains(refusal(bad, errc::unsupported), "not quantized by bitsandbytes"));
}

// Found in a 768 x 768 matrix: torch's 127.0 / t is a reciprocal times 127, which tips halves.
TEST_CASE("bitsandbytes: LLM.int8 rounds as torch divides") {
    struct {
        std::uint16_t value, top;
        int code;
    } const cases[] = {{11650, 12674, 63}, {11655, 12679, 63}, {44524, 12780, -64}, {11662, 12686, 63}};
    for (const auto& c : cases) {
        const std::vector<float> x{float(f16::from_bits(c.value)), float(f16::from_bits(c.top))};
        const auto codes = values_in<std::int8_t>(written(x, 1, 2, {.kind = kind::llm_int8})[0]);
        CHECK(int(codes[0]) == c.code);
        CHECK(int(codes[1]) == 127);
    }
}

TEST_CASE("bitsandbytes: tensors are told apart") {
    const auto s = random_sample(kind::fp4, 128, 64, 1);
    auto tensors = plain(kind::fp4, 2, 64, 64, s.packed, s.absmax);
    tensors.push_back(test::array_of<float>("fc.bias", dtype::f32, {1}, {1.0f}));
    const test::safetensors_image image(tensors);
    const auto file = image.file();
    const auto found = find_bitsandbytes(file, "fc.weight").value().value();
    CHECK(found.kind == kind::fp4);
    CHECK(found.blocksize == 64);
    CHECK_FALSE(found.nested);
    CHECK(found.shape == std::vector<std::size_t>{2, 64});
    CHECK(found.dtype == "float32");
    CHECK(found.parts == std::vector<std::string>{"fc.weight", "fc.weight.quant_state.bitsandbytes__fp4", "fc.weight.absmax", "fc.weight.quant_map"});
    CHECK_FALSE(find_bitsandbytes(file, "fc.bias").value().has_value());
    CHECK(find_bitsandbytes(file, "x.weight").error().code == errc::not_found);
    CHECK(read_bitsandbytes(file, "fc.bias").error().code == errc::unsupported);
    // the same bytes stored as another type
    tensors[0].dtype = dtype::bf16;
    tensors[0].shape = {32, 1};
    const test::safetensors_image stored(tensors);
    CHECK(test::same_bits(test::decoded(read_bitsandbytes(stored.file(), "fc.weight").value()), s.values));
}

TEST_CASE("bitsandbytes: damaged tensors and hostile fields are errors that name them") {
    const auto s = random_sample(kind::nf4, 4 * 64, 64, 2);
    const auto good = plain(kind::nf4, 4, 64, 64, s.packed, s.absmax);
    const std::string state = "fc.weight.quant_state.bitsandbytes__nf4";
    const auto with_state = [&](const std::string& text, errc code = errc::corrupt) {
        auto bad = good;
        bad[3] = text_array(state, text);
        INFO(text);
        return refusal(bad, code);
    };
    const std::string begin = "{\"quant_type\": \"nf4\", \"blocksize\": ", end = ", \"dtype\": \"float32\", \"shape\": [4, 64]}";
    for (const char* n : {"0", "16", "33", "48", "96", "8192", "18446744073709551615"})
        CHECK(contains(with_state(begin + n + end), "field \"blocksize\""));
    for (const char* n : {"-64", "64.0", "\"64\"", "18446744073709551616", "null"}) CHECK(contains(with_state(begin + n + end), "blocksize"));
    CHECK(contains(with_state(begin + "32" + end), "absmax\": shape [4], must be [8]"));
    CHECK(contains(with_state(begin + "64" + end + "x"), "end of the text"));
    CHECK(contains(with_state(""), "JSON"));
    CHECK(contains(with_state("[]"), "an object"));
    CHECK(contains(with_state("{\"quant_type\": \"fp4\", \"blocksize\": 64" + end), "\"quant_type\""));
    CHECK(contains(with_state("{\"blocksize\": 64" + end), "\"quant_type\""));
    CHECK(contains(with_state("{\"quant_type\": \"nf4\"" + end), "\"blocksize\""));
    CHECK(contains(with_state(begin + "64, \"shape\": [4, 64]}"), "\"dtype\" is missing"));
    CHECK(contains(with_state(begin + "64, \"dtype\": \"float32\"}"), "\"shape\" is missing"));
    const auto with_shape = [&](const std::string& shape) { return with_state(begin + "64, \"dtype\": \"float32\", \"shape\": " + shape + "}"); };
    CHECK(contains(with_shape("[4, 66]"), "128 bytes"));
    CHECK(contains(with_shape("[4294967296, 4294967296]"), "overflows"));
    CHECK(contains(with_shape("[18446744073709551615]"), "128 bytes"));
    CHECK(contains(with_shape("[0, 64]"), "128 bytes"));
    CHECK(contains(with_shape("[4, -64]"), "shape"));
    CHECK(contains(with_shape("null"), "an array"));
    CHECK(contains(with_state(begin + "64, \"dtype\": \"float32\", \"shape\": [256]}", errc::unsupported), "no matrix"));
    CHECK(contains(with_state(begin + "64, \"dtype\": \"float32\", \"shape\": [2, 2, 64]}", errc::unsupported), "no matrix"));

    auto bad = good;
    bad[0].bytes.pop_back();
    bad[0].shape = {127, 1};
    CHECK(contains(refusal(bad, errc::corrupt), "127 bytes"));
    bad = good;
    test::set(bad[1], 2, std::numeric_limits<float>::infinity());
    CHECK(contains(refusal(bad, errc::not_finite), "absmax\": element 2"));
    bad = good;
    bad[1].dtype = dtype::u32;
    CHECK(contains(refusal(bad, errc::unsupported), "U32"));
    bad = good;
    test::set(bad[2], 7, std::nanf(""));
    CHECK(contains(refusal(bad, errc::not_finite), "quant_map\": element 7"));
    bad = good;
    bad[2].shape = {15};
    bad[2].bytes.resize(60);
    CHECK(contains(refusal(bad, errc::corrupt), "shape [15], must be [16]"));
    for (std::size_t missing = 1; missing < 3; ++missing) {
        bad = good;
        bad.erase(bad.begin() + std::ptrdiff_t(missing));
        const test::safetensors_image image(bad);
        CHECK(read_bitsandbytes(image.file(), "fc.weight").error().code == errc::not_found);
    }
    bad = good;
    bad[3].dtype = dtype::i8;
    CHECK(contains(refusal(bad, errc::corrupt), "must be U8"));
    bad = good;  // a table of its own: f32 only
    test::set(bad[2], 0, -0.5f);
    CHECK(contains(refusal(bad, errc::unsupported), "not the table of nf4"));
    const test::safetensors_image image(bad);
    CHECK(read_bitsandbytes_f32(image.file(), "fc.weight").value().size() == 256);
}

TEST_CASE("bitsandbytes: damaged nested tensors are errors that name them") {
    const auto x = test::random_floats(4 * 64, 3);
    const auto good = written(x, 4, 64, {.blocksize = 32, .nested = true});
    REQUIRE(good.size() == 6);
    const auto with_offset = [&](const std::string& offset, const std::string& blocksize = "256") {
        auto bad = good;
        bad[5] =
            text_array(bad[5].name,
                       "{\"quant_type\": \"nf4\", \"blocksize\": 32, \"dtype\": \"float32\", \"shape\": [4, 64], \"nested_blocksize\": " + blocksize +
                           (offset.empty() ? "" : ", \"nested_offset\": " + offset) + "}");
        return refusal(bad, errc::corrupt);
    };
    CHECK(contains(with_offset("1e39"), "nested_offset"));
    CHECK(contains(with_offset("1e999"), "nested_offset"));
    CHECK(contains(with_offset("NaN"), "nested_offset"));
    CHECK(contains(with_offset("\"1\""), "nested_offset"));
    CHECK(contains(with_offset(""), "\"nested_offset\" is missing"));
    CHECK(contains(with_offset("0.5", "0"), "\"nested_blocksize\": 0"));
    CHECK(contains(with_offset("0.5", "257"), "\"nested_blocksize\": 257"));
    auto bad = good;
    test::set(bad[3], 0, 3e38f);  // with a map of its own, absmax overflow
    test::set(bad[4], 255, 3e38f);
    test::set(bad[1], 1, std::uint8_t(255));
    CHECK(contains(refusal(bad, errc::not_finite), "absmax\": element 1"));
    bad = good;
    bad[4].shape = {128, 2};
    CHECK(contains(refusal(bad, errc::corrupt), "shape [128,2], must be [256]"));
    bad = good;
    bad[1].dtype = dtype::i8;
    CHECK(contains(refusal(bad, errc::corrupt), "must be U8"));
    bad = good;
    bad[3].shape = {2};
    bad[3].bytes.resize(8);
    CHECK(contains(refusal(bad, errc::corrupt), "shape [2], must be [1]"));
}

TEST_CASE("bitsandbytes: what cannot be written is an error") {
    std::vector<float> x(2 * 96, 1.0f);
    const matrix_view<const float> view{x.data(), 2, 96};
    CHECK(write_bitsandbytes("fc.kernel", view).error().code == errc::invalid_argument);
    CHECK(contains(write_bitsandbytes("fc.weight", view, {.blocksize = 48}).error().message, "blocksize 48"));
    CHECK(write_bitsandbytes("fc.weight", {x.data(), 0, 96}, {}).error().code == errc::invalid_argument);
    x[100] = 70000.0f;
    CHECK(contains(write_bitsandbytes("fc.weight", view, {.kind = kind::llm_int8}).error().message, "row 1, column 4: 70000 overflows f16"));
    x[100] = std::nanf("");
    CHECK(write_bitsandbytes("fc.weight", view, {.kind = kind::llm_int8}).error().code == errc::not_finite);
    CHECK(contains(write_bitsandbytes("fc.weight", view).error().message, "tensor \"fc.weight\", flattened: "));
}
