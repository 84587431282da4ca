#include <qnt/quantize.hpp>

#include <cmath>
#include <limits>
#include <optional>

#include "support.hpp"
#include "to_float.hpp"

namespace {

using qnt::bf16;
using qnt::f16;
using qnt::granularity;
using qnt::matrix_view;
using test::random_floats;
using test::to_float;
namespace layout = qnt::layout;

struct shape {
    std::size_t rows, cols;
};
// around the panel (16), the line (4, 8), the smallest group (16), and several panels and groups with ragged ends
constexpr shape shapes[] = {{1, 1}, {1, 15}, {3, 16}, {15, 17}, {16, 64}, {17, 63}, {33, 100}, {5, 257}, {40, 130}, {64, 48}};

using per_tensor_f16 = qnt::format<qnt::int8_code, qnt::per_tensor<f16>>;
using int4_channel = qnt::format<qnt::int4_code, qnt::per_channel<bf16>>;
#define EVERY_FORMAT                                                                                                                                 \
    qnt::int8, per_tensor_f16, qnt::int8_channel, int4_channel, qnt::q8_0, (qnt::int8_group<48, float>), qnt::int4<32>, (qnt::int4<16, float>),      \
        (qnt::int4<128, bf16>), qnt::uint4<64>, (qnt::uint4<16, float>), (qnt::uint4<48, bf16>), qnt::nf4<64>, (qnt::nf4<48, f16>), qnt::nf4_dq<64>, \
        qnt::nf4_dq<16>

// ---- the rules in plain double arithmetic ----
// Quotients and products of two floats are exact enough in double to be rounded to float once more without harm.

float rounded_to(qnt::scalar_type t, double v) {
    return t == qnt::scalar_type::f16 ? float(f16(to_float(v))) : t == qnt::scalar_type::bf16 ? float(bf16(to_float(v))) : to_float(v);
}
double clamp(double x, double low, double high) { return std::fmin(high, std::fmax(low, x)); }

template <class Code> double oracle_absmax() {
    if constexpr (std::is_same_v<Code, qnt::int8_code>) return 127;
    else if constexpr (std::is_same_v<Code, qnt::int4_code>) return 7;
    else if constexpr (std::is_same_v<Code, qnt::uint4_code>) return 15;
    else return 1;
}
// value: x / scale, a float
template <class Code> std::uint8_t oracle_code(float value, int zero) {
    const double v = double(value);
    if constexpr (std::is_same_v<Code, qnt::int8_code>) return std::uint8_t(int(clamp(std::nearbyint(v), -127, 127)));
    else if constexpr (std::is_same_v<Code, qnt::int4_code>) return std::uint8_t(int(clamp(std::nearbyint(v), -7, 7)) + 8);
    else if constexpr (std::is_same_v<Code, qnt::uint4_code>) return std::uint8_t(int(clamp(std::nearbyint(v) + zero, 0, 15)));
    else {
        std::size_t best = 0;
        for (std::size_t q = 1; q < 16; ++q) {
            if (value == (Code::values[q - 1] + Code::values[q]) / 2) return std::uint8_t(q - 1);
            if (std::fabs(v - double(Code::values[q])) < std::fabs(v - double(Code::values[best]))) best = q;
        }
        return std::uint8_t(best);
    }
}
template <class Code> double oracle_value(std::uint8_t q, int zero) {
    if constexpr (std::is_same_v<Code, qnt::int8_code>) return q < 128 ? q : q - 256;
    else if constexpr (std::is_same_v<Code, qnt::int4_code>) return q - 8;
    else if constexpr (std::is_same_v<Code, qnt::uint4_code>) return q - zero;
    else return double(Code::values[q]);
}

struct oracle_matrix {
    std::size_t rows = 0, cols = 0, group = 0, groups = 0;  // group: columns to a scale
    std::vector<std::uint8_t> codes, zeros;
    std::vector<float> scales, values;  // [rows][groups], [rows][cols]
    std::size_t zero_groups = 0, underflowed = 0, clipped = 0;
    std::vector<std::uint8_t> inner;  // nested: codes of the scales,
    std::vector<float> outer;         // and the absmax of their blocks
    float offset = 0;
};

template <class F> oracle_matrix oracle(const std::vector<float>& x, std::size_t rows, std::size_t cols) {
    using code = typename F::code;
    using scaling = typename F::scaling;
    const bool has_zero = scaling::offset == qnt::offset_kind::integer_zero, whole = scaling::kind == granularity::tensor;
    oracle_matrix m;
    m.rows = rows;
    m.cols = cols;
    m.group = scaling::group ? scaling::group : cols;
    m.groups = (cols + m.group - 1) / m.group;
    const std::size_t count = whole ? 1 : rows * m.groups;
    const auto scale_of = [&](std::size_t r, std::size_t c) { return whole ? 0 : r * m.groups + c / m.group; };

    std::vector<double> low(count), high(count);
    for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t c = 0; c < cols; ++c) {
            const std::size_t i = scale_of(r, c);
            low[i] = std::fmin(low[i], double(x[r * cols + c]));
            high[i] = std::fmax(high[i], double(x[r * cols + c]));
        }
    std::vector<float> scales(count);
    std::vector<std::uint8_t> zeros(count);
    for (std::size_t i = 0; i < count; ++i) {
        const double range = has_zero ? double(to_float(high[i] - low[i])) : std::fmax(high[i], std::fabs(low[i]));
        scales[i] = rounded_to(scaling::scale, double(to_float(range / oracle_absmax<code>())));
        m.zero_groups += range == 0;
        m.underflowed += range != 0 && scales[i] == 0;
        if (has_zero && scales[i] > 0) zeros[i] = std::uint8_t(clamp(std::nearbyint(double(to_float(-low[i] / double(scales[i])))), 0, 15));
    }
    if (scaling::is_nested) {
        double sum = 0;
        for (const float s : scales) sum += double(s);
        m.offset = to_float(sum / double(count));
        for (std::size_t begin = 0; begin < count; begin += 256) {
            const std::size_t end = std::min(count, begin + 256);
            float top = 0;
            for (std::size_t i = begin; i < end; ++i) top = std::fmax(top, std::fabs(scales[i] - m.offset));
            m.outer.push_back(top);
            for (std::size_t i = begin; i < end; ++i) {
                const float v = top > 0 ? to_float(double(scales[i] - m.offset) / double(top)) : 0.0f;
                std::size_t best = 0;
                for (std::size_t q = 1; q < 256; ++q)
                    if (v > (qnt::dynamic_u8::values[q - 1] + qnt::dynamic_u8::values[q]) / 2) best = q;
                m.inner.push_back(std::uint8_t(best));
                scales[i] = to_float(double(to_float(double(qnt::dynamic_u8::values[best]) * double(top))) + double(m.offset));
            }
        }
    }
    for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t g = 0; g < m.groups; ++g) {
            m.scales.push_back(scales[scale_of(r, g * m.group)]);
            m.zeros.push_back(zeros[scale_of(r, g * m.group)]);
        }
        for (std::size_t c = 0; c < cols; ++c) {
            const float s = scales[scale_of(r, c)];
            const int zero = zeros[scale_of(r, c)];
            const float v = s == 0 ? 0.0f : to_float(double(x[r * cols + c]) / double(s));
            const std::uint8_t q = oracle_code<code>(v, zero);
            m.codes.push_back(q);
            m.values.push_back(to_float(oracle_value<code>(q, zero) * double(s)));
            const double first = oracle_value<code>(oracle_code<code>(-1e6f, zero), zero),
                         last = oracle_value<code>(oracle_code<code>(1e6f, zero), zero);
            m.clipped += double(v) < first - 0.5 || double(v) > last + 0.5;
        }
    }
    return m;
}

