#include <qnt/model/quantize_model.hpp>

#include <cstdio>
#include <filesystem>
#include <limits>

#include "support.hpp"

namespace {

struct temporary_file {
    std::string path;
    explicit temporary_file(const char* name) : path((std::filesystem::temp_directory_path() / (name + std::to_string(getpid()))).string()) {}
    ~temporary_file() { std::remove(path.c_str()); }
};

const std::vector<float> w = test::random_floats(48 * 96, 1), bias = test::random_floats(48, 2);

qnt::checkpoint small_checkpoint() {
    return {{"fc", {96, 48}, true, [] { return w; }}, {"emb", {48, 96}, false, [] { return w; }}, {"fc.bias", {48}, false, [] { return bias; }}};
}
const qnt::policy rules{{"emb", qnt::use<qnt::int8_channel>}, {"*.bias", qnt::keep<qnt::f16>}, {"*", qnt::use<qnt::nf4<64>>}};

}  // namespace

TEST_CASE("a checkpoint becomes an archive: formats, bytes and products are those of quantize()") {
    const temporary_file file("qnt_model_test_");
    const auto report = qnt::quantize_model(small_checkpoint(), rules, file.path, {.metadata = {{"source", "a test"}}}).value();
    const auto archive = qnt::archive::map(file.path).value();
    REQUIRE(archive.verify());
    REQUIRE(report.tensors.size() == 3);
    CHECK(report.parameters == 2 * 48 * 96 + 48);

    const auto fc = qnt::quantize<qnt::nf4<64>>(qnt::matrix_view<const float>{w.data(), 96, 48}.transposed()).value();
    const auto stored = archive.get<qnt::nf4<64>>("fc").value();
    CHECK(stored.rows() == 48);
    CHECK(std::memcmp(stored.data, fc.bytes().data(), fc.bytes().size()) == 0);
    std::vector<float> x = test::random_floats(96, 3), a(48), b(48);
    qnt::gemv(a, x, fc);
    qnt::gemv(b, x, stored);
    CHECK(test::same_bits(a, b));

    CHECK(report.tensors[0].shape == std::vector<std::size_t>{48, 96});
    CHECK(report.tensors[0].report.sqnr_db == qnt::compare(qnt::matrix_view<const float>{w.data(), 96, 48}.transposed(), fc).sqnr_db);
    CHECK(report.tensors[1].format.name() == "int8_channel");
    CHECK(report.tensors[2].kept);
    CHECK(report.bytes == qnt::storage_bytes<qnt::nf4<64>>(48, 96) + qnt::storage_bytes<qnt::int8_channel>(48, 96) + 48 * 2);
    const auto kept = archive.get_array<qnt::f16>("fc.bias").value();
    for (std::size_t i = 0; i < bias.size(); ++i) CHECK(kept[i] == qnt::f16(bias[i]));
    CHECK(std::find(archive.metadata().begin(), archive.metadata().end(), std::pair<std::string, std::string>("source", "a test")) !=
          archive.metadata().end());
}

TEST_CASE("what fails names the tensor and leaves no file behind") {
    const temporary_file file("qnt_model_bad_");
    const auto message = [&](const qnt::checkpoint& in, const qnt::policy& p = rules, const qnt::quantize_model_options& o = {}) {
        const auto r = qnt::quantize_model(in, p, file.path, o);
        REQUIRE_FALSE(r);
        CHECK_FALSE(std::filesystem::exists(file.path));
        return r.error().message;
    };
    auto nan = w;
    nan[97] = std::numeric_limits<float>::quiet_NaN();
    CHECK(message({{"emb", {48, 96}, false, [&] { return nan; }}}) == "tensor 'emb': qnt::quantize: row 1, column 1 is not a finite number");
    CHECK(message({{"fc", {96, 48}, true, [&] { return nan; }}}) == "tensor 'fc': qnt::quantize: row 1, column 2 is not a finite number");
    CHECK(message({{"fc", {96, 47}, true, [] { return w; }}}).find("read 4608 elements, the shape is [96, 47]") != std::string::npos);
    CHECK(message(small_checkpoint(), {{"fc", qnt::use<qnt::int8>}}).find("no rule matches tensor 'emb'") != std::string::npos);
    CHECK(message({{"a.bias", {1}, false, [] { return std::vector<float>{1e6f}; }}}) == "tensor 'a.bias': element 0 overflows f16; keep it as f32");
    int asked = 0;
    CHECK(message(small_checkpoint(), rules, {.progress = [&](std::size_t, std::size_t, const std::string&) { return ++asked < 2; }})
              .find("cancelled before tensor 'emb'") != std::string::npos);
}
