#include <qnt/io/gptq.hpp>

#include <cmath>

#include "../support.hpp"
#include "gptq_builder.hpp"

using namespace qnt;
using namespace test::gptq;
using dtype = safetensors_dtype;

namespace {

error refusal(const std::vector<named_array>& tensors, const gptq_options& o = {}) {
    const test::safetensors_image image(tensors);
    const auto w = read_gptq(image.file(), "fc", o);
    REQUIRE_FALSE(w.has_value());
    INFO(w.error().message);
    CHECK(w.error().message.find("image: ") == 0);
    return w.error();
}
constexpr gptq_options said(gptq_convention c) { return {c, false, false, 0, 0}; }

}  // namespace

TEST_CASE("gptq: matrices of every kind are decoded by the formula") {
    test::chaotic_executor threads;
    struct {
        int bits;
        std::size_t rows, cols, group;
        int zero;
        columns order;
        const char* format;  // none: f32 only
    } const cases[] = {{4, 40, 128, 32, 8, columns::in_order, "int4:32"},     {4, 40, 128, 32, 8, columns::shuffled, "int4:32"},
                       {4, 24, 256, 128, -1, columns::in_order, "uint4:128"}, {4, 24, 256, 64, -1, columns::shuffled, "uint4:64"},
                       {4, 8, 40, 40, -1, columns::in_order, "uint4:48"},     {4, 8, 40, 16, -1, columns::shuffled, "uint4:16"},
                       {4, 9, 24, 8, -1, columns::in_order, nullptr},         {3, 40, 96, 32, -1, columns::in_order, "uint4:32"},
                       {3, 21, 64, 16, 4, columns::shuffled, "uint4:16"},     {2, 17, 64, 32, -1, columns::shuffled, "uint4:32"},
                       {8, 12, 64, 32, 128, columns::in_order, "int8:32"},    {8, 12, 64, 16, 128, columns::shuffled, "int8:16"}};
    for (const auto& k : cases)
        for (const auto convention : {gptq_convention::v1, gptq_convention::v2}) {
            INFO(k.bits << " bits " << k.rows << " x " << k.cols << " groups of " << k.group << " zero " << k.zero << " v" << int(convention) + 1);
            const checkpoint c = make(k.bits, k.rows, k.cols, k.group, k.zero, k.order);
            auto tensors = c.tensors(convention);
            std::vector<float> bias = test::random_floats(k.rows, 3);
            tensors.push_back(test::array_of("fc.bias", dtype::f32, {k.rows}, bias));
            const test::safetensors_image image(tensors);
            const auto file = image.file();
            const auto values = read_gptq_f32(file, "fc", said(convention), threads).value();
            CHECK(test::same_bits(values.weights, c.expected()));
            CHECK(values.bias == bias);
            CHECK(values.info.bits == k.bits);
            CHECK(values.info.evidence == gptq_evidence::caller);
            CHECK(values.info.symmetric == (k.zero == 1 << (k.bits - 1)));
            CHECK(values.info.act_order == (k.order == columns::shuffled));
            CHECK(values.info.group == k.group);
            const auto promised = find_gptq(file, "fc", said(convention)).value().packed_format;
            CHECK((promised ? promised->name() : "") == (k.format ? k.format : ""));
            const auto w = read_gptq(file, "fc", said(convention), threads);
            if (!k.format) {
                REQUIRE_FALSE(w.has_value());
                CHECK(w.error().code == errc::unsupported);
                CHECK(contains(w.error().message, "groups of 8 columns"));
                continue;
            }
            REQUIRE(w.has_value());
            CHECK(w->weights.format().name() == k.format);
            CHECK(test::same_bits(test::decoded(w->weights), c.expected()));
            CHECK(w->bias == bias);
            CHECK((w->weights.view().transform() == input_transform::permutation) == (k.order == columns::shuffled));
        }
}

TEST_CASE("gptq: products with act-order matrices are those of the decoded weights") {
    const checkpoint c = make(4, 48, 256, 32, -1, columns::shuffled, 5);
    const test::safetensors_image image(c.tensors(gptq_convention::v2));
    const auto w = read_gptq(image.file(), "fc", said(gptq_convention::v2)).value();
    const auto weights = c.expected(), x = test::random_floats(2 * 256, 6);
    std::vector<float> y(2 * 48), quick(2 * 48);
    gemm(matrix_view<float>{y.data(), 2, 48}, matrix_view<const float>{x.data(), 2, 256}, w.weights.view(), {.mode = exact});
    gemm(matrix_view<float>{quick.data(), 2, 48}, matrix_view<const float>{x.data(), 2, 256}, w.weights.view());
    for (std::size_t m = 0; m < 2; ++m)
        for (std::size_t o = 0; o < 48; ++o) {
            double sum = 0, size = 0;
            for (std::size_t i = 0; i < 256; ++i) {
                sum += double(x[m * 256 + i]) * double(weights[o * 256 + i]);
                size += std::fabs(double(x[m * 256 + i]) * double(weights[o * 256 + i]));
            }
            CHECK(std::fabs(double(y[m * 48 + o]) - sum) < 1e-6 * size);
            CHECK(std::fabs(double(quick[m * 48 + o]) - sum) < 0.02 * size);
        }
}

