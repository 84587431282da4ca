#include <qnt/io/gguf.hpp>
#include <qnt/thread_pool.hpp>

#include <cmath>
#include <random>

#include "catch.hpp"
#include "support.hpp"
#include "temp_folder.hpp"

using namespace qnt;

namespace {

// ---- files byte by byte, by the text of the format and not by the library ----

template <class T> std::string raw(T v) { return {reinterpret_cast<const char*>(&v), sizeof v}; }
std::string u32(std::uint32_t v) { return raw(v); }
std::string u64(std::uint64_t v) { return raw(v); }
std::string text(const std::string& s) { return u64(s.size()) + s; }
std::string kv(const std::string& key, std::uint32_t type, const std::string& value) { return text(key) + u32(type) + value; }
std::string head(std::uint64_t tensors, std::uint64_t values, std::uint32_t version = 3) {
    return "GGUF" + u32(version) + u64(tensors) + u64(values);
}
std::string tensor(const std::string& name, const std::vector<std::uint64_t>& dims, std::uint32_t type, std::uint64_t offset) {
    std::string s = text(name) + u32(std::uint32_t(dims.size()));
    for (const std::uint64_t d : dims) s += u64(d);
    return s + u32(type) + u64(offset);
}
std::string padded(std::string s, std::size_t alignment = 32) {
    s.resize((s.size() + alignment - 1) / alignment * alignment, '\0');
    return s;
}
// One tensor, or what stands for it, and `data` bytes.
std::string file_of(const std::vector<std::string>& tensors, std::size_t data, const std::vector<std::string>& values = {}) {
    std::string f = head(tensors.size(), values.size());
    for (const std::string& v : values) f += v;
    for (const std::string& t : tensors) f += t;
    f = padded(f);
    for (std::size_t i = 0; i < data; ++i) f += char(i);
    return f;
}
std::string floats(std::initializer_list<float> v) {
    std::string s;
    for (const float x : v) s += raw(x);
    return s;
}

result<gguf_file> parsed(std::string_view bytes) { return gguf_file::view(as_bytes(bytes), "model"); }
std::string message(std::string_view bytes) {
    const auto r = parsed(bytes);
    REQUIRE_FALSE(r);
    CHECK(r.error().code == errc::corrupt);
    CHECK(r.error().message.starts_with("model: "));
    return r.error().message;
}

const std::string all_types =
    kv("a.u8", 0, raw(std::uint8_t{250})) + kv("a.i8", 1, raw(std::int8_t{-3})) + kv("a.u16", 2, raw(std::uint16_t{65535})) +
    kv("a.i16", 3, raw(std::int16_t{-300})) + kv("a.u32", 4, u32(4000000000u)) + kv("a.i32", 5, raw(std::int32_t{-70000})) +
    kv("a.f32", 6, raw(1.5f)) + kv("a.bool", 7, "\1") + kv("a.string", 8, text("gr\xc3\xbc\xc3\x9f")) +
    kv("a.strings", 9, u32(8) + u64(3) + text("x") + text("") + text("yz")) +
    kv("a.i32s", 9, u32(5) + u64(2) + raw(std::int32_t{-1}) + raw(std::int32_t{7})) + kv("a.u64", 10, u64(~std::uint64_t{0})) +
    kv("a.i64", 11, raw(std::int64_t{-5000000000})) + kv("a.f64", 12, raw(0.1)) + kv("a.f32s", 9, u32(6) + u64(2) + raw(0.25f) + raw(-2.0f)) +
    kv("a.bools", 9, u32(7) + u64(3) + std::string("\1\0\1", 3)) + kv("a.empty", 9, u32(8) + u64(0)) +
    kv("a.nested", 9, u32(9) + u64(2) + u32(0) + u64(2) + "\1\2" + u32(8) + u64(1) + text("deep"));

std::string small_file() {
    std::string f = padded(head(3, 18) + all_types + tensor("m", {3, 2}, 0, 0) + tensor("h", {4}, 1, 32) + tensor("q", {32, 2, 1}, 8, 64));
    f += padded(floats({1, 2, 3, 4, 5, 6})) + padded(std::string("\x00\x3c\x00\xc0\x00\x00\x01\x00", 8));
    return f;
}

}  // namespace

