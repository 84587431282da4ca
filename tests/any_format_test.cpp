#include <qnt/any_format.hpp>

#include <array>
#include <cmath>

#include "support.hpp"

namespace {

using qnt::any_format;
using qnt::errc;
using qnt::matrix_view;
using qnt::scalar_type;
namespace layout = qnt::layout;

bool same_bytes(std::span<const std::byte> a, std::span<const std::byte> b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size()) == 0;
}

struct reversed_executor {
    std::size_t size() const { return 2; }
    void parallel_for(std::size_t n, std::size_t grain, qnt::range_function f) const {
        for (std::size_t chunk = (n + grain - 1) / grain; chunk-- > 0;) f(chunk * grain, std::min(n, (chunk + 1) * grain));
    }
};

struct ternary_code {
    static constexpr const char* name = "ternary";
    static constexpr int bits = 2;
    static constexpr float absmax = 1;
    static constexpr std::uint8_t encode(float x) { return x < -0.5f ? 0 : x > 0.5f ? 2 : 1; }
    static constexpr float decode(std::uint8_t q) { return float(q) - 1.0f; }
};

// Names and types that mean the same.
template <class F> struct named {
    using format = F;
    const char* name;
};
template <class Visit> void for_every_format(Visit visit) {
    visit(named<qnt::dense_format<float>>{"f32"});
    visit(named<qnt::dense_format<qnt::f16>>{"f16"});
    visit(named<qnt::dense_format<qnt::bf16>>{"bf16"});
    visit(named<qnt::int8>{"int8"});
    visit(named<qnt::int8_channel>{"int8_channel"});
    visit(named<qnt::q8_0>{"int8:32"});
    visit(named<qnt::int8_group<48, float>>{"int8:48:f32"});
    visit(named<qnt::int8_group<64, qnt::bf16>>{"int8:64:bf16"});
    visit(named<qnt::nf4<64>>{"nf4:64"});
    visit(named<qnt::nf4<48, qnt::f16>>{"nf4:48:f16"});
    visit(named<qnt::nf4<128, qnt::bf16>>{"nf4:128:bf16"});
    visit(named<qnt::nf4_dq<64>>{"nf4_dq:64"});
    visit(named<qnt::fp4_bnb<64>>{"fp4_bnb:64"});
    visit(named<qnt::fp4_bnb<48, qnt::f16>>{"fp4_bnb:48:f16"});
    visit(named<qnt::int4<32>>{"int4:32"});
    visit(named<qnt::int4<16, float>>{"int4:16:f32"});
    visit(named<qnt::uint4<64>>{"uint4:64"});
    visit(named<qnt::uint4<48, qnt::bf16>>{"uint4:48:bf16"});
}

}  // namespace

TEST_CASE("names are parsed to the formats they name, and back") {
    for_every_format([]<class F>(named<F> n) {
        INFO(n.name);
        const any_format f = any_format::parse(n.name).value();
        CHECK(f == qnt::format_of<F>());
        CHECK(f.info == qnt::info_of<F>);
        CHECK(f.group == F::scaling::group);
        CHECK(f.name() == n.name);
        CHECK(qnt::format_of<F>().name() == n.name);
        CHECK(f.shape(5, 7) == qnt::shape_of<F>(5, 7));
    });
    // the default scale type may be said
    CHECK(any_format::parse("nf4:64:f32").value() == any_format::parse("nf4:64").value());
    CHECK(any_format::parse("int4:32:f16").value().name() == "int4:32");
    CHECK(any_format::parse("nf4:1048576").value().group == 1048576);

    std::vector<any_format> all;
    for_every_format([&]<class F>(named<F>) { all.push_back(qnt::format_of<F>()); });
    for (std::size_t i = 0; i < all.size(); ++i)
        for (std::size_t j = 0; j < all.size(); ++j) CHECK((all[i] == all[j]) == (i == j));
    CHECK_FALSE(any_format::parse("nf4:64").value() == any_format::parse("nf4:128").value());
}