// ---- what the library made, read by the layout's description ----

struct raw {
    std::vector<std::uint8_t> codes, zeros, inner;
    std::vector<float> scales, outer;
};
template <class F> raw read_rows(const qnt::packed_matrix<F, layout::rows>& w) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(w.bytes().data());
    constexpr qnt::format_info info = qnt::info_of<F>;
    const std::size_t rows = w.rows(), cols = w.cols(), groups = info.is_grouped() ? (cols + F::scaling::group - 1) / F::scaling::group : 1;
    const std::size_t count = info.kind == granularity::tensor ? 1 : rows * groups;
    const auto round64 = [](std::size_t n) { return (n + 63) / 64 * 64; };
    raw m;
    const std::size_t row_bytes = info.bits == 8 ? cols : (cols + 1) / 2;
    for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t c = 0; c < cols; ++c)
            m.codes.push_back(info.bits == 8 ? bytes[r * row_bytes + c] : std::uint8_t(bytes[r * row_bytes + c / 2] >> c % 2 * 4 & 15));
    const unsigned char* at = bytes + round64(rows * row_bytes);
    const std::size_t size = info.is_nested ? 1 : info.scale == qnt::scalar_type::f32 ? 4 : 2;
    for (std::size_t i = 0; i < count; ++i) {
        if (info.is_nested) m.inner.push_back(at[i]);
        else if (size == 4) {
            float v;
            std::memcpy(&v, at + 4 * i, 4);
            m.scales.push_back(v);
        } else {
            std::uint16_t v;
            std::memcpy(&v, at + 2 * i, 2);
            m.scales.push_back(info.scale == qnt::scalar_type::f16 ? float(f16::from_bits(v)) : float(bf16::from_bits(v)));
        }
    }
    at += round64(count * size);
    if (info.has_zero()) {
        for (std::size_t r = 0; r < rows; ++r)
            for (std::size_t g = 0; g < groups; ++g) m.zeros.push_back(std::uint8_t(at[r * ((groups + 1) / 2) + g / 2] >> g % 2 * 4 & 15));
        at += round64(rows * ((groups + 1) / 2));
    }
    if (info.is_nested) {
        m.outer.resize((count + 255) / 256 + 1);
        std::memcpy(m.outer.data(), at, m.outer.size() * 4);
    }
    return m;
}

template <class F, class Layout> std::vector<float> dequantized(const qnt::packed_matrix<F, Layout>& w) {
    std::vector<float> v(w.rows() * w.cols());
    qnt::dequantize(matrix_view<float>{v.data(), w.rows(), w.cols()}, w);
    return v;
}
bool same_bytes(std::span<const std::byte> a, std::span<const std::byte> b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size()) == 0;
}

// Rows of very different size, a row and a group of zeros, a row of one sign: every kind of group in one matrix.
std::vector<float> mixed_matrix(std::size_t rows, std::size_t cols, unsigned seed) {
    auto x = random_floats(rows * cols, seed);
    for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t c = 0; c < cols; ++c) {
            float& v = x[r * cols + c];
            v *= std::ldexp(1.0f, int(r % 7) - 4);
            if (r % 5 == 3) v = std::fabs(v);
            if (r % 5 == 4) v = -std::fabs(v);
            if (r % 11 == 7 || (r % 3 == 1 && c >= 16 && c < 64)) v = 0;
        }
    return x;
}