// -8 is a code that our own encoder never makes.
TEST_CASE("gptq: symmetric matrices multiply by -8 on every instruction set") {
    checkpoint c = make(4, 32, 64, 32, 8);
    for (auto& row : c.codes) std::fill(row.begin(), row.end(), 0u);
    for (auto& scales : c.scales) std::fill(scales.begin(), scales.end(), 0.5f);
    const test::safetensors_image image(c.tensors(gptq_convention::v1));
    const auto w = read_gptq(image.file(), "fc").value();
    REQUIRE(w.weights.format().name() == "int4:32");
    const std::vector<float> x(3 * 64, -2.0f);
    test::on_every_isa([&](auto) {
        for (const auto mode : {exact, int8_activations}) {
            std::vector<float> y(3 * 32);
            gemm(matrix_view<float>{y.data(), 3, 32}, matrix_view<const float>{x.data(), 3, 64}, w.weights.view(), {.mode = mode});
            for (const float v : y) REQUIRE(v == Approx(64 * -2.0 * -4.0).epsilon(1e-6));
        }
    });
}

TEST_CASE("gptq: how the convention is known is stated") {
    const auto info_of_file = [](const checkpoint& c, gptq_convention stored, const gptq_options& o) {
        const test::safetensors_image image(c.tensors(stored));
        return find_gptq(image.file(), "fc", o).value();
    };
    const auto v1 = gptq_convention::v1, v2 = gptq_convention::v2;
    for (const int bits : {2, 3, 4, 8})
        for (const auto stored : {v1, v2}) {
            INFO(bits << " bits, v" << int(stored) + 1);
            const checkpoint c = make(bits, 32, 64, 32, 1 << (bits - 1));
            auto t = info_of_file(c, stored, {});
            CHECK(t.convention == stored);
            CHECK(t.evidence == gptq_evidence::values);
            CHECK(t.symmetric);
            CHECK_FALSE(t.mislabelled);
            t = info_of_file(c, stored, parse_gptq_config(R"({"bits": )" + std::to_string(bits) + R"(, "format": "gptq"})").value());
            CHECK(t.convention == stored);
            CHECK(t.mislabelled == (stored == v2));
            t = info_of_file(c, stored, said(v1));  // the caller knows best
            CHECK(t.convention == v1);
            CHECK(t.evidence == gptq_evidence::caller);
            CHECK(t.symmetric == (stored == v1));
        }
    const checkpoint c = make(4, 32, 64, 32, -1);
    for (const auto stored : {v1, v2}) {
        const auto t =
            info_of_file(c, stored, parse_gptq_config(stored == v1 ? R"({"checkpoint_format": "gptq"})" : R"({"format": "gptq_v2"})").value());
        CHECK(t.convention == stored);
        CHECK(t.evidence == gptq_evidence::config);
        CHECK_FALSE(t.symmetric);
        CHECK(t.parts == std::vector<std::string>{"fc.qweight", "fc.qzeros", "fc.scales", "fc.g_idx"});
    }
    const auto unknown = refusal(c.tensors(v1));
    CHECK(unknown.code == errc::unsupported);
    CHECK(contains(unknown.message, "say which"));
    // asymmetric by its config, and all zero points happen to be 7
    const checkpoint seven = make(4, 32, 64, 32, 7);
    const auto t = info_of_file(seven, v2, parse_gptq_config(R"({"format": "gptq_v2", "sym": false})").value());
    CHECK(t.convention == v2);
    CHECK(t.evidence == gptq_evidence::config);
}