TEST_CASE("text that names no format is an error that says what would") {
    struct {
        const char* text;
        const char* why;
    } const wrong[] = {{"", "unknown"},
                       {"int5", "unknown"},
                       {"INT8", "unknown"},
                       {" int8", "unknown"},
                       {"nf4", "needs a group size"},
                       {"uint4", "needs a group size"},
                       {"nf4_dq", "needs a group size"},
                       {"f32:64", "takes no group"},
                       {"int8_channel:32", "takes no group"},
                       {"nf4:", "group ''"},
                       {"nf4:0", "group '0'"},
                       {"nf4:24", "group '24'"},
                       {"nf4:-64", "group '-64'"},
                       {"nf4:64x", "group '64x'"},
                       {"nf4: 64", "group ' 64'"},
                       {"nf4:6.4", "group '6.4'"},
                       {"nf4:18446744073709551616", "group '18446744073709551616'"},
                       {"nf4:18446744073709551600", "group '18446744073709551600'"},
                       {"int4:32:f8", "unknown scale type 'f8'"},
                       {"int4:32:", "unknown scale type ''"},
                       {"int4:32:none", "unknown scale type 'none'"},
                       {"nf4_dq:64:f16", "cannot be chosen"},
                       {"int4:32:f16:1", "too many parts"},
                       {":", "unknown"}};
    for (const auto& w : wrong) {
        INFO("'" << w.text << "'");
        const auto f = any_format::parse(w.text);
        REQUIRE_FALSE(f.has_value());
        CHECK(f.error().code == errc::invalid_argument);
        INFO(f.error().message);
        CHECK(contains(f.error().message, "'" + std::string(w.text) + "'"));
        CHECK(contains(f.error().message, w.why));
        CHECK(contains(f.error().message, "formats are f32, f16"));
    }
    for (const char* text : {"\x1b[31mint5", "nf4:\x1b[31m", "int4:32:\x1b[31m"}) {  // names of formats come from files too
        const auto f = any_format::parse(text);
        REQUIRE_FALSE(f.has_value());
        CHECK(contains(f.error().message, "\\x1b[31m"));
        CHECK_FALSE(contains(f.error().message, "\x1b"));
    }
}

TEST_CASE("a format of the user's own is named after its code") {
    CHECK(qnt::format_of<qnt::format<ternary_code, qnt::per_group<64, qnt::f16>>>().name() == "ternary:64");
    CHECK(qnt::format_of<qnt::format<ternary_code, qnt::per_channel<float>>>().name() == "ternary");
}

TEST_CASE("visit_code finds the type of a name") {
    for_every_format([]<class F>(named<F> n) {
        INFO(n.name);
        using code = typename F::code;
        const bool right =
            qnt::visit_code(qnt::format_of<F>().info, []<class Code>() { return qnt::dense<code> ? qnt::dense<Code> : std::is_same_v<Code, code>; });
        CHECK(right);
    });
}

TEST_CASE("quantize, dequantize and compare with a format as a value do what the typed ones do") {
    struct shape {
        std::size_t rows, cols;
    };
    for (const auto& of : {shape{1, 1}, shape{17, 15}, shape{33, 100}, shape{16, 128}}) {
        const std::size_t rows = of.rows, cols = of.cols;
        const auto x = test::random_floats(rows * cols, unsigned(rows + cols));
        const matrix_view<const float> view{x.data(), rows, cols};
        for_every_format([&]<class F>(named<F> n) {
            INFO(n.name << " [" << rows << ", " << cols << "]");
            const auto typed = qnt::quantize<F>(view).value();
            qnt::quantization_report report, expected_report;
            static_cast<void>(qnt::quantize<F>(view, {.report = &expected_report}));
            reversed_executor reversed;
            const qnt::any_matrix any = qnt::quantize(view, any_format::parse(n.name).value(), {.report = &report}, reversed).value();
            CHECK(same_bytes(any.bytes(), typed.bytes()));
            CHECK(any.format() == qnt::format_of<F>());
            CHECK(any.shape() == typed.shape());
            CHECK(any.rows() == rows);
            CHECK(any.cols() == cols);
            CHECK(report.mse == expected_report.mse);
            CHECK(report.bytes == expected_report.bytes);
            CHECK(report.bits.streamed == expected_report.bits.streamed);

            std::vector<float> expected(rows * cols), out(rows * cols), one(cols);
            qnt::dequantize(matrix_view<float>{expected.data(), rows, cols}, typed);
            qnt::dequantize(matrix_view<float>{out.data(), rows, cols}, any.view(), reversed);
            CHECK(test::same_bits(out, expected));
            for (std::size_t r = 0; r < rows; ++r) {
                qnt::dequantize_row(one, any.view(), r);
                REQUIRE(test::same_bits(one, std::span(expected).subspan(r * cols, cols)));
            }
            CHECK(qnt::compare(view, any.view()).mse == qnt::compare(view, typed).mse);
            if (!qnt::info_of<F>.is_dense())
                CHECK(qnt::compare(view, any.view(), qnt::int8_activations).mse == qnt::compare(view, typed, qnt::int8_activations).mse);
        });
    }
}