// The last chunk first, all in the calling thread: an order that no race hides.
struct reversed_executor {
    std::size_t size() const { return 3; }
    void parallel_for(std::size_t n, std::size_t grain, qnt::range_function f) const {
        for (std::size_t chunk = (n + grain - 1) / grain; chunk-- > 0;) f(chunk * grain, std::min(n, (chunk + 1) * grain));
    }
};

template <class F> qnt::error error_of(const std::vector<float>& x, std::size_t rows, std::size_t cols, const qnt::quantize_options& options = {}) {
    const auto r = qnt::quantize<F>(matrix_view<const float>{x.data(), rows, cols}, options);
    REQUIRE_FALSE(r.has_value());
    return r.error();
}

// Not in the templates: 16 formats would compile every CHECK again.
void check_against_double(const qnt::error_stats& s, const std::vector<float>& x, const std::vector<float>& values, std::size_t rows,
                          std::size_t cols) {
    using wide = long double;
    constexpr wide infinity = std::numeric_limits<wide>::infinity();
    wide ww = 0, ee = 0, wv = 0, vv = 0, worst_db = infinity;
    float max = 0;
    std::size_t max_at = 0, worst_row = 0;
    for (std::size_t r = 0; r < rows; ++r) {
        wide row_ww = 0, row_ee = 0;
        for (std::size_t i = r * cols; i < (r + 1) * cols; ++i) {
            const wide w = x[i], v = values[i];
            row_ww += w * w;
            row_ee += (w - v) * (w - v);
            wv += w * v;
            vv += v * v;
            if (std::fabs(x[i] - values[i]) > max) {
                max = std::fabs(x[i] - values[i]);
                max_at = i;
            }
        }
        const wide db = row_ee == 0 ? infinity : 10 * std::log10(row_ww / row_ee);
        if (db < worst_db - 1e-9L) {
            worst_db = db;
            worst_row = r;
        }
        ww += row_ww;
        ee += row_ee;
    }
    const auto same = [](double a, wide b) { return a == double(b) || std::fabs(wide(a) - b) <= 1e-11L * std::fabs(b); };
    const auto same_db = [](double a, wide b) { return a == double(b) || std::fabs(wide(a) - b) <= 1e-9L; };
    CHECK(s.rows == rows);
    CHECK(s.cols == cols);
    CHECK(same(s.mse, ee / (wide(rows) * wide(cols))));
    CHECK(same(s.relative_frobenius, ee == 0 ? 0 : std::sqrt(ee / ww)));
    CHECK(same_db(s.sqnr_db, ee == 0 ? infinity : 10 * std::log10(ww / ee)));
    CHECK(same(s.cosine, ww == 0 || vv == 0 ? (ww == vv ? 1 : 0) : wv / std::sqrt(ww * vv)));
    CHECK(s.max_abs.error == max);
    CHECK(s.max_abs.row * cols + s.max_abs.col == max_at);
    CHECK(s.worst.row == worst_row);
    CHECK(same_db(s.worst.sqnr_db, worst_db));
}
void check_same(const qnt::error_stats& a, const qnt::error_stats& b) {
    CHECK(a.mse == b.mse);
    CHECK(a.sqnr_db == b.sqnr_db);
    CHECK(a.cosine == b.cosine);
    CHECK(a.relative_frobenius == b.relative_frobenius);
    CHECK(a.max_abs.error == b.max_abs.error);
    CHECK(a.max_abs.row == b.max_abs.row);
    CHECK(a.max_abs.col == b.max_abs.col);
    CHECK(a.worst.row == b.worst.row);
    CHECK(a.worst.sqnr_db == b.worst.sqnr_db);
}
void check_same_report(const qnt::quantization_report& a, const qnt::quantization_report& b) {
    check_same(a, b);
    CHECK(a.bytes == b.bytes);
    CHECK(a.bits.stored == b.bits.stored);
    CHECK(a.bits.streamed == b.bits.streamed);
    CHECK(a.groups == b.groups);
    CHECK(a.zero_groups == b.zero_groups);
    CHECK(a.clipped == b.clipped);
    CHECK(a.underflowed == b.underflowed);
}
void check_same_bytes(std::span<const std::byte> a, std::span<const std::byte> b) { CHECK(same_bytes(a, b)); }

}  // namespace

