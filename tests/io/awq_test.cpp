#include <qnt/io/awq.hpp>

#include <cmath>

#include "../support.hpp"
#include "awq_builder.hpp"

using namespace qnt;
using namespace test::awq;
using dtype = safetensors_dtype;

TEST_CASE("awq: matrices are decoded by the formula") {
    test::chaotic_executor threads;
    struct {
        std::size_t rows, cols, group;
        int zero;
        const char* format;  // none: f32 only
    } const cases[] = {{40, 128, 32, -1, "uint4:32"}, {8, 128, 128, -1, "uint4:128"}, {24, 40, 40, -1, "uint4:48"},
                       {40, 64, 16, 8, "int4:16"},    {16, 48, 24, -1, nullptr},      {16, 24, 8, 8, nullptr}};
    for (const auto& k : cases) {
        INFO(k.rows << " x " << k.cols << " groups of " << k.group);
        const checkpoint c = make(k.rows, k.cols, k.group, k.zero);
        auto tensors = c.tensors();
        const std::vector<float> bias = test::random_floats(k.rows, 3);
        tensors.push_back(test::array_of("fc.bias", dtype::f32, {k.rows}, bias));
        const test::safetensors_image image(tensors);
        const auto file = image.file();
        const auto values = read_awq_f32(file, "fc", threads).value();
        const auto info = find_awq(file, "fc").value();
        CHECK(info.rows == k.rows);
        CHECK(info.cols == k.cols);
        CHECK(info.group == k.group);
        CHECK(info.symmetric == (k.zero == 8));
        CHECK((info.packed_format ? info.packed_format->name() : "") == (k.format ? k.format : ""));
        CHECK(info.parts == std::vector<std::string>{"fc.qweight", "fc.qzeros", "fc.scales", "fc.bias"});
        CHECK(find_awq(file, "fc", {k.group}));
        CHECK(contains(find_awq(file, "fc", {k.group / 2}).error().message, "tensor \"fc.qzeros\": "));
        CHECK(values.rows == k.rows);
        CHECK(values.cols == k.cols);
        CHECK(values.bias == bias);
        CHECK(test::same_bits(values.weights, c.expected()));
        const auto w = read_awq(file, "fc", threads);
        if (!k.format) {
            REQUIRE_FALSE(w.has_value());
            CHECK(w.error().code == errc::unsupported);
            CHECK(contains(w.error().message, "no multiple of 16"));
            continue;
        }
        CHECK(w.value().weights.format().name() == k.format);
        CHECK(test::same_bits(test::decoded(w->weights), c.expected()));
        CHECK(w->bias == bias);
        CHECK(w->weights.columns().empty());
    }
}

TEST_CASE("awq: hostile shapes and values are errors that name tensor and field") {
    const auto good = make(16, 64, 32).tensors();
    const auto refusal = [&](auto&& damage) {
        auto bad = good;
        damage(bad);
        const test::safetensors_image image(bad);
        const auto w = read_awq(image.file(), "fc");
        REQUIRE_FALSE(w.has_value());
        INFO(w.error().message);
        CHECK(w.error().message.find("image: ") == 0);
        CHECK_FALSE(read_awq_f32(image.file(), "fc").has_value());
        return w.error();
    };
    const auto message = [&](auto&& damage) { return refusal(damage).message; };
    using tensors = std::vector<named_array>;
    for (std::size_t i = 0; i < 3; ++i) CHECK(refusal([&](tensors& t) { t.erase(t.begin() + std::ptrdiff_t(i)); }).code == errc::not_found);
    CHECK(contains(message([](tensors& t) { t[0].shape = {128}; }), "\"fc.qweight\": shape [128]"));
    CHECK(contains(message([](tensors& t) { t[0].shape = {16, 8}; }), "\"gemm\""));  // as gemv would have it
    CHECK(contains(message([](tensors& t) { t[0].shape = {0, 2}, t[0].bytes.clear(); }), "not empty"));
    CHECK(contains(message([](tensors& t) { t[0].dtype = dtype::i16, t[0].shape = {64, 4}; }), "\"I16\", only I32"));
    CHECK(contains(message([](tensors& t) { t[1].shape = {4, 1}; }), "\"fc.qzeros\": shape [4,1]"));
    CHECK(contains(message([](tensors& t) { t[1].shape = {3, 2}, t[1].bytes.resize(24); }), "\"fc.qzeros\": shape [3,2]"));
    CHECK(contains(message([](tensors& t) { t[1].shape = {128, 2}, t[1].bytes.resize(1024); }), "\"fc.qzeros\": shape [128,2]"));
    CHECK(contains(message([](tensors& t) { t[2].shape = {16, 2}; }), "\"fc.scales\": shape [16,2], must be [2,16]"));
    CHECK(contains(message([](tensors& t) { t[2].dtype = dtype::u16; }), "\"fc.scales\": dtype \"U16\""));
    CHECK(contains(message([](tensors& t) { test::set(t[2], 31, std::uint16_t(0xfc00)); }), "\"fc.scales\": element 31 is not a finite"));
    CHECK(contains(message([](tensors& t) { t.push_back(test::array_of<float>("fc.bias", dtype::f32, {1}, {1})); }), "\"fc.bias\": shape [1]"));
}

TEST_CASE("awq: configs of other versions are refused by name") {
    CHECK(check_awq_config(R"({"zero_point": true, "q_group_size": 128, "w_bit": 4, "version": "GEMM"})"));
    CHECK(check_awq_config(R"({"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm"}})"));
    CHECK(check_awq_config("{}"));
    CHECK(parse_awq_config(R"({"q_group_size": 64})").value().group_size == 64);
    CHECK(parse_awq_config(R"({"quantization_config": {"group_size": 32}})").value().group_size == 32);
    CHECK(parse_awq_config(R"({"group_size": -1})").value().group_size == 0);
    CHECK(parse_awq_config(R"({"group_size": -2})").error().code == errc::corrupt);
    for (const char* version : {"GEMV", "gemv_fast", "marlin", "exllama", "llm-awq", "ipex"}) {
        const auto r = check_awq_config(std::string(R"({"version": ")") + version + "\"}");
        REQUIRE_FALSE(r.has_value());
        CHECK(r.error().code == errc::unsupported);
        CHECK(contains(r.error().message, version));
    }
    CHECK(check_awq_config(R"({"w_bit": 3})").error().code == errc::unsupported);
    CHECK(check_awq_config(R"({"quant_method": "gptq"})").error().code == errc::unsupported);
    for (const char* bad : {"", "[]", R"({"version": 4})", R"({"bits": "4"})", R"({"quantization_config": 1})"})
        CHECK(check_awq_config(bad).error().code == errc::corrupt);
}
