#include <qnt/io/safetensors.hpp>

#include <cmath>
#include <nlohmann/json.hpp>
#include <random>

#include "catch.hpp"
#include "temp_folder.hpp"

using namespace qnt;

static const std::string model_path = QNT_SOURCE_DIR "/examples/models/qnt-gpt2-5m/model.safetensors";

static std::string file_of(const std::string& header, std::size_t data_bytes) {
    const std::uint64_t length = header.size();
    std::string f(sizeof length, '\0');
    std::memcpy(f.data(), &length, sizeof length);
    f += header;
    for (std::size_t i = 0; i < data_bytes; ++i) f += static_cast<char>(i);
    return f;
}
static result<safetensors_file> parsed(std::string_view bytes) { return safetensors_file::view(as_bytes(bytes), "model"); }

TEST_CASE("safetensors: the shipped model, read by open and load, as its header says") {
    const std::string bytes = text_of(model_path);
    REQUIRE(bytes.size() > 8);
    std::uint64_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof length);
    const auto header = nlohmann::json::parse(bytes.substr(8, length));

    const bool load = GENERATE(false, true);
    const safetensors_file file = (load ? safetensors_file::load(model_path) : safetensors_file::open(model_path)).value();
    CHECK(file.tensors().size() == header.size() - 1);
    CHECK(file.metadata().size() == 1);
    CHECK(file.metadata()[0] == std::pair<std::string, std::string>("format", "pt"));
    for (const safetensors_tensor& t : file.tensors()) {
        const auto& entry = header.at(t.name);
        CHECK(t.dtype == safetensors_dtype::f16);
        CHECK(t.dtype_text == "F16");
        CHECK(t.shape == entry.at("shape").get<std::vector<std::size_t>>());
        CHECK(t.data.size() == t.elements * 2);
        const std::size_t begin = entry.at("data_offsets")[0];
        const auto values = file.read_f32(t.name).value();
        REQUIRE(values.size() == t.elements);
        std::size_t wrong = 0;
        for (std::size_t i = 0; i < values.size(); ++i) {
            std::uint16_t h;
            std::memcpy(&h, bytes.data() + 8 + length + begin + 2 * i, sizeof h);
            const int exponent = h >> 10 & 31, mantissa = h & 1023;
            const double magnitude = exponent ? std::ldexp(1024 + mantissa, exponent - 25) : std::ldexp(mantissa, -24);
            wrong += values[i] != static_cast<float>(h & 0x8000 ? -magnitude : magnitude);
        }
        CHECK(wrong == 0);
        CHECK(file.find(t.name).value() == &t);
    }
}

TEST_CASE("safetensors: f32, f16 and bf16 at any alignment, any rank, any order") {
    // data: 1 byte, then f32 1.5 -2, f16 0.5, bf16 3, an empty tensor and a scalar
    std::string f = file_of(
        R"({"b":{"dtype":"F16","shape":[1],"data_offsets":[9,11]},"f":{"data_offsets":[1,9],"shape":[1,2,1],"dtype":"F32","extra":{"x":[1]}},)"
        R"("pad":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]},"c":{"dtype":"BF16","shape":[1,1],"data_offsets":[11,13]},)"
        R"("empty":{"dtype":"F32","shape":[3,0],"data_offsets":[13,13]},"s":{"dtype":"F32","shape":[],"data_offsets":[13,17]}} )",
        17);
    char* data = f.data() + f.size() - 17;
    const float floats[] = {1.5f, -2.0f}, scalar = 7;
    const std::uint16_t half = 0x3800, brain = 0x4040;
    std::memcpy(data + 1, floats, 8);
    std::memcpy(data + 9, &half, 2);
    std::memcpy(data + 11, &brain, 2);
    std::memcpy(data + 13, &scalar, 4);
    for (std::size_t shift = 0; shift < 8; ++shift) {
        std::string moved(shift, ' ');
        moved += f;
        const auto file = parsed(std::string_view(moved).substr(shift)).value();
        CHECK(file.read_f32("f").value() == std::vector<float>{1.5f, -2.0f});
        CHECK(file.read_f32("b").value() == std::vector<float>{0.5f});
        CHECK(file.read_f32("c").value() == std::vector<float>{3.0f});
        CHECK(file.read_f32("s").value() == std::vector<float>{7.0f});
        CHECK(file.read_f32("empty").value().empty());
        CHECK(file.find("empty").value()->shape == std::vector<std::size_t>{3, 0});
        CHECK(file.tensors()[0].name == "b");
        float out[2] = {};
        REQUIRE(file.read_f32("f", out));
        CHECK(out[1] == -2.0f);
        CHECK(file.read_f32("f", std::span(out, 1)).error().message == "model: tensor \"f\" has 2 elements (shape [1,2,1]), there is room for 1");
        CHECK(file.read_f32("pad").error().code == errc::unsupported);
        CHECK(file.read_f32("x").error().message == "model: there is no tensor \"x\"");
        CHECK(file.find("").error().code == errc::not_found);
    }
}