TEMPLATE_TEST_CASE("codes, scales and zero points follow the written rules", "", EVERY_FORMAT) {
    using F = TestType;
    for (const auto& of : shapes) {
        const std::size_t rows = of.rows, cols = of.cols;
        CAPTURE(rows, cols);
        const auto x = mixed_matrix(rows, cols, unsigned(rows * 1000 + cols));
        const oracle_matrix expected = oracle<F>(x, rows, cols);
        const matrix_view<const float> view{x.data(), rows, cols};
        const auto in_rows = qnt::quantize<F, layout::rows>(view).value();
        const raw actual = read_rows<F>(in_rows);
        REQUIRE(actual.codes == expected.codes);
        if (qnt::info_of<F>.is_nested) {
            REQUIRE(actual.inner == expected.inner);
            REQUIRE(test::same_bits(std::span(actual.outer).first(actual.outer.size() - 1), expected.outer));
            REQUIRE(actual.outer.back() == expected.offset);
        } else if (qnt::info_of<F>.kind == granularity::tensor) {
            REQUIRE(actual.scales.size() == 1);
            REQUIRE(actual.scales[0] == expected.scales[0]);
        } else {
            REQUIRE(test::same_bits(actual.scales, expected.scales));
        }
        if (qnt::info_of<F>.has_zero()) REQUIRE(actual.zeros == expected.zeros);
        for (const std::uint8_t q : actual.codes) REQUIRE((qnt::info_of<F>.bits == 4 || q != 0x80));

        // the same values from both layouts; 0 * scale may be -0
        const auto from_rows = dequantized(in_rows), from_panels = dequantized(qnt::quantize<F>(view).value());
        REQUIRE(test::same_bits(from_rows, from_panels));
        for (std::size_t i = 0; i < from_rows.size(); ++i) REQUIRE(from_rows[i] == expected.values[i]);
    }
}

// A quotient, not a product with 1 / scale: they round differently, which ties notice.
TEMPLATE_TEST_CASE("weights halfway between two codes", "", qnt::int8_channel, qnt::q8_0, (qnt::int4<16, float>), (qnt::uint4<64, float>),
                   qnt::nf4<64>) {
    using F = TestType;
    using code = typename F::code;
    const std::size_t rows = 64, cols = 64, group = F::scaling::group ? F::scaling::group : cols;
    auto x = random_floats(rows * cols, 21);
    for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t begin = 0; begin < cols; begin += group) {
            float* g = &x[r * cols + begin];
            g[0] = 1 + std::fabs(g[0]);  // the largest, which settles the scale
            const double scale = double(rounded_to(F::scaling::scale, double(to_float(double(g[0]) / oracle_absmax<code>()))));
            for (std::size_t i = 1; i < group; ++i) {
                const std::size_t step = (i * 7 + r) % 14;
                double tie = double(step) + 0.5;
                if (std::is_same_v<code, qnt::int8_code>) tie = double((i * 7 + r * 31) % 253) - 126 + 0.5;
                if (std::is_same_v<code, qnt::int4_code>) tie -= 7;
                if (std::is_same_v<code, qnt::nf4_code>) tie = double((qnt::nf4_code::values[step] + qnt::nf4_code::values[step + 1]) / 2);
                g[i] = float(tie * scale);
            }
        }
    const oracle_matrix expected = oracle<F>(x, rows, cols);
    const raw actual = read_rows<F>(qnt::quantize<F, layout::rows>(matrix_view<const float>{x.data(), rows, cols}).value());
    REQUIRE(test::same_bits(actual.scales, expected.scales));
    REQUIRE(actual.codes == expected.codes);
    std::size_t reciprocal_differs = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        const float s = expected.scales[i / cols * expected.groups + i % cols / group];
        reciprocal_differs += oracle_code<code>(to_float(double(x[i]) * double(to_float(1 / double(s)))), 0) != expected.codes[i];
    }
    CHECK(reciprocal_differs > 0);
}

TEMPLATE_TEST_CASE("the report says what a computation in double says", "", EVERY_FORMAT) {
    using F = TestType;
    for (const auto& of : shapes) {
        const std::size_t rows = of.rows, cols = of.cols;
        CAPTURE(rows, cols);
        const auto x = mixed_matrix(rows, cols, unsigned(rows + cols));
        const oracle_matrix expected = oracle<F>(x, rows, cols);
        const matrix_view<const float> view{x.data(), rows, cols};
        qnt::quantization_report report, counts;
        report.clipped = 99;  // what was there before is gone
        const auto packed = qnt::quantize<F>(view, {.report = &report}).value();
        check_against_double(report, x, expected.values, rows, cols);

        static_cast<qnt::error_stats&>(counts) = report;
        counts.groups = qnt::info_of<F>.kind == granularity::tensor ? 1 : rows * expected.groups;
        counts.zero_groups = expected.zero_groups;
        counts.clipped = expected.clipped;
        counts.underflowed = expected.underflowed;
        counts.bytes = qnt::storage_bytes<F>(rows, cols);
        counts.bits = {8.0 * double(counts.bytes) / double(rows * cols), 8.0 * double(packed.bytes().size()) / double(rows * cols)};
        check_same_report(report, counts);

        check_same(qnt::compare(view, packed), report);
        check_same(qnt::compare(view, qnt::quantize<F, layout::rows>(view).value()), report);
    }
}

TEMPLATE_TEST_CASE("errors keep to max_abs_error", "", qnt::int8, qnt::int8_channel, (qnt::int8_group<48, float>), (qnt::int4<16, float>),
                   qnt::nf4<64>) {
    using F = TestType;
    const std::size_t rows = 50, cols = 200, group = F::scaling::group ? F::scaling::group : cols;
    const auto x = random_floats(rows * cols, 3);
    const auto v = dequantized(qnt::quantize<F>(matrix_view<const float>{x.data(), rows, cols}).value());
    float all = 0;
    for (const float a : x) all = std::fmax(all, std::fabs(a));
    double fullest = 0;  // how much of the bound is used
    for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t begin = 0; begin < cols; begin += group) {
            float top = 0;
            const std::size_t end = std::min(cols, begin + group);
            for (std::size_t c = begin; c < end; ++c) top = std::fmax(top, std::fabs(x[r * cols + c]));
            const double bound = double(qnt::max_abs_error<F>(qnt::info_of<F>.kind == granularity::tensor ? all : top));
            for (std::size_t c = begin; c < end; ++c) {
                const double off = std::fabs(double(x[r * cols + c]) - double(v[r * cols + c]));
                REQUIRE(off <= bound * (1 + 1e-5));
                fullest = std::fmax(fullest, off / bound);
            }
        }
    CHECK(fullest > 0.9);
}