TEST_CASE("gguf: metadata of all 13 types") {
    const std::string bytes = padded(head(0, 18) + all_types);
    const gguf_file f = parsed(bytes).value();
    REQUIRE(f.metadata().size() == 18);
    CHECK(f.metadata()[0].first == "a.u8");
    CHECK(f.find_value("a.u9") == nullptr);
    const auto at = [&](const std::string& key) -> const gguf_value& {
        const gguf_value* v = f.find_value("a." + key);
        REQUIRE(v);
        return *v;
    };
    CHECK(at("u8").as_uint64().value() == 250);
    CHECK(at("i8").as_int64().value() == -3);
    CHECK(at("u16").as_int64().value() == 65535);
    CHECK(at("i16").as_int64().value() == -300);
    CHECK(at("u32").as_uint64().value() == 4000000000u);
    CHECK(at("i32").as_int64().value() == -70000);
    CHECK(at("u64").as_uint64().value() == ~std::uint64_t{0});
    CHECK(at("i64").as_int64().value() == -5000000000);
    CHECK(at("f32").as_f32().value() == 1.5f);
    CHECK(at("f32").as_f64().value() == 1.5);
    CHECK(at("f64").as_f64().value() == 0.1);
    CHECK(at("bool").as_bool().value());
    CHECK(at("string").as_string().value() == "gr\xc3\xbc\xc3\x9f");
    CHECK(at("strings").strings().value() == std::vector<std::string_view>{"x", "", "yz"});
    CHECK(at("i32s").numbers<std::int32_t>().value() == std::vector<std::int32_t>{-1, 7});
    CHECK(at("i32s").numbers<std::int8_t>().value() == std::vector<std::int8_t>{-1, 7});
    CHECK(at("f32s").numbers<float>().value() == std::vector<float>{0.25f, -2});
    CHECK(at("f32s").numbers<double>().value() == std::vector<double>{0.25, -2});
    CHECK(at("bools").numbers<bool>().value() == std::vector<bool>{true, false, true});
    CHECK(at("empty").strings().value().empty());
    CHECK(at("empty").element_type() == gguf_value_type::string);
    const auto nested = at("nested").arrays().value();
    REQUIRE(nested.size() == 2);
    CHECK(nested[0].numbers<int>().value() == std::vector<int>{1, 2});
    CHECK(nested[1].strings().value() == std::vector<std::string_view>{"deep"});
    CHECK(at("strings").type() == gguf_value_type::array);
    CHECK(at("strings").size() == 3);

    // What is there is named.
    CHECK(at("i32").as_uint64().error().message == "metadata \"a.i32\" is i32 -70000, not an unsigned integer");
    CHECK(at("u64").as_int64().error().message == "metadata \"a.u64\" is u64 18446744073709551615, not a signed integer");
    CHECK(at("f64").as_f32().error().message == "metadata \"a.f64\" is f64, not an f32");
    CHECK(at("u8").as_f64().error().message == "metadata \"a.u8\" is u8 250, not a floating-point number");
    CHECK(at("string").as_uint64().error().message == "metadata \"a.string\" is string, not an unsigned integer");
    CHECK(at("bool").as_uint64().error().message == "metadata \"a.bool\" is bool, not an unsigned integer");
    CHECK(at("u8").as_bool().error().message == "metadata \"a.u8\" is u8 250, not a bool");
    CHECK(at("strings").as_string().error().message == "metadata \"a.strings\" is an array of 3 string, not a string");
    CHECK(at("i32s").strings().error().message == "metadata \"a.i32s\" is an array of 2 i32, not an array of strings");
    CHECK(at("i32s").as_int64().error().code == errc::corrupt);
    CHECK_FALSE(at("i32s").numbers<std::uint32_t>());
    CHECK_FALSE(at("i32s").numbers<float>());
    CHECK_FALSE(at("i32s").numbers<bool>());
    CHECK_FALSE(at("bools").numbers<int>());
    CHECK_FALSE(at("strings").numbers<int>());
    CHECK_FALSE(at("nested").numbers<int>());
    CHECK_FALSE(at("u8").numbers<int>());
    CHECK_FALSE(at("i32s").arrays());
}

