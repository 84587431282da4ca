#include <qnt/io/npy.hpp>

#include <array>
#include <cmath>
#include <limits>
#include <random>

#include "catch.hpp"
#include "temp_folder.hpp"

using namespace qnt;
using namespace std::string_view_literals;
using namespace std::string_literals;

namespace {

// A header padded as numpy does, then the data.
std::string file_of(const std::string& dict, std::string_view data, char major = 1) {
    std::string text = dict;
    const std::size_t before = major == 1 ? 10 : 12;
    while ((before + text.size() + 1) % 64 != 0) text += ' ';
    text += '\n';
    std::string f = "\x93NUMPY";
    f += major;
    for (std::size_t i = 0, n = text.size(); i < before - 7; ++i)
        if (i == 0) f += '\0';
        else f += static_cast<char>(n & 255), n >>= 8;
    return f + text + std::string(data);
}
std::string dict_of(const std::string& descr, const std::string& shape, const char* order = "False") {
    return "{'descr': '" + descr + "', 'fortran_order': " + order + ", 'shape': " + shape + ", }";
}
result<npy_file> parsed(std::string_view bytes) { return npy_file::view(as_bytes(bytes), "file"); }

}  // namespace

TEST_CASE("npy: files that numpy 2.4.6 wrote") {
    const std::string blanks(64, ' ');
    const auto written = [&](std::string_view header, std::size_t spaces, std::string_view data) {
        return std::string(header) + blanks.substr(0, spaces) + "\n" + std::string(data);
    };
    const std::string f4 = written("\x93NUMPY\1\0v\0{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"sv, 58,
                                   "\0\0\xc0?\0\0\0\xc0\0\0\0\0\0\0@@\0\0\x80@\0\0\xa0@"sv);
    const std::string i8 = written("\x93NUMPY\1\0v\0{'descr': '<i8', 'fortran_order': False, 'shape': (), }"sv, 62, "\7\0\0\0\0\0\0\0"sv);
    const std::string f2 = written("\x93NUMPY\1\0v\0{'descr': '<f2', 'fortran_order': False, 'shape': (0, 3), }"sv, 58, "");
    const std::string b1 = written("\x93NUMPY\1\0v\0{'descr': '|b1', 'fortran_order': False, 'shape': (2,), }"sv, 60, "\1\0"sv);
    const std::string i2 = written("\x93NUMPY\1\0v\0{'descr': '<i2', 'fortran_order': True, 'shape': (2, 3), }"sv, 59, "\1\0\4\0\2\0\5\0\3\0\6\0"sv);
    const std::string u1 = written("\x93NUMPY\1\0v\0{'descr': '|u1', 'fortran_order': False, 'shape': (1, 1, 1, 1, 1, 1, 1, 1, 1), }"sv, 37, "\0"sv);
    REQUIRE(f4.size() == 152);

    const auto f = parsed(f4).value();
    CHECK(f.dtype() == npy_dtype::f32);
    CHECK(f.shape() == std::vector<std::size_t>{2, 3});
    CHECK(f.elements() == 6);
    CHECK(f.data().size() == 24);
    CHECK(f.read<float>().value() == std::vector<float>{1.5f, -2, 0, 3, 4, 5});
    CHECK(f.read_f32().value() == std::vector<float>{1.5f, -2, 0, 3, 4, 5});
    CHECK(f.read<double>().error().message == "file: is an array of <f4, asked for was <f8");
    CHECK(parsed(i8).value().read<std::int64_t>().value() == std::vector<std::int64_t>{7});
    CHECK(parsed(i8).value().shape().empty());
    CHECK(parsed(i8).value().read_f32().error().code == errc::unsupported);
    CHECK(parsed(f2).value().read_f32().value().empty());
    CHECK(parsed(b1).value().read<std::uint8_t>().value() == std::vector<std::uint8_t>{1, 0});
    CHECK(parsed(i2).value().read<std::int16_t>().value() == std::vector<std::int16_t>{1, 2, 3, 4, 5, 6});  // row-major again
    CHECK(parsed(u1).value().shape() == std::vector<std::size_t>(9, 1));

    const temp_folder folder;
    const std::string path = folder / "x.npy";
    const auto same = [&](const result<void>& r, const std::string& bytes) {
        REQUIRE(r);
        CHECK(text_of(path) == bytes);
    };
    same(write_npy(path, std::vector<float>{1.5f, -2, 0, 3, 4, 5}, {2, 3}), f4);
    same(write_npy(path, npy_dtype::i64, as_bytes("\7\0\0\0\0\0\0\0"sv), {}), i8);
    same(write_npy(path, std::vector<f16>{}, {0, 3}), f2);
    same(write_npy(path, npy_dtype::boolean, as_bytes("\1\0"sv), std::vector<std::size_t>{2}), b1);
    same(write_npy(path, std::array<std::uint8_t, 1>{}, std::vector<std::size_t>(9, 1)), u1);
    CHECK(folder.files() == 1);
}