TEST_CASE("quantize refuses group sizes that make no sense") {
    const auto x = test::random_floats(4 * 64, 1);
    const matrix_view<const float> view{x.data(), 4, 64};
    const auto refused = [&](any_format f) {
        const auto r = qnt::quantize(view, f);
        REQUIRE_FALSE(r.has_value());
        CHECK(r.error().code == errc::invalid_argument);
        return r.error().message;
    };
    CHECK(contains(refused({qnt::info_of<qnt::nf4<64>>, 10}), "group size 10 is not a positive multiple of 16"));
    CHECK(contains(refused({qnt::info_of<qnt::nf4<64>>, 0}), "group size 0"));  // grouped, but without a group
    CHECK(contains(refused({qnt::info_of<qnt::int8_channel>, 32}), "no groups"));
    CHECK(contains(refused({qnt::info_of<qnt::dense_format<float>>, 32}), "no groups"));
    // larger than the matrix is one group
    const auto large = qnt::quantize(view, any_format::parse("int4:1024").value()).value();
    CHECK(large.shape().groups() == 1);
    CHECK(qnt::compare(view, large.view()).mse == qnt::compare(view, qnt::quantize<qnt::int4<64>>(view).value()).mse);
}

TEST_CASE("errors of a format as a value are those of the typed one") {
    std::vector<float> x(4 * 64, 1.0f);
    x[70] = std::numeric_limits<float>::quiet_NaN();
    const auto r = qnt::quantize(matrix_view<const float>{x.data(), 4, 64}, any_format::parse("uint4:64").value());
    REQUIRE_FALSE(r.has_value());
    CHECK(r.error().code == errc::not_finite);
    CHECK(contains(r.error().message, "row 1, column 6"));
    x[70] = 1;
    const auto compat =
        qnt::quantize(matrix_view<const float>{x.data(), 4, 64}, any_format::parse("uint4:64").value(), {.compat = qnt::compatibility::ggml});
    REQUIRE_FALSE(compat.has_value());
    CHECK(compat.error().code == errc::unsupported);
}

TEST_CASE("dequantize_row checks its row and length") {
    const auto x = test::random_floats(20 * 33, 2);
    const auto w = qnt::quantize(matrix_view<const float>{x.data(), 20, 33}, any_format::parse("int4:16").value()).value();
    std::vector<float> out(33, 9.0f), short_out(32, 9.0f);
    CHECK_THROWS_AS(qnt::dequantize_row(out, w.view(), 20), qnt::contract_error);
    CHECK_THROWS_AS(qnt::dequantize_row(short_out, w.view(), 0), qnt::contract_error);
    CHECK(out[0] == 9.0f);
    CHECK(short_out[0] == 9.0f);
}

TEST_CASE("products with a format as a value are those with the typed one") {
    const std::size_t n = 35, k = 100, m = 3;
    const auto weights = test::random_floats(n * k, 3), x = test::random_floats(m * k, 4);
    const matrix_view<const float> view{weights.data(), n, k};
    const auto check = [&]<class F>(named<F> name) {
        INFO(name.name);
        const auto typed = qnt::quantize<F>(view).value();
        const auto any = qnt::quantize(view, any_format::parse(name.name).value()).value();
        for (const auto mode : {qnt::automatic, qnt::exact}) {
            std::vector<float> expected(m * n), y(m * n), first(n);
            qnt::gemm(matrix_view<float>{expected.data(), m, n}, matrix_view<const float>{x.data(), m, k}, typed, {.mode = mode});
            qnt::gemm(matrix_view<float>{y.data(), m, n}, matrix_view<const float>{x.data(), m, k}, any.view(), {.mode = mode});
            CHECK(test::same_bits(y, expected));
            qnt::gemv(std::span<float>(first), std::span<const float>(x.data(), k), any.view(), {.mode = mode});
            CHECK(test::same_bits(first, std::span(expected).first(n)));
        }
    };
    check(named<qnt::int8_channel>{"int8_channel"});
    check(named<qnt::uint4<48, qnt::bf16>>{"uint4:48:bf16"});
    check(named<qnt::nf4_dq<64>>{"nf4_dq:64"});
    check(named<qnt::fp4_bnb<64>>{"fp4_bnb:64"});
    check(named<qnt::dense_format<qnt::f16>>{"f16"});
}