TEST_CASE("gguf: tensors, shapes outermost first, by view, open and load") {
    std::string bytes = small_file();
    for (std::size_t i = 0; i < 2; ++i) {  // Q8_0: d = 0.5 and -2, q = j - 16
        bytes += i ? std::string("\x00\xc0", 2) : std::string("\x00\x38", 2);
        for (int j = 0; j < 32; ++j) bytes += char(j - 16);
    }
    temp_folder folder;
    write_text(folder / "f.gguf", bytes);
    const int way = GENERATE(0, 1, 2);
    const gguf_file f = (way == 0 ? parsed(bytes) : way == 1 ? gguf_file::open(folder / "f.gguf") : gguf_file::load(folder / "f.gguf")).value();
    REQUIRE(f.tensors().size() == 3);
    CHECK(f.tensors()[0].name == "m");
    CHECK(f.find("m").value()->shape == std::vector<std::size_t>{2, 3});
    CHECK(f.find("q").value()->shape == std::vector<std::size_t>{1, 2, 32});
    CHECK(f.find("q").value()->elements == 64);
    CHECK(f.find("q").value()->type == std::uint32_t(gguf_type::q8_0));
    CHECK(f.find("q").value()->data.size() == 68);
    CHECK(f.read_f32("m").value() == std::vector<float>{1, 2, 3, 4, 5, 6});
    CHECK(f.read_f32("h").value() == std::vector<float>{1, -2, 0, 0x1p-24f});
    const auto q = f.read_f32("q").value();
    for (std::size_t i = 0; i < 64; ++i) CHECK(q[i] == (i < 32 ? 0.5f * float(int(i) - 16) : -2.0f * float(int(i) - 48)));
    std::vector<float> small(5);
    const std::string where = way == 0 ? "model" : folder / "f.gguf";
    CHECK(f.read_f32("m", small).error().message == where + ": tensor \"m\": has 6 elements (shape [2,3]), there is room for 5");
    CHECK(f.read_f32("x").error().code == errc::not_found);
    CHECK(f.find("x\x1b").error().message == where + ": there is no tensor \"x\\x1b\"");
    CHECK(gguf_file::open(folder / "missing").error().code == errc::not_found);
}

