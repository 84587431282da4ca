#include <qnt/io/safetensors_writer.hpp>

#include "catch.hpp"
#include "temp_folder.hpp"

using namespace qnt;
using namespace std::string_view_literals;

static std::string message(const result<void>& r) { return r ? "" : r.error().message; }

TEST_CASE("safetensors_writer: the bytes of the reference writer") {
    // safetensors 0.8.0, safetensors.numpy.save() of the same tensors, which it sorts too
    constexpr std::string_view reference =
        "\xb0\x01\0\0\0\0\0\0"
        R"({"__metadata__":{"format":"pt"},"long":{"dtype":"I64","shape":[],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[1],)"
        R"("data_offsets":[8,12]},"b":{"dtype":"F32","shape":[2,2],"data_offsets":[12,28]},"none":{"dtype":"F32","shape":[2,0],)"
        R"("data_offsets":[28,28]},"h":{"dtype":"F16","shape":[2],"data_offsets":[28,32]},"z\")"
        "\xc3\xa9"
        R"(":{"dtype":"U8","shape":[1,3],"data_offsets":[32,35]},"flag":{"dtype":"BOOL","shape":[1],"data_offsets":[35,36]}})"
        "\xff\xff\xff\xff\xff\xff\xff\xff\0\0\xe0\x40\0\0\xc0?\0\0\0\xc0\0\0\0\0\0\0@@\0\x38\0<\1\2\3\1"sv;
    const temp_folder folder;
    safetensors_writer out;
    REQUIRE(out.declare("b", safetensors_dtype::f32, {2, 2}));
    REQUIRE(out.declare("flag", safetensors_dtype::boolean, {1}));
    REQUIRE(out.declare("a", safetensors_dtype::f32, {1}));
    REQUIRE(out.declare("h", safetensors_dtype::f16, {2}));
    REQUIRE(out.declare("z\"\xc3\xa9", safetensors_dtype::u8, {1, 3}));
    REQUIRE(out.declare("long", safetensors_dtype::i64, {}));
    REQUIRE(out.declare("none", safetensors_dtype::f32, {2, 0}));
    REQUIRE(out.set_metadata("format", "other"));
    REQUIRE(out.set_metadata("format", "pt"));
    REQUIRE(out.begin(folder / "model"));
    std::vector<std::string> names;
    for (const safetensors_tensor& t : out.order()) names.push_back(t.name);
    CHECK(names == std::vector<std::string>{"long", "a", "b", "none", "h", "z\"\xc3\xa9", "flag"});
    REQUIRE(out.write("long", as_bytes("\xff\xff\xff\xff\xff\xff\xff\xff")));
    REQUIRE(out.write("a", std::vector<float>{7}));
    REQUIRE(out.write("b", std::vector<float>{1.5f, -2, 0, 3}));
    REQUIRE(out.write("none", std::vector<float>{}));
    REQUIRE(out.write("h", std::vector<f16>{f16(0.5f), f16(1.0f)}));
    REQUIRE(out.write("z\"\xc3\xa9", as_bytes("\1\2\3")));
    REQUIRE(out.write("flag", as_bytes("\1")));
    CHECK_FALSE(std::filesystem::exists(folder / "model"));
    REQUIRE(out.finish());
    CHECK(text_of(folder / "model") == reference);
    CHECK(folder.files() == 1);
}

TEST_CASE("safetensors_writer: what is written is read back, whatever the dtype and the name") {
    const temp_folder folder;
    safetensors_writer out;
    for (std::size_t i = 1; i < std::size(safetensors_dtypes); ++i)
        REQUIRE(out.declare("\x01\n\"\\/" + std::to_string(i), static_cast<safetensors_dtype>(i), {2, i, 4}));
    REQUIRE(out.set_metadata("a \"key\"\t", "a\nvalue\\"));
    REQUIRE(out.set_metadata("", ""));
    REQUIRE(out.begin(folder / "model"));
    const auto content = [](const safetensors_tensor& t) {
        const auto dtype = static_cast<std::size_t>(t.dtype);
        return std::string(t.elements * safetensors_dtypes[dtype].bits / 8, static_cast<char>(dtype));
    };
    for (const safetensors_tensor& t : out.order()) REQUIRE(out.write(t.name, as_bytes(content(t))));
    REQUIRE(out.finish());
    const auto file = safetensors_file::open(folder / "model").value();
    CHECK(file.metadata()[0] == std::pair<std::string, std::string>("a \"key\"\t", "a\nvalue\\"));
    CHECK(file.metadata()[1] == std::pair<std::string, std::string>("", ""));
    REQUIRE(file.tensors().size() == std::size(safetensors_dtypes) - 1);
    for (const safetensors_tensor& t : file.tensors()) {
        const auto dtype = static_cast<std::size_t>(t.dtype);
        CHECK(t.name == "\x01\n\"\\/" + std::to_string(dtype));
        CHECK(t.shape == std::vector<std::size_t>{2, dtype, 4});
        CHECK(std::string_view(reinterpret_cast<const char*>(t.data.data()), t.data.size()) == content(t));
    }

    safetensors_writer none;
    REQUIRE(none.begin(folder / "none"));
    REQUIRE(none.finish());
    CHECK(text_of(folder / "none") == "\10\0\0\0\0\0\0\0{}      "sv);
    CHECK(safetensors_file::open(folder / "none"));
}