TEMPLATE_TEST_CASE("strides, transposition and threads do not change a byte", "", EVERY_FORMAT) {
    using F = TestType;
    for (const auto& of : shapes) {
        const std::size_t rows = of.rows, cols = of.cols;
        CAPTURE(rows, cols);
        const auto x = mixed_matrix(rows, cols, unsigned(rows * cols));
        const matrix_view<const float> dense{x.data(), rows, cols};
        qnt::quantization_report expected_report;
        const auto expected = qnt::quantize<F>(dense, {.report = &expected_report}).value();
        const auto expected_rows = qnt::quantize<F, layout::rows>(dense).value();

        // NaN between the elements would not go unnoticed
        const std::size_t stride = cols + 3;
        std::vector<float> padded(rows * stride, std::numeric_limits<float>::quiet_NaN()), turned(rows * cols),
            sparse(rows * cols * 3, std::numeric_limits<float>::quiet_NaN());
        for (std::size_t r = 0; r < rows; ++r)
            for (std::size_t c = 0; c < cols; ++c) {
                padded[r * stride + c] = x[r * cols + c];
                turned[c * rows + r] = x[r * cols + c];
                sparse[(r * cols + c) * 3] = x[r * cols + c];
            }
        const matrix_view<const float> views[] = {{padded.data(), rows, cols, stride},
                                                  matrix_view<const float>{turned.data(), cols, rows}.transposed(),
                                                  {sparse.data(), rows, cols, cols * 3, 3}};
        for (const auto& view : views) {
            check_same_bytes(qnt::quantize<F>(view).value().bytes(), expected.bytes());
            check_same_bytes(qnt::quantize<F, layout::rows>(view).value().bytes(), expected_rows.bytes());
            check_same(qnt::compare(view, expected), expected_report);
        }
        const auto with = [&](qnt::executor_ref executor) {
            qnt::quantization_report report;
            check_same_bytes(qnt::quantize<F>(dense, {.report = &report}, executor).value().bytes(), expected.bytes());
            check_same_bytes(qnt::quantize<F, layout::rows>(dense, {}, executor).value().bytes(), expected_rows.bytes());
            check_same_report(report, expected_report);
            check_same(qnt::compare(dense, expected, qnt::exact, executor), expected_report);
            std::vector<float> values(rows * cols);
            qnt::dequantize(matrix_view<float>{values.data(), rows, cols}, expected, executor);
            CHECK(test::same_bits(values, dequantized(expected)));
        };
        reversed_executor reversed;
        test::chaotic_executor one{1}, five{5};
        with(reversed);
        with(one);
        with(five);
    }
}

TEMPLATE_TEST_CASE("f16 and bf16 weights are quantized as their values", "", EVERY_FORMAT) {
    using F = TestType;
    const std::size_t rows = 19, cols = 77;
    const auto x = mixed_matrix(rows, cols, 5);
    const auto check = [&]<class T>(T) {
        std::vector<T> narrow, turned(rows * cols);
        std::vector<float> wide;
        for (const float v : x) {
            narrow.emplace_back(v);
            wide.push_back(float(narrow.back()));
        }
        for (std::size_t r = 0; r < rows; ++r)
            for (std::size_t c = 0; c < cols; ++c) turned[c * rows + r] = narrow[r * cols + c];
        const auto expected = qnt::quantize<F>(matrix_view<const float>{wide.data(), rows, cols}).value();
        qnt::quantization_report report;
        CHECK(same_bytes(qnt::quantize<F>(matrix_view<const T>{narrow.data(), rows, cols}, {.report = &report}).value().bytes(), expected.bytes()));
        CHECK(same_bytes(qnt::quantize<F>(matrix_view<T>{narrow.data(), rows, cols}).value().bytes(), expected.bytes()));  // a mutable view too
        CHECK(same_bytes(qnt::quantize<F>(matrix_view<const T>{turned.data(), cols, rows}.transposed()).value().bytes(), expected.bytes()));
        CHECK(qnt::compare(matrix_view<const T>{narrow.data(), rows, cols}, expected).mse == report.mse);
    };
    check(f16{});
    check(bf16{});
}

TEMPLATE_TEST_CASE("matrices of zeros become zeros", "", EVERY_FORMAT) {
    using F = TestType;
    std::vector<float> x(17 * 40);
    for (std::size_t i = 0; i < x.size(); i += 3) x[i] = -0.0f;
    qnt::quantization_report report;
    const auto packed = qnt::quantize<F, layout::rows>(matrix_view<const float>{x.data(), 17, 40}, {.strict = true, .report = &report}).value();
    for (const float v : dequantized(packed)) REQUIRE(v == 0.0f);
    for (const std::uint8_t q : read_rows<F>(packed).codes) REQUIRE(q == qnt::zero_code<typename F::code>);
    for (const float s : read_rows<F>(packed).scales) REQUIRE((s == 0.0f && !std::signbit(s)));
    CHECK(report.zero_groups == report.groups);
    CHECK(report.underflowed == 0);
    CHECK(report.mse == 0);
    CHECK(report.cosine == 1);
    CHECK(report.sqnr_db == std::numeric_limits<double>::infinity());
    CHECK(report.relative_frobenius == 0);
}