TEST_CASE("gguf: each rule that a file breaks is named with the key or tensor and the place") {
    struct broken {
        std::string bytes;
        std::vector<const char*> words;
    };
    constexpr std::uint64_t most = ~std::uint64_t{0}, half = std::uint64_t{1} << 63;
    const auto one_value = [](const std::string& value) { return padded(head(0, 1) + value + std::string(64, '\0')); };
    const auto one = [](const std::vector<std::uint64_t>& dims, std::uint32_t type, std::uint64_t offset, std::size_t data) {
        return file_of({tensor("w", dims, type, offset)}, data);
    };
    std::string nested = u32(9) + u64(1);
    for (int i = 0; i < 50000; ++i) nested += u32(9) + u64(1);
    const auto alignment = [](std::uint32_t n) { return file_of({}, 0, {kv("general.alignment", 4, u32(n))}); };
    const broken cases[] = {
        {"", {"magic (byte offset 0) is \"\"", "\"GGUF\""}},
        {"GGU", {"magic"}},
        {"GGUF", {"truncated", "24 bytes"}},
        {"GGML" + std::string(60, '\0'), {"magic (byte offset 0) is \"GGML\""}},
        {"PK\3\4" + std::string(60, '\0'), {"magic", "zip"}},
        {head(0, 0, 0), {"version (byte offset 4) is 0"}},
        {head(0, 0, 1), {"version (byte offset 4) is 1, an old one"}},
        {head(0, 0, 2), {"version (byte offset 4) is 2, an old one"}},
        {head(0, 0, 4), {"version (byte offset 4) is 4"}},
        {head(0, 0, 0x03000000), {"version", "big-endian"}},
        {head(most, 0) + std::string(100, '\0'), {"tensor count (byte offset 8)", "18446744073709551615", "more than 4"}},
        {head(5, 0) + std::string(100, '\0'), {"tensor count (byte offset 8)"}},
        {head(0, most) + std::string(100, '\0'), {"kv count", "(byte offset 16)", "more than 7"}},
        {head(0, 8) + std::string(100, '\0'), {"kv count"}},
        {head(0, 2) + kv("k", 4, u32(1)) + u64(100) + std::string(6, 'k'), {"metadata 1 of 2", "key (byte offset 49) has 100 bytes", "truncated"}},
        {head(0, 1) + u64(most) + std::string(40, 'k'), {"metadata 0 of 1", "key (byte offset 32) has 18446744073709551615 bytes"}},
        {one_value(kv("", 4, u32(1))), {"byte offset 24", "key is empty"}},
        {one_value(kv("a\tb", 4, u32(1))), {"\"a\\x09b\"", "printable ASCII"}},
        {one_value(kv("a\xc3\xa9", 4, u32(1))), {"printable ASCII"}},
        {one_value(kv("a\xff", 4, u32(1))), {"not UTF-8", "a\\xff"}},
        {one_value(kv(std::string(65536, 'k'), 4, u32(1))), {"65536 bytes"}},
        {one_value(kv("k", 13, "")), {"\"k\"", "value type (byte offset 33) is 13"}},
        {one_value(kv("k", 0xffffffff, "")), {"\"k\"", "4294967295"}},
        {one_value(kv("k", 7, "\2")), {"\"k\"", "bool (byte offset 37) is 2"}},
        {one_value(kv("k", 8, u64(most))), {"\"k\"", "string", "18446744073709551615"}},
        {one_value(kv("k", 8, u64(1000))), {"\"k\"", "string", "1000"}},
        {one_value(kv("k", 8, text("\xed\xa0\x80"))), {"\"k\"", "string (byte offset 37) is not UTF-8"}},
        {one_value(kv("k", 9, u32(13) + u64(0))), {"\"k\"", "element type of an array", "13"}},
        {one_value(kv("k", 9, u32(8) + u64(half / 4))), {"\"k\"", "array (byte offset 37)", "so many string"}},
        {one_value(kv("k", 9, u32(12) + u64(half / 4))), {"\"k\"", "array", "so many f64"}},
        {one_value(kv("k", 9, u32(9) + u64(most))), {"\"k\"", "array", "so many array"}},
        {one_value(kv("k", 9, u32(7) + u64(3) + std::string("\0\1\7", 3))), {"\"k\"", "bool (byte offset 51) is 7"}},
        {one_value(kv("k", 9, u32(8) + u64(2) + text("x") + u64(most))), {"\"k\"", "string"}},
        {one_value(kv("k", 9, nested)), {"\"k\"", "nested deeper than 8"}},
        {padded(head(0, 2) + kv("k", 4, u32(1)) + kv("k", 4, u32(2))), {"duplicate key \"k\" (byte offset "}},
        {alignment(0), {"\"general.alignment\" (byte offset 53) is 0", "power of two"}},
        {alignment(4), {"general.alignment"}},
        {alignment(48), {"general.alignment", "48"}},
        {alignment(1u << 21), {"general.alignment", "2097152"}},
        {alignment(1u << 31), {"general.alignment"}},
        {file_of({}, 0, {kv("general.alignment", 5, u32(32))}), {"general.alignment", "must be u32", "i32"}},
        {file_of({}, 0, {kv("general.alignment", 8, text("32"))}), {"general.alignment", "must be u32", "string"}},
        {padded(head(1, 0) + u64(most) + std::string(40, 'n')), {"tensor 0 of 1", "name"}},
        {file_of({tensor(std::string(65, 'n'), {1}, 0, 0)}, 4), {"65 bytes", "64"}},
        {file_of({tensor("a\xff", {1}, 0, 0)}, 4), {"name", "not UTF-8"}},
        {file_of({tensor(std::string("a\0b", 3), {1}, 0, 0)}, 4), {"NUL"}},
        {one({1, 1, 1, 1, 1}, 0, 0, 4), {"\"w\"", "n_dims (byte offset 33) is 5"}},
        {padded(head(1, 0) + text("w") + u32(0xffffffff) + std::string(64, '\0')), {"\"w\"", "n_dims", "4294967295"}},
        {one({half}, 0, 0, 64), {"\"w\"", "dimension", "9223372036854775808"}},
        {one({0, half}, 0, 0, 64), {"\"w\"", "dimension"}},
        {one({1ull << 32, 1ull << 32}, 0, 0, 64), {"\"w\"", "shape [4294967296,4294967296]", "overflow"}},
        {one({1ull << 62}, 0, 0, 64), {"\"w\"", "F32", "size overflows"}},
        {one({1ull << 62}, 8, 0, 64), {"\"w\"", "offset 0", "truncated"}},
        {one({1ull << 62, 2}, 24, 0, 64), {"\"w\"", "offset 0", "truncated"}},
        {one({1}, 4, 0, 64), {"\"w\"", "type (byte offset 45) is 4"}},
        {one({1}, 200, 0, 64), {"\"w\"", "type", "200"}},
        {one({1}, 0xffffffff, 0, 64), {"\"w\"", "type", "4294967295"}},
        {one({33}, 8, 0, 64), {"\"w\"", "rows of 33 elements", "block of 32"}},
        {one({16, 2}, 2, 0, 64), {"\"w\"", "rows of 16"}},
        {one({32}, 14, 0, 256), {"\"w\"", "block of 256"}},
        {one({}, 8, 0, 64), {"\"w\"", "rows of 1 "}},
        {one({8}, 0, 32, 32), {"\"w\"", "offset 32", "truncated"}},
        {one({9}, 0, 0, 32), {"\"w\"", "size of 36 bytes", "32 bytes from byte offset 64"}},
        {one({1}, 0, std::uint64_t{1} << 40, 32), {"\"w\"", "offset 1099511627776"}},
        {one({1024}, 0, most - 31, 32), {"\"w\"", "offset 18446744073709551584"}},
        {one({0}, 0, 64, 32), {"\"w\"", "offset 64"}},
        {one({1}, 0, 4, 32), {"\"w\"", "offset 4 is not a multiple of the alignment 32"}},
        {one({1}, 0, 32, 64), {"\"w\"", "hole after the start of the data"}},
        {file_of({tensor("v", {16}, 0, 0), tensor("w", {1}, 0, 32)}, 64), {"\"w\"", "overlap with tensor \"v\"", "ends at 64"}},
        {file_of({tensor("v", {8}, 0, 0), tensor("w", {8}, 0, 0)}, 64), {"\"w\"", "overlap", "\"v\""}},
        {file_of({tensor("v", {1}, 0, 0), tensor("w", {1}, 0, 64)}, 96), {"\"w\"", "hole after tensor \"v\""}},
        {file_of({tensor("w", {1}, 0, 0), tensor("w", {1}, 0, 32)}, 64), {"duplicate tensor \"w\" (byte offset "}},
        {file_of({tensor("v", {(half - 64) >> 1}, 24, 0), tensor("w", {(half - 64) >> 1}, 24, half - 64)}, 64), {"\"v\"", "offset 0", "truncated"}},
    };
    for (const broken& c : cases) {
        const std::string m = message(c.bytes);
        INFO(m);
        for (const char* word : c.words) CHECK(contains(m, word));
        CHECK(m.size() < 400);
    }
}