TEST_CASE("safetensors_writer: what cannot be written is refused, and nothing is left of what is not finished") {
    const temp_folder folder;
    write_text(folder / "model", "old");
    safetensors_writer out;
    REQUIRE(out.declare("w", safetensors_dtype::f32, {2}));
    REQUIRE(out.declare("v", safetensors_dtype::f32, {1}));
    CHECK(message(out.declare("w", safetensors_dtype::f32, {2})) == "safetensors_writer: tensor \"w\": was declared before");
    CHECK(contains(message(out.declare("\xff", safetensors_dtype::f32, {2})), "\"\\xff\": the name must be UTF-8"));
    CHECK(contains(message(out.declare("__metadata__", safetensors_dtype::f32, {2})), "not \"__metadata__\""));
    CHECK(contains(message(out.declare("x", safetensors_dtype::unknown, {2})), "dtype is unknown"));
    CHECK(contains(message(out.declare("x", static_cast<safetensors_dtype>(99), {2})), "dtype is unknown"));
    CHECK(contains(message(out.declare("x", safetensors_dtype::f4, {3})), "shape [3] of dtype F4"));
    CHECK(contains(message(out.declare("x", safetensors_dtype::u8, {~std::size_t{0}, 2})), "overflows"));
    CHECK(contains(message(out.declare("x", safetensors_dtype::u64, {~std::size_t{0} / 8})), "overflows"));
    CHECK(out.set_metadata("a", "\xc0").error().code == errc::invalid_argument);
    CHECK(message(out.write("w", std::vector<float>{1, 2})) == "safetensors_writer: tensor \"w\": is written before begin()");
    CHECK(message(out.finish()) == "safetensors_writer: finish() without begin()");
    CHECK(out.begin(folder / "no/folder").error().code == errc::not_found);
    CHECK(out.begin("/dev/full").error().code == errc::invalid_argument);

    REQUIRE(out.begin(folder / "model"));
    CHECK(folder.files() == 2);
    CHECK(contains(message(out.declare("x", safetensors_dtype::u8, {1})), "after begin()"));
    CHECK(contains(message(out.set_metadata("a", "b")), "after begin()"));
    CHECK(message(out.write("w", std::vector<float>{1, 2})) == "safetensors_writer: tensor \"w\": the next one is \"v\", see order()");
    CHECK(message(out.write("v", std::vector<float>{1, 2})) == "safetensors_writer: tensor \"v\": has 8 bytes, shape [1] of dtype F32 needs 4");
    CHECK(message(out.write("v", std::vector<f16>(2))) == "safetensors_writer: tensor \"v\": is F16, declared was F32");
    REQUIRE(out.write("v", std::vector<float>{1}));
    CHECK(message(out.finish()) == "safetensors_writer: tensor \"w\": was declared, but not written");
    REQUIRE(out.write("w", std::vector<float>{1, 2}));
    CHECK(contains(message(out.write("w", std::vector<float>{1, 2})), "all declared tensors are written"));
    out = safetensors_writer();
    CHECK(folder.files() == 1);
    CHECK(text_of(folder / "model") == "old");

    for (const char* name : {"a", "b", "c", "d"}) REQUIRE(out.declare(name, safetensors_dtype::u8, {std::size_t{1} << 60}));
    CHECK(contains(message(out.begin(folder / "model")), "tensor \"d\": the file would be larger"));
    safetensors_writer large;
    REQUIRE(large.set_metadata("a", std::string(safetensors_file::max_header_bytes, 'x')));
    CHECK(contains(message(large.begin(folder / "model")), "the format allows 100000000"));
    CHECK(folder.files() == 1);
}
