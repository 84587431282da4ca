// Columns kept as f16 beside the codes: what quantize() makes of them, where they lie, and what is read back.
#include <cmath>

#include "plain_matmul.hpp"

namespace {

using qnt::f16;
using qnt::matrix_view;
using test::parse;
using test::random_floats;
namespace layout = qnt::layout;

const std::vector<std::uint32_t> outliers{0, 17, 18, 89};
constexpr std::size_t n = 21, k = 90;
const std::vector<float> w = random_floats(n * k, 11);
const matrix_view<const float> view{w.data(), n, k};

std::vector<float> without_outliers() {
    std::vector<float> v = w;
    for (std::size_t r = 0; r < n; ++r)
        for (const std::uint32_t c : outliers) v[r * k + c] = 0;
    return v;
}

}  // namespace

TEST_CASE("outliers are the columns whose absmax reaches the threshold") {
    const std::vector<float> absmax{5.9f, 6, 0, 100, std::numeric_limits<float>::infinity(), 5.999f};
    CHECK(qnt::pick_outliers(absmax) == std::vector<std::uint32_t>{1, 3, 4});
    CHECK(qnt::pick_outliers(absmax, 50) == std::vector<std::uint32_t>{3, 4});
    CHECK(qnt::pick_outliers(absmax, 0).size() == 6);
    CHECK(qnt::pick_outliers({}).empty());
}

TEST_CASE("the codes beside outliers are those of a matrix with zeros there, in every format") {
    const auto rest = without_outliers();
    for (const char* name : {"int8", "int8_channel", "int8:32", "nf4:64", "nf4_dq:64", "fp4_bnb:64", "int4:32", "uint4:32"}) {
        INFO(name);
        const auto plain = qnt::quantize(matrix_view<const float>{rest.data(), n, k}, parse(name)).value();
        qnt::quantization_report report, of_rest;
        const test::chaotic_executor threads;
        const auto packed = qnt::quantize(view, parse(name), {.report = &report, .outliers = outliers}, threads).value();
        REQUIRE(qnt::quantize(matrix_view<const float>{rest.data(), n, k}, parse(name), {.report = &of_rest}));
        CHECK(std::ranges::equal(packed.bytes(), plain.bytes()));
        CHECK(packed.view().transform() == qnt::input_transform::outliers);
        CHECK(std::ranges::equal(packed.outliers().columns, outliers));
        for (std::size_t r = 0; r < 32; ++r)  // f16 [panel][outlier][16 rows], zeros beyond the matrix
            for (std::size_t i = 0; i < 4; ++i)
                CHECK(packed.outliers().values[(r / 16 * 4 + i) * 16 + r % 16] == (r < n ? f16(w[r * k + outliers[i]]) : f16()));

        std::vector<float> expected(n * k), decoded(n * k), row(k);
        qnt::dequantize(matrix_view<float>{expected.data(), n, k}, plain.view());
        for (std::size_t r = 0; r < n; ++r)
            for (const std::uint32_t c : outliers) expected[r * k + c] = float(f16(w[r * k + c]));
        qnt::dequantize(matrix_view<float>{decoded.data(), n, k}, packed.view());
        CHECK(test::same_bits(decoded, expected));
        qnt::dequantize_row(row, packed.view(), 17);
        CHECK(test::same_bits(row, std::span(decoded).subspan(17 * k, k)));

        CHECK(report.outliers == 4);
        CHECK(report.outlier_share() == 4.0 / 90);
        CHECK(report.bytes == of_rest.bytes + 4 * (n * 2 + 4));
        CHECK(report.bits.stored == Approx(8.0 * double(report.bytes) / (n * k)).epsilon(1e-12));
        CHECK(report.bits.streamed == Approx(8.0 * double(plain.bytes().size() + 4 * (32 * 2 + 4)) / (n * k)).epsilon(1e-12));
        CHECK(report.clipped == of_rest.clipped);
        double error = 0;
        for (std::size_t i = 0; i < n * k; ++i) error += std::pow(double(w[i]) - double(expected[i]), 2);
        CHECK(report.mse == Approx(error / (n * k)).epsilon(1e-9));
        const auto stats = qnt::compare(view, packed.view());
        CHECK(stats.mse == report.mse);
        CHECK(stats.sqnr_db == report.sqnr_db);
        CHECK(stats.max_abs.error == report.max_abs.error);
        CHECK(stats.max_abs.col == report.max_abs.col);
    }
}