TEST_CASE("dense formats hold the numbers, narrowed") {
    for (const auto& of : shapes) {
        const std::size_t rows = of.rows, cols = of.cols;
        CAPTURE(rows, cols);
        const auto x = mixed_matrix(rows, cols, 9);
        const matrix_view<const float> view{x.data(), rows, cols};
        const auto check = [&]<class T>(T) {
            using F = qnt::dense_format<T>;
            qnt::quantization_report report;
            test::chaotic_executor threads;
            const auto in_rows = qnt::quantize<F, layout::rows>(view, {.report = &report}, threads).value();
            const auto in_panels = qnt::quantize<F>(view).value();
            std::vector<float> expected;
            double ee = 0;
            for (const float v : x) {
                expected.push_back(float(T(v)));
                ee += (double(v) - double(expected.back())) * (double(v) - double(expected.back()));
            }
            CHECK(test::same_bits(dequantized(in_rows), expected));
            CHECK(test::same_bits(dequantized(in_panels), expected));
            CHECK(report.mse == Approx(ee / double(rows * cols)).epsilon(1e-9).margin(1e-300));
            CHECK(report.groups == 0);
            CHECK(report.bytes == rows * cols * sizeof(T));
            std::vector<T> stored(rows * cols);
            std::memcpy(static_cast<void*>(stored.data()), in_rows.bytes().data(), stored.size() * sizeof(T));
            for (std::size_t i = 0; i < x.size(); ++i) REQUIRE(float(stored[i]) == expected[i]);
            CHECK(qnt::compare(view, in_panels).mse == report.mse);
        };
        check(float{});
        check(f16{});
        check(bf16{});
    }
}

TEMPLATE_TEST_CASE("compare measures what a mode multiplies by", "", qnt::int8_channel, qnt::int4<32>, qnt::uint4<64>, qnt::nf4<64>,
                   qnt::nf4_dq<64>) {
    using F = TestType;
    using code = typename F::code;
    const std::size_t rows = 21, cols = 133;
    const auto x = mixed_matrix(rows, cols, 2);
    const matrix_view<const float> view{x.data(), rows, cols};
    const auto packed = qnt::quantize<F>(view).value();
    const oracle_matrix m = oracle<F>(x, rows, cols);
    double ee = 0;
    for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t c = 0; c < cols; ++c) {
            const std::uint8_t q = m.codes[r * cols + c];
            double value = oracle_value<code>(q, m.zeros[r * m.groups + c / m.group]);
            if (std::is_same_v<code, qnt::nf4_code>) value = double(to_float(std::nearbyint(127 * value) * double(1.0f / 127.0f)));
            const double off = double(x[r * cols + c]) - double(to_float(value * double(m.scales[r * m.groups + c / m.group])));
            ee += off * off;
        }
    const double expected = ee / double(rows * cols);
    const double integer = qnt::compare(view, packed, qnt::int8_activations).mse, decoded = qnt::compare(view, packed).mse;
    CHECK(integer == Approx(expected).epsilon(1e-12));
    CHECK(qnt::compare(view, packed, qnt::automatic).mse == integer);  // which is what a product in that mode does
    if (std::is_same_v<code, qnt::nf4_code>) CHECK(integer != decoded);
    else CHECK(integer == decoded);
}

TEST_CASE("compare does not pretend that dense weights have integer operands") {
    const std::vector<float> x(6, 1.5f);
    const matrix_view<const float> view{x.data(), 2, 3};
    const auto packed = qnt::quantize<qnt::dense_format<f16>>(view).value();
    CHECK(qnt::compare(view, packed, qnt::automatic).mse == 0);
    CHECK_THROWS_AS(qnt::compare(view, packed, qnt::int8_activations), qnt::contract_error);
}

// ---- numbers that scales cannot hold ----

TEST_CASE("an f16 scale that underflows makes zeros and is counted, or is an error") {
    // row 1, group 1 is below what f16 can scale; row 2 is at its edge: 2^-24 is the smallest scale
    std::vector<float> x(3 * 64, 1.0f);
    for (std::size_t c = 32; c < 64; ++c) x[64 + c] = 1e-7f;
    for (std::size_t c = 0; c < 64; ++c) x[128 + c] = c % 2 ? 127 * 0x1.7p-24f : -0x1p-24f;
    const matrix_view<const float> view{x.data(), 3, 64};
    qnt::quantization_report report;
    const auto packed = qnt::quantize<qnt::q8_0, layout::rows>(view, {.report = &report}).value();
    CHECK(report.underflowed == 1);
    CHECK(report.zero_groups == 0);
    const auto v = dequantized(packed);
    for (std::size_t c = 32; c < 64; ++c) REQUIRE(v[64 + c] == 0.0f);
    // In row 2 the scale 1.4375 * 2^-24 becomes 2^-24: 127 of it are the most that can be said.
    CHECK(report.clipped == 32);
    CHECK(v[129] == 127 * 0x1p-24f);

    const qnt::error e = error_of<qnt::q8_0>(x, 3, 64, {.strict = true});
    CHECK(e.code == qnt::errc::scale_range);
    for (const char* part : {"row 1", "group 1", "columns from 32", "7.87402e-10", "underflows f16", "bf16 or f32", "strict"}) {
        INFO(e.message << " should contain " << part);
        CHECK(contains(e.message, part));
    }
    CHECK(qnt::quantize<qnt::int8_group<32, float>>(view, {.strict = true}).has_value());
    CHECK(qnt::quantize<qnt::int8_group<32, bf16>>(view, {.strict = true}).has_value());
}