TEST_CASE("npy: what is written is read back, whatever the type") {
    const temp_folder folder;
    const std::string path = folder / "x.npy";
    const auto round_trip = [&]<class T>(T) {
        const std::vector<T> values{T(1.0f), T(2.0f), T(127.0f), T(0.0f), std::numeric_limits<T>::max(), std::numeric_limits<T>::lowest()};
        REQUIRE(write_npy(path, values, {1, 3, 2}));
        for (const bool load : {false, true}) {
            const auto file = (load ? npy_file::load(path) : npy_file::open(path)).value();
            CHECK(file.shape() == std::vector<std::size_t>{1, 3, 2});
            CHECK(file.read<T>().value() == values);
            const auto view = file.get<T>().value();
            CHECK(std::equal(view.begin(), view.end(), values.begin(), values.end()));
        }
        REQUIRE(write_npy(path, std::span(values)));
        CHECK(npy_file::open(path).value().shape() == std::vector<std::size_t>{6});
    };
    round_trip(std::int8_t{});
    round_trip(std::uint8_t{});
    round_trip(std::int16_t{});
    round_trip(std::uint16_t{});
    round_trip(std::int32_t{});
    round_trip(std::uint32_t{});
    round_trip(std::int64_t{});
    round_trip(std::uint64_t{});
    round_trip(float{});
    round_trip(double{});
    const std::vector<f16> halves{f16(0.5f), f16(-3.0f)};
    REQUIRE(write_npy(path, halves, {2, 1}));
    CHECK(npy_file::open(path).value().read<f16>().value() == halves);
    CHECK(npy_file::open(path).value().read_f32().value() == std::vector<float>{0.5f, -3});

    CHECK(write_npy(path, halves, {3}).error().code == errc::invalid_argument);
    CHECK(write_npy(path, std::vector<std::uint8_t>{1}, std::vector<std::size_t>(64, 1)));
    CHECK(npy_file::open(path).value().shape().size() == 64);
    CHECK(write_npy(path, std::vector<std::uint8_t>{1}, std::vector<std::size_t>(65, 1)).error().code == errc::invalid_argument);
    REQUIRE(write_npy(path, halves, {2, 1}));
    CHECK(write_npy(path, halves, {~std::size_t{0}, 2}).error().code == errc::invalid_argument);
    CHECK(write_npy(folder / "no/x.npy", halves).error().code == errc::not_found);
    CHECK(npy_file::open(path).value().read<f16>().value() == halves);
    CHECK(folder.files() == 1);
}

TEST_CASE("npy: Fortran order is sorted, or seen as a transpose") {
    const std::size_t shapes[][3] = {{2, 3, 4}, {1, 5, 2}, {3, 1, 1}, {0, 2, 2}};
    for (const auto& s : shapes) {
        std::vector<std::uint16_t> sorted, stored(s[0] * s[1] * s[2]);
        for (std::size_t i = 0; i < s[0]; ++i)
            for (std::size_t j = 0; j < s[1]; ++j)
                for (std::size_t k = 0; k < s[2]; ++k) {
                    sorted.push_back(static_cast<std::uint16_t>(100 * i + 10 * j + k));
                    stored[i + s[0] * (j + s[1] * k)] = sorted.back();
                }
        const std::string shape = detail::npy_shape_text(s);
        const std::string f = file_of(dict_of("<u2", shape, "True"), {reinterpret_cast<const char*>(stored.data()), stored.size() * 2});
        CHECK(parsed(f).value().read<std::uint16_t>().value() == sorted);
        CHECK(contains(parsed(f).value().get<std::uint16_t>().error().message, "Fortran order"));
        CHECK(contains(parsed(f).value().matrix<std::uint16_t>().error().message, "has rank 3, not 2"));
    }
    for (const bool fortran : {false, true}) {
        const std::string f = file_of(dict_of("|i1", "(2, 3)", fortran ? "True" : "False"), fortran ? "\1\4\2\5\3\6" : "\1\2\3\4\5\6");
        const auto file = parsed(f).value();
        CHECK(file.is_fortran() == fortran);
        const auto m = file.matrix<std::int8_t>().value();
        CHECK(m.rows == 2);
        CHECK(m.cols == 3);
        for (std::size_t r = 0; r < 2; ++r)
            for (std::size_t c = 0; c < 3; ++c) CHECK(std::size_t(m(r, c)) == 3 * r + c + 1);
    }
    const std::string line = file_of(dict_of("|i1", "(3,)", "True"), "\1\2\3");
    CHECK(parsed(line).value().get<std::int8_t>().value()[2] == 3);
}