TEST_CASE("outliers of any strides and types, in either layout, and from one to the other") {
    const auto typed = qnt::quantize<qnt::int4<32>>(view, {.outliers = outliers}).value();
    const auto any = qnt::quantize(view, parse("int4:32"), {.outliers = outliers}).value();
    CHECK(std::ranges::equal(typed.bytes(), any.bytes()));
    CHECK(std::equal(any.outliers().values, any.outliers().values + 32 * 4, typed.outliers().values));
    std::vector<float> turned(n * k);
    for (std::size_t i = 0; i < n * k; ++i) turned[i % k * n + i / k] = w[i];
    const auto transposed = qnt::quantize<qnt::int4<32>>(matrix_view<const float>{turned.data(), k, n}.transposed(), {.outliers = outliers}).value();
    CHECK(std::ranges::equal(typed.bytes(), transposed.bytes()));
    CHECK(std::equal(any.outliers().values, any.outliers().values + 32 * 4, transposed.outliers().values));
    std::vector<qnt::bf16> narrow;
    for (const float v : w) narrow.push_back(qnt::bf16(v));
    const auto of_bf16 = qnt::quantize<qnt::int4<32>>(matrix_view<const qnt::bf16>{narrow.data(), n, k}, {.outliers = outliers}).value();
    CHECK(of_bf16.outliers().values[0] == f16(float(narrow[0])));

    const auto rows = qnt::quantize<qnt::int4<32>, layout::rows>(view, {.outliers = outliers}).value();
    for (std::size_t r = 0; r < n; ++r)
        for (std::size_t i = 0; i < 4; ++i) CHECK(rows.outliers().values[r * 4 + i] == f16(w[r * k + outliers[i]]));
    const auto panels = qnt::repack<layout::panels>(rows).value();
    CHECK(std::ranges::equal(panels.bytes(), typed.bytes()));
    CHECK(std::equal(panels.outliers().values, panels.outliers().values + 32 * 4, typed.outliers().values));
    const auto back = qnt::repack<layout::rows>(panels).value();
    CHECK(std::ranges::equal(back.outliers().columns, outliers));
    CHECK(std::equal(back.outliers().values, back.outliers().values + n * 4, rows.outliers().values));
    std::vector<float> a(n * k), b(n * k);
    qnt::dequantize(matrix_view<float>{a.data(), n, k}, rows);
    qnt::dequantize(matrix_view<float>{b.data(), n, k}, typed);
    CHECK(test::same_bits(a, b));
    CHECK(qnt::compare(view, rows).mse == qnt::compare(view, typed).mse);
}

TEST_CASE("outliers that cannot be kept are an error that names them") {
    const auto message = [](const matrix_view<const float>& m, const char* format, const qnt::quantize_options& options) {
        const auto r = qnt::quantize(m, parse(format), options);
        REQUIRE_FALSE(r);
        return r.error().message;
    };
    using columns = std::vector<std::uint32_t>;
    for (const columns& bad : {columns{3, 3}, columns{5, 4}, columns{90}})
        CHECK(message(view, "int8_channel", {.outliers = bad}) == "qnt::quantize: the outlier columns must be ascending and among the matrix's 90");
    CHECK(message(view, "f16", {.outliers = outliers}) == "qnt::quantize: f16 has no codes to keep outlier columns beside");
    CHECK(message(view, "nf4:64", {.compat = qnt::compatibility::bitsandbytes, .outliers = outliers}).find("no outlier columns") !=
          std::string::npos);
    auto huge = w;
    huge[3 * k + 17] = 1e6f;
    const matrix_view<const float> huge_view{huge.data(), n, k};
    CHECK(message(huge_view, "int8_channel", {.outliers = outliers}) ==
          "qnt::quantize: row 3, column 17: 1e+06 overflows the f16 of an outlier column; scale the weights down");
    huge[3 * k + 17] = std::numeric_limits<float>::quiet_NaN();
    CHECK(message(huge_view, "int8_channel", {.outliers = outliers}) == "qnt::quantize: row 3, column 17 is not a finite number");
    huge[3 * k + 17] = 1;
    huge[5 * k + 16] = 3e7f;  // beside them: told as ever, from the columns that have codes
    CHECK(message(huge_view, "int4:32", {.outliers = outliers}).find("row 5, group 0 (columns from 0): scale 4.28571e+06 overflows f16") !=
          std::string::npos);

    auto bytes = qnt::aligned_buffer::allocate(qnt::streamed_bytes(parse("int4:32").info, {n, k, 32})).value();
    const auto made = [&](columns c, std::size_t values) {
        auto copy = qnt::aligned_buffer::allocate(bytes.size()).value();
        qnt::any_matrix(parse("int4:32"), {n, k, 32}, std::move(copy), qnt::outlier_columns{std::move(c), std::vector<f16>(values)});
    };
    CHECK_NOTHROW(made({1, 2}, 64));
    CHECK_THROWS_AS(made({2, 1}, 64), qnt::contract_error);
    CHECK_THROWS_AS(made({1, 90}, 64), qnt::contract_error);
    CHECK_THROWS_AS(made({1, 2}, 42), qnt::contract_error);
}