TEST_CASE("one scale for the matrix: small rows do not underflow, a small matrix does") {
    std::vector<float> x(2 * 20, 1e-9f);  // 1e-9 / 127 is nothing in f16
    qnt::quantization_report report;
    CHECK(qnt::quantize<per_tensor_f16>(matrix_view<const float>{x.data(), 2, 20}, {.report = &report}).has_value());
    CHECK(report.underflowed == 1);
    CHECK(report.zero_groups == 0);
    CHECK(report.groups == 1);
    const qnt::error e = error_of<per_tensor_f16>(x, 2, 20, {.strict = true});
    CHECK(e.code == qnt::errc::scale_range);
    CHECK(contains(e.message, "underflows f16"));

    for (std::size_t c = 20; c < 40; ++c) x[c] = 1.0f;
    CHECK(qnt::quantize<per_tensor_f16>(matrix_view<const float>{x.data(), 2, 20}, {.strict = true, .report = &report}).has_value());
    CHECK(report.underflowed == 0);
    CHECK(report.zero_groups == 0);
}

TEST_CASE("an f16 scale that overflows is an error that names row, group and remedy") {
    std::vector<float> x(40 * 100, 1.0f);
    x[33 * 100 + 70] = -8.4e6f;  // / 127 = 66141.7: above f16's 65504, and rounds to infinity
    const qnt::error e = error_of<qnt::q8_0>(x, 40, 100);
    CHECK(e.code == qnt::errc::scale_range);
    for (const char* part : {"qnt::quantize", "row 33", "group 2", "columns from 64", "66141.7", "overflows f16", "use bf16 or f32"}) {
        INFO(e.message << " should contain " << part);
        CHECK(contains(e.message, part));
    }
    const matrix_view<const float> view{x.data(), 40, 100};
    CHECK(qnt::quantize<qnt::int8_group<32, bf16>>(view).has_value());
    CHECK(qnt::quantize<qnt::int8_group<32, float>>(view).has_value());
    x[33 * 100 + 70] = 127 * 65504.0f;  // the largest scale there is
    CHECK(qnt::quantize<qnt::q8_0>(view).has_value());

    // the range of an asymmetric group can overflow f32 itself
    std::vector<float> wide(2 * 16, 0.0f);
    wide[16] = 3e38f;
    wide[17] = -3e38f;
    const qnt::error f = error_of<qnt::uint4<16, float>>(wide, 2, 16);
    CHECK(f.code == qnt::errc::scale_range);
    for (const char* part : {"row 1", "group 0", "inf", "scale the weights down"}) {
        INFO(f.message << " should contain " << part);
        CHECK(contains(f.message, part));
    }
    wide[17] = 0;
    CHECK(qnt::quantize<qnt::uint4<16, float>>(matrix_view<const float>{wide.data(), 2, 16}).has_value());
}

TEST_CASE("a number that a dense type cannot hold is an error that names its place") {
    std::vector<float> x(20 * 30, 1.0f);
    x[17 * 30 + 4] = 70000.0f;
    const qnt::error e = error_of<qnt::dense_format<f16>>(x, 20, 30);
    CHECK(e.code == qnt::errc::scale_range);
    for (const char* part : {"row 17", "column 4", "70000", "overflows f16", "bf16 or f32"}) {
        INFO(e.message << " should contain " << part);
        CHECK(contains(e.message, part));
    }
    CHECK(qnt::quantize<qnt::dense_format<bf16>>(matrix_view<const float>{x.data(), 20, 30}).has_value());
}

TEMPLATE_TEST_CASE("NaN and infinity are errors that name row and column, the first ones whatever the threads", "", qnt::int8, qnt::int8_channel,
                   qnt::q8_0, qnt::int4<32>, qnt::uint4<64>, qnt::nf4<64>, qnt::nf4_dq<64>, qnt::dense_format<float>, qnt::dense_format<f16>,
                   qnt::dense_format<bf16>) {
    const float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
    for (const float bad : {infinity, -infinity, nan, -nan, std::bit_cast<float>(0x7f800001u)}) {
        std::vector<float> x(100 * 70, 0.5f);
        x[37 * 70 + 65] = bad;
        x[37 * 70 + 69] = nan;
        for (std::size_t r = 38; r < 100; r += 3) x[r * 70] = bad;
        const matrix_view<const float> view{x.data(), 100, 70};
        const auto check = [&](auto executor) {
            for (const bool report_too : {false, true}) {
                qnt::quantization_report report;
                report.clipped = 99;
                const auto r = qnt::quantize<TestType>(view, {.report = report_too ? &report : nullptr}, executor);
                REQUIRE_FALSE(r.has_value());
                CHECK(report.clipped == 99);  // untouched
                CHECK(r.error().code == qnt::errc::not_finite);
                INFO(r.error().message);
                CHECK(contains(r.error().message, "row 37, column 65 is not a finite number"));
            }
        };
        check(qnt::serial{});
        check(reversed_executor{});
        check(test::chaotic_executor{7});
    }
}