TEST_CASE("safetensors: every dtype has its size, an unknown one does not spoil the others") {
    for (std::size_t i = 1; i < std::size(safetensors_dtypes); ++i) {
        const auto& d = safetensors_dtypes[i];
        const auto file = parsed(
            file_of(std::string(R"({"w":{"dtype":")") + d.name + R"(","shape":[8],"data_offsets":[0,)" + std::to_string(d.bits) + "]}}", d.bits));
        REQUIRE(file);
        CHECK(file->tensors()[0].dtype == static_cast<safetensors_dtype>(i));
    }
    const std::string f =
        file_of(R"({"w":{"dtype":"F31\u001b[2J","shape":[9],"data_offsets":[0,5]},"v":{"dtype":"F32","shape":[1],"data_offsets":[5,9]}})", 9);
    const auto file = parsed(f).value();
    CHECK(file.find("w").value()->dtype == safetensors_dtype::unknown);
    CHECK(file.read_f32("w").error().message == "model: tensor \"w\": dtype \"F31\\x1b[2J\" is unknown; F32, F16 and BF16 can");
    CHECK(file.read_f32("v"));
}

TEST_CASE("safetensors: legal corners") {
    CHECK(parsed(file_of("{}", 0)));
    CHECK(parsed(file_of("{\"__metadata__\":{}}", 0)));
    CHECK(parsed(file_of("  {}  \n", 0)));
    const std::string odd_file = file_of(
        R"({"../../x":{"dtype":"U8","shape":[0,18446744073709551615],"data_offsets":[0,0]},"":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1);
    const auto odd = parsed(odd_file).value();
    CHECK(odd.find("../../x").value()->elements == 0);
    CHECK(odd.find("").value()->elements == 1);
    CHECK(odd.find("").value()->data[0] == std::byte{0});
    std::string many;
    for (int i = 0; i < 20000; ++i)
        many += (i ? "," : "{") + std::string("\"t") + std::to_string(i * 7919 % 20000) + R"(":{"dtype":"U8","shape":[1],"data_offsets":[)" +
                std::to_string(i) + "," + std::to_string(i + 1) + "]}";
    const std::string f = file_of(many + "}", 20000);
    const auto file = parsed(f).value();
    CHECK(file.find("t7919").value()->data.data() - file.find("t0").value()->data.data() == 1);
}

TEST_CASE("safetensors: each rule that a file breaks is named with the tensor and the field") {
    struct broken {
        const char* header;
        std::size_t data;
        std::vector<const char*> words;
    };
    const broken cases[] = {
        {"", 0, {"expected an object"}},
        {"[]", 0, {"byte offset 8", "expected an object"}},
        {"null", 0, {"expected an object"}},
        {"{}x", 0, {"byte offset 10", "end of the text"}},
        {"{\"w\":3}", 0, {"\"w\"", "expected an object, found a number"}},
        {R"({"w":{"shape":[],"data_offsets":[0,1]}})", 1, {"\"w\"", "\"dtype\" is missing", "byte offset 13"}},
        {R"({"w":{"dtype":"U8","data_offsets":[0,1]}})", 1, {"\"w\"", "\"shape\" is missing"}},
        {R"({"w":{"dtype":"U8","shape":[]}})", 1, {"\"w\"", "\"data_offsets\" is missing"}},
        {R"({"w":{"dtype":8,"shape":[],"data_offsets":[0,1]}})", 1, {"\"w\"", "\"dtype\"", "expected a string, found a number"}},
        {R"({"w":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})", 1, {"\"w\"", "\"shape\"", "-1"}},
        {R"({"w":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}})", 1, {"\"w\"", "\"shape\"", "1.0"}},
        {R"({"w":{"dtype":"U8","shape":1,"data_offsets":[0,1]}})", 1, {"\"w\"", "\"shape\"", "expected an array"}},
        {R"({"w":{"dtype":"U8","shape":[18446744073709551616],"data_offsets":[0,1]}})", 1, {"\"w\"", "\"shape\"", "18446744073709551616"}},
        {R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0]}})", 1, {"\"w\"", "data_offsets [0]"}},
        {R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1,1]}})", 1, {"\"w\"", "data_offsets [0,1,1]"}},
        {R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}})", 1, {"\"w\"", "data_offsets [1,0]"}},
        {R"({"w":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 1, {"\"w\"", "data_offsets [0,2]", "truncated"}},
        {R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[18446744073709551615,18446744073709551615]}})", 1, {"\"w\"", "data_offsets"}},
        {R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 2, {"trailing bytes", "2 bytes"}},
        {R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", 2, {"\"w\"", "a hole after the start"}},
        {R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"v":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})",
         3,
         {"\"v\"", "a hole after tensor \"w\""}},
        {R"({"w":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"v":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
         3,
         {"\"v\"", "overlap with tensor \"w\""}},
        {R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"v":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
         1,
         {"\"v\"", "\"w\"", "overlap"}},
        {R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4, {"\"w\"", "shape [2] of dtype F32 needs 8 bytes", "[0,4] are 4"}},
        {R"({"w":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}})", 2, {"\"w\"", "shape [3] of dtype F4", "whole byte"}},
        {R"({"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0, {"\"w\"", "shape", "overflows"}},
        {R"({"w":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}})", 0, {"\"w\"", "shape", "overflows"}},
        {R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", 2, {"duplicate key \"w\""}},
        {R"({"w":{"dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1]}})", 1, {"\"w\"", "duplicate key \"shape\""}},
        {R"({"__metadata__":{},"__metadata__":{}})", 0, {"duplicate key \"__metadata__\""}},
        {R"({"__metadata__":{"a":1}})", 0, {"__metadata__", "\"a\"", "expected a string"}},
        {R"({"__metadata__":"a"})", 0, {"__metadata__", "expected an object"}},
    };
    for (const broken& c : cases) {
        INFO(c.header);
        const auto r = parsed(file_of(c.header, c.data));
        REQUIRE_FALSE(r);
        INFO(r.error().message);
        CHECK(r.error().code == errc::corrupt);
        CHECK(r.error().message.starts_with("model: header: "));
        for (const char* word : c.words) CHECK(contains(r.error().message, word));
    }
    const auto message = [](std::string_view bytes) { return parsed(bytes).error().message; };
    const auto with_length = [](std::uint64_t n, const std::string& rest) {
        std::string f(sizeof n, '\0');
        std::memcpy(f.data(), &n, sizeof n);
        return f + rest;
    };
    CHECK(contains(message("1234567"), "this one has 7 bytes"));
    CHECK(contains(message(with_length(3, "{}")), "length (byte offset 0) is 3, the file has 2 bytes behind it"));
    CHECK(contains(message(with_length(100'000'001, "{}")), "safetensors allows 100000000"));
    for (const std::uint64_t n : {~std::uint64_t{0}, ~std::uint64_t{0} - 7, std::uint64_t{1} << 63})
        CHECK(contains(message(with_length(n, "{}")), std::to_string(n)));
    CHECK(contains(message("PK\3\4" + std::string(100, 'x')), "zip archive"));
    CHECK(contains(message("\x80\x02}q" + std::string(100, 'x')), "pickle"));
    CHECK(contains(message("<!DOCTYPE html><html>"), "web page"));
    CHECK(contains(message("version https://git-lfs.github.com/spec/v1\n"), "Git LFS pointer"));
    CHECK(safetensors_file::open("missing").error().code == errc::not_found);
}