TEST_CASE("gguf: legal corners") {
    CHECK(parsed(head(0, 0)));
    CHECK(parsed(head(0, 1) + kv("k", 4, u32(1))));       // no data: no padding before it
    CHECK(parsed(file_of({tensor("w", {1}, 0, 0)}, 4)));  // the last padding is not there
    const std::string tail = file_of({tensor("w", {1}, 0, 0)}, 100);
    CHECK(parsed(tail));
    const std::string unordered = file_of({tensor("b", {8}, 0, 32), tensor("e", {0, 4}, 0, 32), tensor("a", {8}, 0, 0), tensor("s", {}, 0, 64)}, 68);
    const gguf_file f = parsed(unordered).value();
    CHECK(f.read_f32("e").value().empty());
    CHECK(f.find("s").value()->elements == 1);
    CHECK(f.find("s").value()->shape.empty());
    CHECK(f.find("b").value()->data.data() - f.find("a").value()->data.data() == 32);
    const std::string wide =
        padded(head(2, 1) + kv("general.alignment", 4, u32(64)) + tensor("a", {1}, 0, 0) + tensor("b", {1}, 0, 64), 64) + std::string(68, '\0');
    CHECK(parsed(wide));
    CHECK(parsed(file_of({tensor(std::string(64, 'n'), {1}, 0, 0), tensor("../../x \x1b[2J", {1}, 0, 32)}, 64)));
    CHECK(parsed(head(0, 1) + kv("k", 9, u32(9) + u64(0))));

    std::string many = head(0, 20000), strings = u32(8) + u64(200000);
    for (int i = 0; i < 20000; ++i) many += kv(std::string("k").append(std::to_string(i * 7919 % 20000)), 4, u32(std::uint32_t(i)));
    const gguf_file keys = parsed(many).value();
    CHECK(keys.find_value("k7919")->as_uint64().value() == 1);
    for (int i = 0; i < 200000; ++i) strings += u64(0);
    const std::string long_array = head(0, 1) + kv("k", 9, strings);
    CHECK(parsed(long_array).value().find_value("k")->strings().value().size() == 200000);

    // A type that is known but not decoded does not spoil the others.
    const std::string other = file_of({tensor("i", {256}, 22, 0), tensor("w", {1}, 0, 96)}, 100);
    const gguf_file listed = parsed(other).value();
    CHECK(listed.read_f32("w"));
    CHECK(listed.read_f32("i").error().message == "model: tensor \"i\": type IQ2_S is not decoded");
    CHECK(listed.read_packed("i").error().code == errc::unsupported);
}