TEST_CASE("gptq: what our formats cannot hold is refused with its reason, and decoded to f32") {
    const auto f32_of = [](const std::vector<named_array>& tensors) {
        const test::safetensors_image image(tensors);
        return read_gptq_f32(image.file(), "fc", said(gptq_convention::v1)).value().weights;
    };
    checkpoint c = make(4, 32, 64, 32, -1);
    c.zeros[1][5] = 16;
    auto e = refusal(c.tensors(gptq_convention::v1), said(gptq_convention::v1));
    CHECK(e.code == errc::unsupported);
    CHECK(contains(e.message, "output 5, group 1 is 16"));
    CHECK(test::same_bits(f32_of(c.tensors(gptq_convention::v1)), c.expected()));

    c = make(8, 16, 64, 32, 128);
    c.codes[3][40] = 0;
    e = refusal(c.tensors(gptq_convention::v1));
    CHECK(e.code == errc::unsupported);
    CHECK(contains(e.message, "output 3, column 40: code 0 less its zero point is -128"));
    CHECK(test::same_bits(f32_of(c.tensors(gptq_convention::v1)), c.expected()));

    c = make(4, 16, 64, 32, 8);
    c.group_of[0] = 1;
    e = refusal(c.tensors(gptq_convention::v1));
    CHECK(e.code == errc::unsupported);
    CHECK(contains(e.message, "different numbers of columns"));
    CHECK(test::same_bits(f32_of(c.tensors(gptq_convention::v1)), c.expected()));
}

TEST_CASE("gptq: files without g_idx, and scales of other types") {
    const checkpoint c = make(4, 40, 96, 32, 8);
    auto tensors = c.tensors(gptq_convention::v2);
    tensors.pop_back();
    const test::safetensors_image image(tensors);
    CHECK(test::same_bits(test::decoded(read_gptq(image.file(), "fc").value().weights), c.expected()));
    const checkpoint ragged = make(4, 40, 80, 32, 8);  // 3 groups, the last one short
    tensors = ragged.tensors(gptq_convention::v2);
    tensors.pop_back();
    CHECK(contains(refusal(tensors).message, "say the group size"));
    CHECK(contains(refusal(tensors, {{}, false, false, 4, 64}).message, "not those of group size 64"));
    const test::safetensors_image short_group(tensors);
    CHECK(test::same_bits(test::decoded(read_gptq(short_group.file(), "fc", {{}, false, false, 4, 32}).value().weights), ragged.expected()));

    for (const auto type : {dtype::f32, dtype::bf16}) {
        checkpoint other = make(4, 16, 64, 32, 8);
        for (auto& scales : other.scales)
            for (float& s : scales) s = float(bf16(s));
        tensors = other.tensors(gptq_convention::v2);
        std::vector<float> wide;
        std::vector<bf16> narrow;
        for (const auto& scales : other.scales)
            for (const float s : scales) wide.push_back(s), narrow.emplace_back(s);
        tensors[2] = type == dtype::f32 ? test::array_of("fc.scales", type, {2, 16}, wide) : test::array_of("fc.scales", type, {2, 16}, narrow);
        const test::safetensors_image of_type(tensors);
        const auto w = read_gptq(of_type.file(), "fc").value();
        CHECK(w.weights.format().name() == (type == dtype::f32 ? "int4:32:f32" : "int4:32:bf16"));
        CHECK(test::same_bits(test::decoded(w.weights), other.expected()));
    }
}