TEST_CASE("safetensors: truncated and mutated files are refused or stay inside their bytes") {
    const std::string f = file_of(
        R"({"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"b":{"dtype":"F16","shape":[3],"data_offsets":[8,14]}})",
        14);
    REQUIRE(parsed(f));
    for (std::size_t n = 0; n < f.size(); ++n) {
        const std::vector<char> cut(f.begin(), f.begin() + static_cast<std::ptrdiff_t>(n));  // of this very size, for the address sanitizer
        CHECK_FALSE(parsed(std::string_view(cut.data(), n)));
    }
    std::mt19937 random(2);
    std::size_t accepted = 0;
    for (int i = 0; i < 20000; ++i) {
        std::string mutated = f;
        for (std::size_t n = random() % 3 + 1; n-- > 0;) mutated[random() % (f.size() - 14)] = "{}[]\",:0123456789ae\\ F"[random() % 22];
        if (i % 4 == 0) mutated[random() % 8] = static_cast<char>(random());
        const auto r = parsed(mutated);
        accepted += bool(r);
        for (std::size_t t = 0; r && t < r->tensors().size(); ++t) {
            const auto& tensor = r->tensors()[t];
            const bool inside = tensor.data.data() >= as_bytes(mutated).data() &&
                                tensor.data.data() + tensor.data.size() <= as_bytes(mutated).data() + mutated.size();
            if (!inside) FAIL("outside");
            static_cast<void>(r->read_f32(tensor.name));
        }
    }
    CHECK(accepted > 0);
}