TEST_CASE("gguf: truncated and mutated files are refused or stay inside of their bytes") {
    const std::string f = small_file() + std::string(68, '\x21');
    REQUIRE(parsed(f));
    for (std::size_t n = 0; n < f.size(); ++n) {
        const std::vector<char> cut(f.begin(), f.begin() + std::ptrdiff_t(n));  // of this very size, for the address sanitizer
        CHECK_FALSE(parsed(std::string_view(cut.data(), n)));
    }
    const std::size_t head_bytes = f.size() - 132;
    std::mt19937 random(3);
    std::size_t accepted = 0;
    for (int i = 0; i < 30000; ++i) {
        std::vector<char> mutated(f.begin(), f.end());
        for (std::size_t n = random() % 3 + 1; n-- > 0;) {
            const std::uint64_t values[] = {0, 1, 2, 8, 9, 13, 255, random()};
            mutated[random() % head_bytes] = char(values[random() % 8]);
        }
        const std::string_view bytes(mutated.data(), mutated.size());
        const auto r = parsed(bytes);
        accepted += bool(r);
        if (!r) continue;
        for (const gguf_tensor& t : r->tensors()) {
            const auto all = as_bytes(bytes);
            if (!t.data.empty() && (t.data.data() < all.data() || t.data.data() + t.data.size() > all.data() + all.size())) FAIL("outside");
            static_cast<void>(r->read_f32(t.name));
            static_cast<void>(r->read_packed(t.name));
        }
        for (const auto& [key, value] : r->metadata()) {
            static_cast<void>(value.as_uint64());
            static_cast<void>(value.as_string());
            static_cast<void>(value.strings());
            static_cast<void>(value.arrays());
            static_cast<void>(value.numbers<float>());
            static_cast<void>(value.numbers<std::int16_t>());
        }
    }
    CHECK(accepted > 1000);
}

TEST_CASE("gguf: an infinite or NaN scale is refused with its tensor and block") {
    for (const char* scale : {"\x00\x7c", "\x00\xfc", "\x01\x7e"}) {
        std::string f = file_of({tensor("w", {64, 40}, 8, 0)}, 34 * 80);
        const std::size_t begin = f.size() - 34 * 80;
        for (std::size_t b = 0; b < 80; ++b) f.replace(begin + 34 * b, 34, std::string("\x00\x3c", 2) + std::string(32, '\1'));
        REQUIRE(parsed(f).value().read_f32("w"));
        f.replace(begin + 34 * 61, 2, std::string(scale, 2));
        const gguf_file file = parsed(f).value();
        thread_pool pool(3);
        CHECK(file.read_f32("w", pool).error().code == errc::not_finite);
        CHECK(file.read_f32("w").error().message ==
              "model: tensor \"w\": block 61 (byte offset " + std::to_string(begin + 34 * 61) + ") of Q8_0 holds a number that is not finite");
        CHECK(file.read_packed("w", pool).error().message == "model: tensor \"w\": row 30: block 1: its scale is not a finite number");
    }
}