TEST_CASE("npy: f8 is rounded to f32, and what f32 cannot hold is an error") {
    const double above = 0x1.ffffffp127, below = std::nextafter(above, 0.0), infinity = std::numeric_limits<double>::infinity();
    const temp_folder folder;
    const auto read = [&](const std::vector<double>& values) {
        write_npy(folder / "x", values).value();
        return npy_file::open(folder / "x").value().read_f32();
    };
    CHECK(read({0.1, -1e-50, below, -below, infinity, 1 + 0x1p-24}).value() == std::vector<float>{0.1f, -0.0f, std::numeric_limits<float>::max(),
                                                                                                  std::numeric_limits<float>::lowest(),
                                                                                                  std::numeric_limits<float>::infinity(), 1});
    CHECK(std::isnan(read({std::numeric_limits<double>::quiet_NaN()}).value()[0]));
    CHECK(contains(read({0, above}).error().message, "element 1 (row-major)"));
    CHECK(contains(read({-1e300}).error().message, "overflows f32"));
}

TEST_CASE("npy: legal headers of other writers") {
    for (const char major : {'\1', '\2', '\3'})
        for (const char* dict : {"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }", "{'shape':(1,2),'fortran_order':False,'descr':'<f4'}",
                                 "{ \"descr\" : \"<f4\" ,\t'fortran_order':False,\n'shape': ( 1 , 2 , ) }",
                                 "{'descr': '<f4', 'fortran_order': False, 'shape': (1L, 2L), }"}) {
            INFO(dict);
            const std::string f = file_of(dict, "\0\0\x80?\0\0\0\0"sv, major);
            CHECK(parsed(f).value().read<float>().value() == std::vector<float>{1, 0});
        }
    for (const char* descr : {"<u1", "<b1"}) CHECK(parsed(file_of(dict_of(descr, "(1,)"), "\1")).value().read<std::uint8_t>().value()[0] == 1);
    const std::string dict = dict_of("<f4", "(1,)"), odd = "\x93NUMPY\1\0"s + static_cast<char>(dict.size()) + '\0' + dict + "\0\0\x80?"s;
    CHECK(parsed(odd).value().read<float>().value() == std::vector<float>{1});  // no padding: the data lie anywhere
    alignas(8) char place[128];
    char* const shifted = place + (9 - (10 + dict.size()) % 8);
    std::memcpy(shifted, odd.data(), odd.size());
    const auto unaligned = parsed({shifted, odd.size()}).value();
    CHECK(unaligned.read<float>().value() == std::vector<float>{1});
    CHECK(contains(unaligned.get<float>().error().message,
                   "the data (byte offset " + std::to_string(10 + dict.size()) + ") do not begin at a multiple of 4"));
    CHECK_FALSE(unaligned.matrix<float>());
}