TEST_CASE("gptq: hostile shapes and values are errors that name tensor and field") {
    const checkpoint c = make(4, 16, 64, 32, 8);
    const auto good = c.tensors(gptq_convention::v2);
    const auto with = [&](auto&& damage, const gptq_options& o = {}) {
        auto bad = good;
        damage(bad);
        return refusal(bad, o);
    };
    const auto message = [&](auto&& damage, const gptq_options& o = {}) { return with(damage, o).message; };
    using tensors = std::vector<named_array>;
    for (std::size_t i = 0; i < 3; ++i) CHECK(with([&](tensors& t) { t.erase(t.begin() + std::ptrdiff_t(i)); }).code == errc::not_found);
    CHECK(contains(message([](tensors& t) { t[0].shape = {128}; }), "\"fc.qweight\": shape [128]"));
    CHECK(contains(message([](tensors& t) { t[0].shape = {2, 64}; }), "fits none of"));
    CHECK(contains(message([](tensors& t) { t[0].shape = {0, 16}, t[0].bytes.clear(); }), "not empty"));
    CHECK(contains(message([](tensors& t) { t[0].shape = {std::size_t(-1), 0}, t[0].bytes.clear(); }), "not empty"));
    CHECK(contains(message([](tensors& t) { t[0].dtype = dtype::u32; }), "\"fc.qweight\": dtype \"U32\""));
    CHECK(contains(message([](tensors& t) { t[0].dtype = dtype::i16, t[0].shape = {16, 16}; }), "only I32 words"));
    CHECK(contains(message([](tensors& t) { t[1].shape = {4}; }), "\"fc.qzeros\": shape [4]"));
    CHECK(contains(message([](tensors& t) { t[1].shape = {4, 1}; }), "fits none of"));
    CHECK(contains(message([](tensors& t) { t[1].shape = {1, 2}, t[1].bytes.resize(8); }), "\"fc.scales\": shape [2,16], must be [1,16]"));
    CHECK(contains(message([](tensors& t) { t[2].shape = {16, 2}; }), "\"fc.scales\": shape [16,2], must be [2,16]"));
    CHECK(contains(message([](tensors& t) { t[2].dtype = dtype::i16; }), "\"fc.scales\": dtype \"I16\""));
    CHECK(contains(message([](tensors& t) { test::set(t[2], 17, std::uint16_t(0x7c00)); }), "\"fc.scales\": element 17 is not a finite"));
    CHECK(contains(message([](tensors& t) { test::set(t[2], 3, std::uint16_t(0x7e01)); }), "\"fc.scales\": element 3 is not a finite"));
    CHECK(contains(message([](tensors& t) { test::set(t[3], 9, std::int32_t(2)); }), "\"fc.g_idx\": element 9: group 2, there are 2"));
    CHECK(contains(message([](tensors& t) { test::set(t[3], 9, std::int32_t(-1)); }), "element 9: group -1"));
    CHECK(contains(message([](tensors& t) { t[3].shape = {64, 1}; }), "\"fc.g_idx\": shape [64,1]"));
    CHECK(contains(message([](tensors& t) { t[3].shape = {0}, t[3].bytes.clear(); }), "\"fc.g_idx\": shape [0]"));
    CHECK(contains(message([](tensors& t) { t[3].shape = {48}, t[3].bytes.resize(48 * 4); }), "fits none of"));
    CHECK(contains(message([](tensors& t) { t[3].dtype = dtype::f32; }), "\"fc.g_idx\": dtype \"F32\", must be I32"));
    CHECK(contains(message([](tensors&) {}, {{}, false, false, 8, 0}), "fits no 8 bits"));
    CHECK(contains(message([](tensors& t) { t.push_back(test::array_of<float>("fc.bias", dtype::f32, {2}, {1, 2})); }), "\"fc.bias\": shape [2]"));
    CHECK(contains(message([](tensors& t) {
                       std::vector<float> bias(16);
                       bias[2] = std::numeric_limits<float>::infinity();
                       t.push_back(test::array_of("fc.bias", dtype::f32, {16}, bias));
                   }),
                   "\"fc.bias\": element 2"));
    const test::safetensors_image image(good);
    CHECK(read_gptq(image.file(), "fc2").error().code == errc::not_found);
    CHECK(read_gptq_f32(image.file(), "").error().code == errc::not_found);
    // 4 outputs: 2, 3, 4 and 8 bits all need one word of zero points
    const checkpoint small = make(4, 4, 64, 32, 8);
    auto ambiguous = small.tensors(gptq_convention::v2);
    ambiguous.pop_back();
    CHECK(contains(refusal(ambiguous).message, "say how many"));
    const test::safetensors_image told(ambiguous);
    CHECK(test::same_bits(test::decoded(read_gptq(told.file(), "fc", {{}, false, false, 4, 32}).value().weights), small.expected()));
}

TEST_CASE("gptq: configs") {
    const auto o = parse_gptq_config(R"({"bits": 4, "group_size": 128, "desc_act": true, "sym": true, "quant_method": "gptq",
                                         "checkpoint_format": "gptq_v2", "pack_dtype": "int32"})")
                       .value();
    CHECK(o.bits == 4);
    CHECK(o.group_size == 128);
    CHECK(o.convention == gptq_convention::v2);
    CHECK(o.is_label);
    CHECK_FALSE(o.asymmetric);
    const auto inside = parse_gptq_config(R"({"model_type": "gpt2", "quantization_config": {"bits": 8, "group_size": -1, "sym": false}})").value();
    CHECK(inside.bits == 8);
    CHECK(inside.group_size == 0);
    CHECK(inside.convention == gptq_convention::v1);
    CHECK(inside.asymmetric);
    CHECK(parse_gptq_config(R"({"bits": 4, "dynamic": {"+:.*down.*": {"bits": 8}}})").value().bits == 0);
    CHECK(parse_gptq_config(R"({"bits": 4, "dynamic": null, "format": null})").value().bits == 4);
    for (const char* bad : {R"({"format": "gptq_p"})", R"({"checkpoint_format": "marlin"})", R"({"quant_method": "awq"})", R"({"bits": 5})",
                            R"({"pack_dtype": "int64"})"}) {
        INFO(bad);
        CHECK(parse_gptq_config(bad).error().code == errc::unsupported);
    }
    for (const char* bad : {"", "[]", R"({"bits": "4"})", R"({"sym": 1})", R"({"format": 2})", R"({"quantization_config": []})", R"({"bits": 4)"}) {
        INFO(bad);
        CHECK(parse_gptq_config(bad).error().code == errc::corrupt);
    }
}