TEST_CASE("gguf: Q8_0, Q4_0, F32, F16 and BF16 become packed matrices, no number changed") {
    const std::size_t rows = 21, cols = 96;
    std::mt19937 random(5);
    thread_pool pool(2);
    for (const gguf_type type : {gguf_type::q8_0, gguf_type::q4_0, gguf_type::f32, gguf_type::f16, gguf_type::bf16}) {
        const gguf_type_info& t = *find_gguf_type(std::uint32_t(type));
        INFO(t.name);
        const std::size_t bytes = rows * cols / t.block * t.bytes;
        std::string f =
            file_of({tensor("w", {cols, rows}, std::uint32_t(type), 0), tensor("v", {cols * rows}, std::uint32_t(type), (bytes + 31) / 32 * 32)},
                    (bytes + 31) / 32 * 32 + bytes);
        char* data = f.data() + f.size() - (bytes + 31) / 32 * 32 - bytes;
        for (std::size_t i = 0; i < bytes; ++i) data[i] = char(random());
        for (std::size_t b = 0; b < bytes / t.bytes; ++b) {
            char* block = data + b * t.bytes;
            if (t.block == 1) block[t.bytes - 1] = char(block[t.bytes - 1] & 0xbb);  // finite
            else block[1] = char(block[1] & 0xbb);
            for (std::size_t j = 2; type == gguf_type::q8_0 && j < 34; ++j)
                if (block[j] == char(-128)) block[j] = 0;
        }
        const gguf_file file = parsed(f).value();
        const auto numbers = file.read_f32("w").value();
        const any_matrix w = file.read_packed("w", pool).value();
        CHECK(w.format() == gguf_file::grid_of(*file.find("w").value()));
        CHECK(w.rows() == rows);
        CHECK(w.cols() == cols);
        std::vector<float> back(rows * cols);
        dequantize(matrix_view<float>{back.data(), rows, cols}, w.view());
        CHECK(test::same_bits(back, numbers));
        const auto blocks = gguf_encode(w.view()).value();  // and back again, byte for byte
        CHECK(std::memcmp(blocks.data(), data, bytes) == 0);

        // Products see the same numbers: rows of the identity give columns of w.
        std::vector<float> x(cols * cols), y(cols * rows);
        for (std::size_t i = 0; i < cols; ++i) x[i * cols + i] = 1;
        gemm(matrix_view<float>{y.data(), cols, rows}, matrix_view<const float>{x.data(), cols, cols}, w.view(), {.mode = exact});
        std::size_t wrong = 0;
        for (std::size_t r = 0; r < rows; ++r)
            for (std::size_t c = 0; c < cols; ++c) wrong += y[c * rows + r] != numbers[r * cols + c];
        CHECK(wrong == 0);
        CHECK(file.read_packed("v").error().message == "model: tensor \"v\": shape [2016] is no matrix");
        if (type == gguf_type::q8_0) {
            data[34 * 5 + 2 + 7] = char(-128);
            CHECK(file.read_packed("w").error().message == "model: tensor \"w\": row 1: block 2: a code is -128, which int8 does not have");
            CHECK(file.read_f32("w"));
        }
    }
    const std::string other = file_of({tensor("w", {32, 2}, 3, 0)}, 40);
    const gguf_file file = parsed(other).value();
    CHECK_FALSE(gguf_file::grid_of(file.tensors()[0]));
    CHECK(file.read_packed("w").error().message ==
          "model: tensor \"w\": type Q4_1 lies on no grid of qnt: its blocks have a minimum that is no "
          "multiple of their scale; read_f32 and quantize it");
    CHECK(file.read_packed("x").error().code == errc::not_found);
}

TEST_CASE("gguf: the writer's bytes are those of the format") {
    const std::string small = small_file();
    const std::string wanted = small + padded(std::string(68, '\x21'));
    temp_folder folder;
    gguf_writer w;
    const auto set = [&](const char* key, const auto& value) { REQUIRE(w.set(key, value)); };
    const gguf_file original = parsed(wanted).value();
    set("a.u8", std::uint8_t{250});
    set("a.i8", std::int8_t{-3});
    set("a.u16", std::uint16_t{65535});
    set("a.i16", std::int16_t{-300});
    set("a.u32", 4000000000u);
    set("a.i32", -70000);
    set("a.f32", 1.5f);
    set("a.bool", true);
    set("a.string", "gr\xc3\xbc\xc3\x9f");
    set("a.strings", std::vector<std::string>{"x", "", "yz"});
    set("a.i32s", std::vector<std::int32_t>{-1, 7});
    set("a.u64", ~std::uint64_t{0});
    set("a.i64", std::int64_t{-5000000000});
    set("a.f64", 0.1);
    const float two[] = {0.25f, -2};
    set("a.f32s", std::span<const float>(two));
    set("a.bools", std::vector<bool>{true, false, true});
    set("a.empty", std::span<const std::string_view>());
    set("a.nested", *original.find_value("a.nested"));
    REQUIRE(w.declare("m", gguf_type::f32, {2, 3}));
    REQUIRE(w.declare("h", gguf_type::f16, {4}));
    REQUIRE(w.declare("q", gguf_type::q8_0, {1, 2, 32}));
    REQUIRE(w.begin(folder / "f.gguf"));
    CHECK_FALSE(std::filesystem::exists(folder / "f.gguf"));
    for (const gguf_tensor& t : original.tensors()) REQUIRE(w.write(t.name, t.data));
    REQUIRE(w.finish());
    // The writer adds what blocks need: one key more.
    std::string with_version = "GGUF" + u32(3) + u64(3) + u64(19) + all_types + kv("general.quantization_version", 4, u32(2));
    with_version += tensor("m", {3, 2}, 0, 0) + tensor("h", {4}, 1, 32) + tensor("q", {32, 2, 1}, 8, 64);
    CHECK(text_of(folder / "f.gguf") == padded(with_version) + wanted.substr(small.size() - 64));

    gguf_writer copy;  // every value of another file
    for (const auto& [key, value] : original.metadata()) REQUIRE(copy.set(key, value));
    REQUIRE(copy.set("general.alignment", std::uint32_t{128}));
    REQUIRE(copy.declare("x", gguf_type::f32, {1}));
    REQUIRE(copy.begin(folder / "g.gguf"));
    REQUIRE(copy.write("x", as_bytes("abcd")));
    REQUIRE(copy.finish());
    CHECK(text_of(folder / "g.gguf") ==
          padded(padded("GGUF" + u32(3) + u64(1) + u64(19) + all_types + kv("general.alignment", 4, u32(128)) + tensor("x", {1}, 0, 0), 128) + "abcd",
                 128));
    CHECK(gguf_file::open(folder / "g.gguf"));
}