TEST_CASE("npy: each rule that a file breaks is named") {
    const auto refused = [](const std::string& bytes, const char* word, errc code = errc::corrupt) {
        const auto r = parsed(bytes);
        INFO(word);
        REQUIRE_FALSE(r);
        INFO(r.error().message);
        CHECK(r.error().code == code);
        CHECK(r.error().message.starts_with("file: "));
        CHECK(contains(r.error().message, word));
    };
    const std::string data(24, '\0');
    refused("", "magic");
    refused("\x93NUMP", "magic");
    refused("\x93NUMPX\1\0", "magic");
    refused("PK\3\4xxxxxxxxxxxx", ".npz");
    refused("\x93NUMPY\1", "truncated");
    refused("\x93NUMPY\1\0v"s, "truncated");
    refused("\x93NUMPY\1\0v\0"s, "npy header of 118 bytes (byte offset 8)");
    refused("\x93NUMPY\2\0\xff\xff\xff\xff{}"s, "4294967295");
    refused("\x93NUMPY\4\0v\0{}"s, "version (byte offset 6) is 4.0");
    refused("\x93NUMPY\0\0v\0{}"s, "version (byte offset 6) is 0.0");
    refused("\x93NUMPY\1\1v\0{}"s, "version (byte offset 6) is 1.1");
    refused(file_of("__import__('os').system('true')", data), "npy header, byte offset 10: expected a dict");
    refused(file_of("{}", ""), "\"descr\" is missing");
    std::string ones = "1";
    for (int i = 1; i < 65; ++i) ones += ", 1";
    refused(file_of("{'descr': '|u1', 'fortran_order': False, 'shape': (" + ones + ")}", "\0"s), "more than 64 dimensions");
    refused(file_of("{'descr': '<f4', 'shape': (2, 3)}", data), "\"fortran_order\" is missing");
    refused(file_of("{'descr': '<f4', 'fortran_order': False}", data), "\"shape\" is missing");
    refused(file_of("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'x': 1}", data), "key \"x\" is unknown");
    refused(file_of("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}", data), "key \"descr\" comes twice");
    refused(file_of("{'\x1b[2J': 1}", data), "\"\\x1b[2J\"");
    refused(file_of("{'descr' '<f4'}", data), "expected ':'");
    refused(file_of("{'descr': '<f4' 'shape': (2, 3)}", data), "expected ',' or '}'");
    refused(file_of("{'descr: 3", data), "string");
    refused(file_of("{'de\\x73cr': '<f4'}", data), "without escapes");
    refused(file_of("{'descr': '<f4', 'fortran_order': 0, 'shape': (2, 3)}", data), "expected True or False (key \"fortran_order\")");
    refused(file_of(dict_of("<f4", "(2, 3)") + "x", data), "expected the end of the header");
    refused(file_of(dict_of("<f4", "(2, 3)") + '\0', data), "expected the end of the header");
    for (const char* shape :
         {"(-2, -3)", "(2.0, 3)", "6", "[2, 3]", "(6)", "(2 3)", "(2,, 3)", "((2), 3)", "(2, 3", "(99999999999999999999,)", "(True,)", "(+6,)"})
        refused(file_of(dict_of("<f4", shape), data), "(key \"shape\")");
    refused(file_of(dict_of("<f4", "(" + std::string(60000, '('), "False"), data), "(key \"shape\")");
    refused(file_of(dict_of("<f4", "(4611686018427387904, 4)"), data), "shape (4611686018427387904, 4) of <f4: the size overflows");
    refused(file_of(dict_of("<f4", "(2, 4)"), data),
            "shape (2, 4) of <f4 needs 32 bytes of data, from byte offset 128 on the file has 24: truncated");
    refused(file_of(dict_of("<f4", "(5,)"), data),
            "shape (5,) of <f4 needs 20 bytes of data, from byte offset 128 on the file has 24: trailing bytes");
    const auto unsupported = [&](const std::string& descr, const char* word) { refused(file_of(descr, data), word, errc::unsupported); };
    unsupported(dict_of(">f4", "(2, 3)"), "npy header, byte offset 20: dtype \">f4\" is big-endian");
    unsupported(dict_of("|O", "(3,)"), "pickled Python objects");
    unsupported(dict_of("<c8", "(3,)"), "dtype \"<c8\" is of another kind");
    unsupported(dict_of("<U3", "(2,)"), "is of another kind");
    for (const char* descr : {"<f3", "<f16", "f4", "", "|f4", "=f4", "<i16", "|V2"}) unsupported(dict_of(descr, "(2, 3)"), "dtype \"");
    unsupported("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (6,), }", "structured dtype");
    CHECK(npy_file::open("missing.npy").error().code == errc::not_found);
}

TEST_CASE("npy: truncated and mutated files are refused or stay inside their bytes") {
    const std::string f = file_of(dict_of("<f4", "(2, 3)", "True"), std::string(24, '\1'));
    REQUIRE(parsed(f));
    for (std::size_t n = 0; n < f.size(); ++n) {
        const std::vector<char> cut(f.begin(), f.begin() + static_cast<std::ptrdiff_t>(n));  // of this very size, for the address sanitizer
        CHECK_FALSE(parsed({cut.data(), n}));
    }
    std::mt19937 random(2);
    std::size_t accepted = 0;
    for (int i = 0; i < 20000; ++i) {
        std::string mutated = f;
        for (std::size_t n = random() % 3 + 1; n-- > 0;) mutated[random() % 70] = "{}()':, <|0123456789fiubTrueL"[random() % 29];
        if (i % 4 == 0) mutated[6 + random() % 4] = static_cast<char>(random());
        const auto r = parsed(mutated);
        accepted += bool(r);
        if (r) static_cast<void>(r->read_f32());
        if (r) static_cast<void>(r->read<std::int32_t>());
    }
    CHECK(accepted > 0);
}