TEST_CASE("pack_matrix makes the bytes of quantize() from unpacked rows, and names the first row that failed") {
    const std::size_t n = 35, k = 100;
    const auto weights = test::random_floats(n * k, 5);
    test::chaotic_executor threads;
    for (const char* name : {"int8_channel", "int8:32", "uint4:48", "nf4:64", "int4:16:f32"}) {
        INFO(name);
        const auto made = qnt::quantize(matrix_view<const float>{weights.data(), n, k}, any_format::parse(name).value()).value();
        const auto copy_row = [&](std::size_t row, const qnt::unpacked_row& out) -> qnt::result<void> {
            qnt::unpack_row(made.view(), row, out);
            return {};
        };
        const auto packed = qnt::pack_matrix(made.format(), n, k, copy_row, threads).value();
        CHECK(packed.format() == made.format());
        CHECK(std::ranges::equal(packed.bytes(), made.bytes()));
    }
    const auto refuse = [](std::size_t row, const qnt::unpacked_row&) -> qnt::result<void> {
        if (row >= 20) return qnt::error{errc::corrupt, "row " + std::to_string(row)};
        return {};
    };
    const auto failed = qnt::pack_matrix(any_format::parse("int4:32").value(), n, k, refuse, threads);
    REQUIRE_FALSE(failed.has_value());
    CHECK(failed.error().message == "row 20");
}

namespace {

// Columns of w in the order of `columns`: matrix column k is column columns[k] of w.
std::vector<float> gathered(const std::vector<float>& w, std::size_t rows, const std::vector<std::uint32_t>& columns) {
    std::vector<float> out;
    for (std::size_t r = 0; r < rows; ++r)
        for (const std::uint32_t c : columns) out.push_back(w[r * columns.size() + c]);
    return out;
}
std::vector<std::uint32_t> random_permutation(std::size_t n, unsigned seed) {
    std::vector<std::uint32_t> p(n);
    for (std::size_t i = 0; i < n; ++i) p[i] = std::uint32_t(i);
    std::mt19937 random(seed);
    for (std::size_t i = n; i > 1; --i) std::swap(p[i - 1], p[random() % i]);
    return p;
}
// The codes of `made` with a permutation put upon them.
qnt::any_matrix permuted(const qnt::any_matrix& made, const std::vector<std::uint32_t>& columns) {
    auto bytes = qnt::aligned_buffer::allocate(made.bytes().size()).value();
    std::memcpy(bytes.data(), made.bytes().data(), bytes.size());
    return {made.format(), made.shape(), std::move(bytes), columns};
}
template <class T> std::vector<T> narrowed(const std::vector<float>& x) {
    std::vector<T> out;
    for (const float v : x) out.emplace_back(v);
    return out;
}

}  // namespace

TEST_CASE("permuted columns: decoded weights are in the user's order") {
    const std::size_t n = 21, k = 90;
    const auto w = test::random_floats(n * k, 11);
    const auto columns = random_permutation(k, 12);
    const auto in_order = gathered(w, n, columns);
    for (const char* name : {"uint4:32", "int8_channel", "nf4:64", "f16"}) {
        INFO(name);
        const auto plain = qnt::quantize(matrix_view<const float>{in_order.data(), n, k}, any_format::parse(name).value()).value();
        const auto matrix = permuted(plain, columns);
        CHECK(matrix.view().transform() == qnt::input_transform::permutation);
        CHECK(plain.view().transform() == qnt::input_transform::none);
        CHECK(std::ranges::equal(matrix.columns(), columns));
        std::vector<float> expected(n * k), out(n * k), row(k);
        qnt::dequantize(matrix_view<float>{expected.data(), n, k}, plain.view());
        qnt::dequantize(matrix_view<float>{out.data(), n, k}, matrix.view());
        CHECK(test::same_bits(gathered(out, n, columns), expected));
        qnt::dequantize_row(row, matrix.view(), 17);
        CHECK(test::same_bits(row, std::span(out).subspan(17 * k, k)));
        const auto stats = qnt::compare(matrix_view<const float>{w.data(), n, k}, matrix.view());
        const auto plain_stats = qnt::compare(matrix_view<const float>{in_order.data(), n, k}, plain.view());
        CHECK(stats.mse == Approx(plain_stats.mse).epsilon(1e-12));
        CHECK(stats.max_abs.error == plain_stats.max_abs.error);
    }
    const auto made = qnt::quantize(matrix_view<const float>{w.data(), n, k}, any_format::parse("uint4:32").value()).value();
    const auto copy_row = [&](std::size_t r, const qnt::unpacked_row& out) -> qnt::result<void> {
        return qnt::unpack_row(made.view(), r, out), qnt::result<void>();
    };
    const auto packed = qnt::pack_matrix(made.format(), n, k, copy_row, {}, columns).value();
    CHECK(std::ranges::equal(packed.columns(), columns));
    CHECK(std::ranges::equal(packed.bytes(), made.bytes()));
}