TEST_CASE("gguf: the writer refuses what readers would, and leaves no half file") {
    temp_folder folder;
    const auto refuses = [](const result<void>& r, const char* words) {
        REQUIRE_FALSE(r);
        INFO(r.error().message);
        CHECK(r.error().code == errc::invalid_argument);
        CHECK(contains(r.error().message, words));
    };
    {
        gguf_writer w;
        refuses(w.set("", 1), "key is empty");
        refuses(w.set("a\n", 1), "printable ASCII");
        refuses(w.set(std::string(65536, 'k'), 1), "65536 bytes");
        refuses(w.set("k", "\xff"), "not UTF-8");
        refuses(w.set("k", std::vector<std::string>{"a", "\xff"}), "not UTF-8");
        refuses(w.set("general.alignment", 64), "must be a u32");
        refuses(w.set("general.alignment", std::uint32_t{24}), "power of two");
        refuses(w.declare("", gguf_type::f32, {1}), "not empty");
        refuses(w.declare(std::string(64, 'n'), gguf_type::f32, {1}), "64 bytes");
        refuses(w.declare(std::string("a\0b", 3), gguf_type::f32, {1}), "NUL");
        refuses(w.declare("w", gguf_type(99), {1}), "type 99 is unknown");
        refuses(w.declare("w", gguf_type::q8_0, {32, 33}), "rows of 33");
        refuses(w.declare("w", gguf_type::f32, {1, 1, 1, 1, 1}), "1 to 4 dimensions");
        refuses(w.declare("w", gguf_type::f32, {0}), "at least one element");
        refuses(w.declare("w", gguf_type::f32, {std::size_t{1} << 62}), "overflows");
        refuses(w.write("w", {}), "before begin()");
        refuses(w.finish(), "before begin()");
        REQUIRE(w.declare("v", gguf_type::f32, {2}));
        REQUIRE(w.declare("w", gguf_type::f32, {1}));
        CHECK(w.begin(folder / "no/such/folder").error().code == errc::not_found);
        REQUIRE(w.begin(folder / "f"));
        refuses(w.begin(folder / "g"), "twice");
        refuses(w.set("k", 1), "after begin()");
        refuses(w.declare("x", gguf_type::f32, {1}), "after begin()");
        refuses(w.write("w", as_bytes("abcd")), "the next one declared is \"v\"");
        refuses(w.write("v", as_bytes("abcd")), "4 bytes, shape [2] of F32 needs 8");
        REQUIRE(w.write("v", as_bytes("abcdefgh")));
        refuses(w.finish(), "tensor \"w\" is not written");
    }
    CHECK(folder.files() == 0);
    for (const bool of_keys : {true, false}) {
        gguf_writer w;
        for (int i = 0; i < 2; ++i) REQUIRE((of_keys ? w.set("k", i) : w.declare("k", gguf_type::f32, {1})));
        refuses(w.begin(folder / "f"), of_keys ? "duplicate key \"k\"" : "duplicate tensor \"k\"");
    }
    gguf_writer huge;
    for (const char* name : {"a", "b", "c", "d", "e"}) REQUIRE(huge.declare(name, gguf_type::i8, {std::size_t{1} << 62}));
    refuses(huge.begin(folder / "f"), "overflow 64 bits");
    gguf_writer w;
    REQUIRE(w.begin(folder / "f"));
    refuses(w.write("x", {}), "after the last one declared");
    REQUIRE(w.finish());
    refuses(w.finish(), "twice");
    CHECK(text_of(folder / "f") == padded(head(0, 0)));
}