TEMPLATE_TEST_CASE("NaN and infinity of 16-bit weights are errors too", "", f16, bf16) {
    for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
        std::vector<TestType> x(20 * 30, TestType(1.0f));
        x[19 * 30 + 3] = TestType(bad);
        const auto r = qnt::quantize<qnt::nf4<64>>(matrix_view<const TestType>{x.data(), 20, 30});
        REQUIRE_FALSE(r.has_value());
        CHECK(r.error().code == qnt::errc::not_finite);
        CHECK(contains(r.error().message, "row 19, column 3"));
    }
}

TEST_CASE("empty matrices are errors") {
    const std::vector<float> x(16, 1.0f);
    for (const auto& of : {shape{0, 5}, shape{5, 0}, shape{0, 0}}) {
        const std::size_t rows = of.rows, cols = of.cols;
        const auto r = qnt::quantize<qnt::int4<32>>(matrix_view<const float>{x.data(), rows, cols});
        REQUIRE_FALSE(r.has_value());
        CHECK(r.error().code == qnt::errc::invalid_argument);
        CHECK(contains(r.error().message, "[" + std::to_string(rows) + ", " + std::to_string(cols) + "]"));
        CHECK_FALSE(qnt::quantize<qnt::dense_format<f16>>(matrix_view<const float>{x.data(), rows, cols}).has_value());
    }
}

TEST_CASE("shapes that do not fit are contract violations, and touch nothing") {
    const std::vector<float> x(6 * 20, 1.0f);
    const auto packed = qnt::quantize<qnt::int8_channel>(matrix_view<const float>{x.data(), 6, 20}).value();
    std::vector<float> out(6 * 20, 5.0f);
    for (const auto& of : {shape{5, 20}, shape{6, 19}, shape{20, 6}}) {
        const std::size_t rows = of.rows, cols = of.cols;
        CHECK_THROWS_AS(qnt::dequantize(matrix_view<float>{out.data(), rows, cols}, packed), qnt::contract_error);
        CHECK_THROWS_AS(qnt::compare(matrix_view<const float>{x.data(), rows, cols}, packed), qnt::contract_error);
    }
    CHECK(std::all_of(out.begin(), out.end(), [](float v) { return v == 5.0f; }));
    try {
        qnt::dequantize(matrix_view<float>{out.data(), 5, 20}, packed);
    } catch (const qnt::contract_error& e) {
        CHECK(contains(e.what(), "[5, 20]"));
        CHECK(contains(e.what(), "[6, 20]"));
    }
}

TEST_CASE("dequantize writes through any strides and nothing else") {
    const std::size_t rows = 18, cols = 37;
    const auto x = random_floats(rows * cols, 8);
    const auto packed = qnt::quantize<qnt::int4<16>>(matrix_view<const float>{x.data(), rows, cols}).value();
    const auto expected = dequantized(packed);
    std::vector<float> turned(rows * cols), sparse(rows * cols * 2, -7.0f);
    qnt::dequantize(matrix_view<float>{turned.data(), cols, rows}.transposed(), packed);
    qnt::dequantize(matrix_view<float>{sparse.data(), rows, cols, cols * 2, 2}, packed.view());
    for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t c = 0; c < cols; ++c) {
            REQUIRE(turned[c * rows + r] == expected[r * cols + c]);
            REQUIRE(sparse[(r * cols + c) * 2] == expected[r * cols + c]);
            REQUIRE(sparse[(r * cols + c) * 2 + 1] == -7.0f);
        }
}

// A code of the user's own, of 6 bits: bytes in panels, 6-bit fields in rows.
namespace {
struct six_bits {
    static constexpr const char* name = "six";
    static constexpr int bits = 6;
    static constexpr float absmax = 31;
    static constexpr std::uint8_t encode(float x) { return std::uint8_t(int(qnt::round_even(x < -31 ? -31 : x > 31 ? 31 : x)) + 32); }
    static constexpr float decode(std::uint8_t q) { return float(q) - 32.0f; }
};
}  // namespace

TEST_CASE("a user's code of an odd width quantizes") {
    using F = qnt::format<six_bits, qnt::per_group<32, f16>>;
    const std::size_t rows = 19, cols = 45;
    const auto x = random_floats(rows * cols, 4);
    const matrix_view<const float> view{x.data(), rows, cols};
    const auto in_rows = qnt::quantize<F, layout::rows>(view).value();
    const auto v = dequantized(in_rows);
    CHECK(test::same_bits(v, dequantized(qnt::quantize<F>(view).value())));
    const std::size_t row_bytes = (cols * 6 + 7) / 8;
    for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t c = 0; c < cols; ++c) {
            float top = 0;
            for (std::size_t k = c / 32 * 32; k < std::min(cols, c / 32 * 32 + 32); ++k) top = std::fmax(top, std::fabs(x[r * cols + k]));
            const float scale = float(f16(top / 31));
            const int q = int(clamp(std::nearbyint(double(x[r * cols + c] / scale)), -31, 31));
            REQUIRE(v[r * cols + c] == to_float(double(q) * double(scale)));
            int stored = 0;
            for (std::size_t bit = 0; bit < 6; ++bit) {
                const std::size_t at = c * 6 + bit;
                stored |= (int(in_rows.bytes()[r * row_bytes + at / 8]) >> at % 8 & 1) << bit;
            }
            REQUIRE(stored == q + 32);
        }
}