TEST_CASE("permuted columns: products gather x, and are the same bits everywhere") {
    const std::size_t n = 37;
    const std::size_t k = GENERATE(std::size_t{96}, std::size_t{90});
    const auto w = test::random_floats(n * k, 13);
    const auto columns = random_permutation(k, 14);
    test::chaotic_executor threads;
    for (const char* name : {"uint4:32", "int4:16", "int8_channel", "bf16"}) {
        const auto plain = qnt::quantize(matrix_view<const float>{w.data(), n, k}, any_format::parse(name).value()).value();
        const auto matrix = permuted(plain, columns);
        for (const std::size_t m : {std::size_t{1}, std::size_t{3}, std::size_t{700}}) {
            INFO(name << " m " << m << " k " << k);
            const auto x = test::random_floats(m * k, unsigned(m));
            const auto check = [&]<class T>(T) {
                const auto values = narrowed<T>(x);
                std::vector<float> widened;
                for (const T v : values) widened.push_back(float(v));
                const auto in_order = gathered(widened, m, columns);
                for (const auto mode : {qnt::automatic, qnt::exact}) {
                    std::vector<float> expected(m * n), y(m * n);
                    qnt::gemm(matrix_view<float>{expected.data(), m, n}, matrix_view<const float>{in_order.data(), m, k}, plain.view(),
                              {.mode = mode});
                    const matrix_view<const T> from{values.data(), m, k};
                    if (m == 700) {
                        qnt::gemm(matrix_view<float>{y.data(), m, n}, from, matrix.view(), {.mode = mode, .executor = threads});
                        CHECK(test::same_bits(y, expected));
                    } else {
                        test::on_every_isa([&](auto) {
                            qnt::gemm(matrix_view<float>{y.data(), m, n}, from, matrix.view(), {.mode = mode});
                            CHECK(test::same_bits(y, expected));
                        });
                    }
                    std::vector<float> first(n);
                    qnt::gemv(std::span<float>(first), std::span<const T>(values.data(), k), matrix.view(), {.mode = mode});
                    CHECK(test::same_bits(first, std::span(expected).first(n)));
                }
            };
            check(1.0f);
            if (m < 700) check(qnt::f16(1.0f)), check(qnt::bf16(1.0f));
        }
    }
}

TEST_CASE("permuted columns: rows of x may lie apart, and shapes are checked first") {
    const std::size_t n = 16, k = 32, m = 2;
    const auto w = test::random_floats(n * k, 15), x = test::random_floats(m * 50, 16);
    const auto columns = random_permutation(k, 17);
    const auto plain = qnt::quantize(matrix_view<const float>{w.data(), n, k}, any_format::parse("int4:32").value()).value();
    const auto matrix = permuted(plain, columns);
    std::vector<float> dense;
    for (std::size_t r = 0; r < m; ++r) dense.insert(dense.end(), &x[r * 50], &x[r * 50 + k]);
    std::vector<float> y(m * n), expected(m * n);
    qnt::gemm(matrix_view<float>{y.data(), m, n}, matrix_view<const float>{x.data(), m, k, 50}, matrix.view());
    qnt::gemm(matrix_view<float>{expected.data(), m, n}, matrix_view<const float>{dense.data(), m, k}, matrix.view());
    CHECK(test::same_bits(y, expected));
    CHECK_THROWS_AS(qnt::gemv(std::span<float>(y.data(), n), std::span<const float>(x.data(), k - 1), matrix.view()), qnt::contract_error);

    const matrix_view<const float> from{dense.data(), m, k};
    const auto ready = qnt::quantize_activations(from, plain.view());
    CHECK_THROWS_WITH(qnt::gemm(matrix_view<float>{y.data(), m, n}, ready, matrix.view()), Catch::Matchers::Contains("multiply x itself"));
    CHECK_THROWS_WITH(qnt::quantize_activations(from, matrix.view()), Catch::Matchers::Contains("multiply x itself"));
}

TEST_CASE("permuted columns: a matrix takes permutations only") {
    const auto w = test::random_floats(16 * 32, 18);
    const auto plain = qnt::quantize(matrix_view<const float>{w.data(), 16, 32}, any_format::parse("int4:32").value()).value();
    auto columns = random_permutation(32, 19);
    CHECK_NOTHROW(permuted(plain, columns));
    CHECK_THROWS_AS(permuted(plain, std::vector<std::uint32_t>(columns.begin(), columns.end() - 1)), qnt::contract_error);
    std::swap(columns[3], columns[4]);
    columns[3] = columns[5];
    CHECK_THROWS_AS(permuted(plain, columns), qnt::contract_error);
    columns[3] = 32;
    CHECK_THROWS_AS(permuted(plain, columns), qnt::contract_error);
}
