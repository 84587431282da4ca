// Containers, packing and repacking. Bytes are expected where the diagrams of packed/layout.hpp put them, computed here once more.
#include <qnt/quantize.hpp>

#include <cmath>
#include <random>

#include "support.hpp"

namespace {

using qnt::bf16;
using qnt::f16;
using qnt::matrix_view;
using qnt::packed_matrix;
namespace layout = qnt::layout;

struct shape {
    std::size_t rows, cols;
};
constexpr shape shapes[] = {{1, 1}, {1, 7}, {2, 9}, {15, 16}, {16, 17}, {17, 15}, {16, 31}, {31, 33}, {33, 100}, {20, 260}};

// bytes of other widths than those of the library
struct six_bits {  // exact operands: panels hold the operand
    static constexpr const char* name = "six";
    static constexpr int bits = 6;
    static constexpr float absmax = 31;
    static constexpr std::uint8_t encode(float x) { return std::uint8_t(int(qnt::round_even(x < -31 ? -31 : x > 31 ? 31 : x)) + 32); }
    static constexpr float decode(std::uint8_t q) { return float(q) - 32.0f; }
};
struct odd_bits {  // 5 bits, no exact operands: panels hold the code
    static constexpr const char* name = "odd";
    static constexpr int bits = 5;
    static constexpr float absmax = 256;
    static constexpr std::uint8_t encode(float x) {
        int q = 0;
        for (int i = 0; i < 31; ++i) q += x > (decode(std::uint8_t(i)) + decode(std::uint8_t(i + 1))) / 2 ? 1 : 0;
        return std::uint8_t(q);
    }
    static constexpr float decode(std::uint8_t q) { return (q < 16 ? -1.0f : 1.0f) * float((q - 16) * (q - 16)); }
};
using six = qnt::format<six_bits, qnt::per_group<32, f16>>;
using odd = qnt::format<odd_bits, qnt::per_group<16, float>>;

#define EVERY_FORMAT                                                                                                              \
    qnt::int8, qnt::int8_channel, qnt::q8_0, (qnt::int8_group<48, float>), qnt::int4<32>, (qnt::int4<16, float>), qnt::uint4<64>, \
        (qnt::uint4<16, float>), (qnt::uint4<48, bf16>), qnt::nf4<64>, (qnt::nf4<48, f16>), six, odd

// Random contents of a matrix: every code that an encoder makes, scales that their type holds, zero points.
struct contents {
    std::size_t groups;
    std::vector<std::uint8_t> codes, zeros;  // [rows][cols], [rows][groups]
    std::vector<float> scales;

    template <class F> static contents random(F, const qnt::packed_shape& s, unsigned seed) {
        using code = typename F::code;
        constexpr qnt::format_info f = qnt::info_of<F>;
        std::mt19937 random(seed);
        contents m;
        m.groups = s.groups();
        while (m.codes.size() < s.rows * s.cols) {
            const auto q = std::uint8_t(random() % (1u << code::bits));
            if (code::encode(code::decode(q)) == q) m.codes.push_back(q);
        }
        const float same = float(random() % 100) / 8;
        for (std::size_t i = 0; i < s.rows * m.groups; ++i) {
            m.scales.push_back(f.kind == qnt::granularity::tensor ? same : float(random() % 128) / 64);
            m.zeros.push_back(f.has_zero() ? std::uint8_t(random() % 16) : std::uint8_t{0});
        }
        return m;
    }
    qnt::unpacked_row row(std::size_t r, std::size_t cols) { return {&codes[r * cols], &scales[r * groups], &zeros[r * groups]}; }
};

std::uint32_t read(const std::byte* p, std::size_t size) {
    std::uint32_t v = 0;
    for (std::size_t i = 0; i < size; ++i) v |= std::uint32_t(p[i]) << 8 * i;
    return v;
}
std::uint32_t bits_of(float v, qnt::scalar_type t) {
    return t == qnt::scalar_type::f32 ? std::bit_cast<std::uint32_t>(v) : t == qnt::scalar_type::f16 ? f16(v).bits : bf16(v).bits;
}
bool same_bytes(std::span<const std::byte> a, std::span<const std::byte> b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size()) == 0;
}

template <class F> std::vector<std::byte> pack(contents m, const qnt::packed_shape& s) {
    constexpr qnt::format_info f = qnt::info_of<F>;
    std::vector<std::byte> bytes(qnt::panel_layout(f, s).buffer_bytes());
    for (std::size_t r = 0; r < s.rows; r += 16)
        qnt::pack_panel(bytes.data(), f, s, r / 16, m.row(r, s.cols), s.cols, std::min<std::size_t>(16, s.rows - r));
    return bytes;
}

// The whole stream, written down in the order of the diagram.
template <class F> std::vector<std::byte> expected_panels(const contents& m, const qnt::packed_shape& s) {
    using code = typename F::code;
    constexpr qnt::format_info f = qnt::info_of<F>;
    std::vector<std::byte> out;
    const auto code_of = [&](std::size_t row, std::size_t k) {  // as it lies in a panel
        const std::uint8_t q = row < s.rows && k < s.cols ? m.codes[row * s.cols + k] : code::encode(0.0f);
        if (f.family == qnt::operand_family::byte_value) return std::uint8_t(int(code::decode(q) / f.tables->unit));
        return q;
    };
    for (std::size_t panel = 0; panel < s.rows; panel += 16) {
        for (std::size_t g = 0; g < m.groups; ++g) {
            const std::size_t begin = f.is_grouped() ? g * F::scaling::group : 0,
                              end = f.is_grouped() ? std::min(s.cols, begin + F::scaling::group) : s.cols;
            // columns beyond a group belong to the next one in memory, but are padding here
            const auto at = [&](std::size_t row, std::size_t k) { return k < end ? code_of(row, k) : code_of(s.rows, s.cols); };
            if (f.bits <= 4) {
                for (std::size_t k = begin; k < end; k += 8)
                    for (std::size_t r = 0; r < 16; ++r)
                        for (std::size_t j = 0; j < 4; ++j) out.push_back(std::byte(at(panel + r, k + j) | at(panel + r, k + 4 + j) << 4));
            } else {
                for (std::size_t k = begin; k < end; k += 4)
                    for (std::size_t r = 0; r < 16; ++r)
                        for (std::size_t j = 0; j < 4; ++j) out.push_back(std::byte(at(panel + r, k + j)));
            }
            const std::size_t meta = out.size();
            for (std::size_t r = 0; r < 16; ++r) {
                const std::uint32_t v = panel + r < s.rows ? bits_of(m.scales[(panel + r) * m.groups + g], f.scale) : 0;
                for (std::size_t i = 0; i < qnt::size_of(f.scale); ++i) out.push_back(std::byte(v >> 8 * i & 255));
            }
            if (f.has_zero())
                for (std::size_t r = 0; r < 16; ++r) out.push_back(std::byte(panel + r < s.rows ? m.zeros[(panel + r) * m.groups + g] : 0));
            while ((out.size() - meta) % 32 != 0) out.push_back(std::byte{0});
        }
        while (out.size() % 64 != 0) out.push_back(std::byte{0});
    }
    return out;
}

}  // namespace

TEMPLATE_TEST_CASE("panels hold every byte where the diagram says, zero codes and scales in the padding", "", EVERY_FORMAT) {
    using F = TestType;
    for (const auto& of : shapes) {
        const std::size_t rows = of.rows, cols = of.cols;
        CAPTURE(rows, cols);
        const qnt::packed_shape s = qnt::shape_of<F>(rows, cols);
        const contents m = contents::random(F{}, s, unsigned(rows * cols));
        REQUIRE(same_bytes(pack<F>(m, s), expected_panels<F>(m, s)));
    }
}

TEMPLATE_TEST_CASE("what was packed is unpacked", "", EVERY_FORMAT) {
    using F = TestType;
    for (const auto& of : shapes) {
        const std::size_t rows = of.rows, cols = of.cols;
        CAPTURE(rows, cols);
        const qnt::packed_shape s = qnt::shape_of<F>(rows, cols);
        contents m = contents::random(F{}, s, unsigned(rows + cols));
        const auto panels = pack<F>(m, s);
        std::vector<std::byte> in_rows(qnt::rows_layout(qnt::info_of<F>, s).buffer_bytes());
        for (std::size_t r = 0; r < rows; r += 16)
            qnt::detail::place_rows<layout::rows>(in_rows.data(), qnt::info_of<F>, s, r, m.row(r, cols), cols, std::min<std::size_t>(16, rows - r));

        std::vector<std::uint8_t> codes(cols), zeros(m.groups);
        std::vector<float> scales(m.groups);
        const auto check = [&](const auto& view) {
            for (std::size_t r = rows; r-- > 0;) {
                qnt::unpack_row(view, r, {codes.data(), scales.data(), zeros.data()});
                REQUIRE(std::equal(codes.begin(), codes.end(), &m.codes[r * cols]));
                REQUIRE(std::equal(scales.begin(), scales.end(), &m.scales[r * m.groups]));
                REQUIRE(std::equal(zeros.begin(), zeros.end(), &m.zeros[r * m.groups]));
            }
        };
        check(qnt::any_view<layout::panels>{qnt::info_of<F>, s, panels.data()});
        check(qnt::any_view<layout::rows>{qnt::info_of<F>, s, in_rows.data()});
    }
}

TEMPLATE_TEST_CASE("repacking is what quantizing into the other layout gives, and there and back is the same", "", EVERY_FORMAT,
                   qnt::dense_format<float>, qnt::dense_format<f16>, qnt::dense_format<bf16>) {
    using F = TestType;
    for (const auto& of : shapes) {
        const std::size_t rows = of.rows, cols = of.cols;
        CAPTURE(rows, cols);
        const auto x = test::random_floats(rows * cols, unsigned(rows + 100 * cols));
        const matrix_view<const float> view{x.data(), rows, cols};
        const auto in_rows = qnt::quantize<F, layout::rows>(view).value();
        const auto in_panels = qnt::quantize<F>(view).value();
        const packed_matrix<F, layout::panels> to_panels = qnt::repack<layout::panels>(in_rows).value();
        const packed_matrix<F, layout::rows> to_rows = qnt::repack<layout::rows>(in_panels).value();
        CHECK(same_bytes(to_panels.bytes(), in_panels.bytes()));
        CHECK(same_bytes(to_rows.bytes(), in_rows.bytes()));
        CHECK(to_rows.shape() == in_rows.shape());
        CHECK(same_bytes(qnt::repack<layout::panels>(in_panels.view()).value().bytes(), in_panels.bytes()));
        CHECK(same_bytes(qnt::repack<layout::rows>(in_rows.view()).value().bytes(), in_rows.bytes()));
    }
}

namespace {
template <class To, class M> constexpr bool can_repack = requires(const M& m) { qnt::repack<To>(m); };
}  // namespace

TEST_CASE("nested scales expand into panels, and do not come back") {
    using F = qnt::nf4_dq<16>;
    const auto x = test::random_floats(40 * 130, 6);
    const matrix_view<const float> view{x.data(), 40, 130};
    const auto in_rows = qnt::quantize<F, layout::rows>(view).value();
    CHECK(same_bytes(qnt::repack<layout::panels>(in_rows).value().bytes(), qnt::quantize<F>(view).value().bytes()));
    STATIC_REQUIRE(can_repack<layout::panels, packed_matrix<F, layout::rows>>);
    STATIC_REQUIRE_FALSE(can_repack<layout::rows, packed_matrix<F, layout::panels>>);
    STATIC_REQUIRE(can_repack<layout::rows, packed_matrix<qnt::nf4<16>, layout::panels>>);
}

TEMPLATE_TEST_CASE("dense panels hold numbers where the diagram says", "", float, f16, bf16) {
    using F = qnt::dense_format<TestType>;
    for (const auto& of : shapes) {
        const std::size_t rows = of.rows, cols = of.cols;
        CAPTURE(rows, cols);
        const auto x = test::random_floats(rows * cols, unsigned(cols));
        const auto packed = qnt::quantize<F>(matrix_view<const float>{x.data(), rows, cols}).value();
        std::vector<std::byte> expected;
        for (std::size_t panel = 0; panel < rows; panel += 16)
            for (std::size_t k = 0; k < cols; k += 4)
                for (std::size_t r = panel; r < panel + 16; ++r)
                    for (std::size_t j = k; j < k + 4; ++j) {
                        const float v = r < rows && j < cols ? x[r * cols + j] : 0.0f;
                        for (std::size_t i = 0; i < sizeof(TestType); ++i)
                            expected.push_back(std::byte(bits_of(v, qnt::scalar_type_of<TestType>) >> 8 * i & 255));
                    }
        CHECK(same_bytes(packed.bytes(), expected));
    }
}

TEST_CASE("gaps between the sections of rows are zero") {
    std::vector<float> x(5 * 37, 1.0f);
    const auto w = qnt::quantize<qnt::uint4<16, bf16>, layout::rows>(matrix_view<const float>{x.data(), 5, 37}).value();
    const qnt::rows_layout at(qnt::info_of<qnt::uint4<16, bf16>>, w.shape());
    const auto zero = [&](std::size_t begin, std::size_t end) {
        return std::all_of(w.bytes().begin() + std::ptrdiff_t(begin), w.bytes().begin() + std::ptrdiff_t(end),
                           [](std::byte b) { return b == std::byte{0}; });
    };
    CHECK(at.codes.end() < at.scales.begin);
    CHECK(zero(at.codes.end(), at.scales.begin));
    CHECK(zero(at.scales.end(), at.zeros.begin));
    CHECK(zero(at.zeros.end(), w.bytes().size()));
    CHECK(read(w.bytes().data() + 18, 1) >> 4 == 0);  // 37 codes: the last byte of a row holds one
}

TEST_CASE("a matrix owns, a view borrows") {
    const std::vector<float> x(20 * 30, 1.0f);
    packed_matrix<qnt::int8_channel> w = qnt::quantize<qnt::int8_channel>(matrix_view<const float>{x.data(), 20, 30}).value();
    CHECK(w.rows() == 20);
    CHECK(w.cols() == 30);
    CHECK(w.shape() == qnt::packed_shape{20, 30, 0});
    CHECK(w.bytes().size() == qnt::panel_layout(qnt::info_of<qnt::int8_channel>, w.shape()).buffer_bytes());
    CHECK(reinterpret_cast<std::uintptr_t>(w.bytes().data()) % 64 == 0);
    const qnt::packed_view<qnt::int8_channel> v = w;
    CHECK(v.data == w.bytes().data());
    CHECK(v.rows() == 20);
    CHECK(v.cols() == 30);
    const qnt::any_view<layout::panels> any = w;
    CHECK(any.format == qnt::info_of<qnt::int8_channel>);
    CHECK(any.shape == w.shape());
    CHECK(any.data == v.data);

    const packed_matrix<qnt::int8_channel> moved = std::move(w);
    CHECK(moved.bytes().data() == v.data);  // views survive a move of the owner
    const packed_matrix<qnt::nf4<64>> empty;
    CHECK(empty.rows() == 0);
    CHECK(empty.bytes().empty());
    STATIC_REQUIRE_FALSE(std::is_copy_constructible_v<packed_matrix<qnt::int8>>);
    STATIC_REQUIRE_FALSE(std::is_convertible_v<packed_matrix<qnt::int8, layout::rows>, qnt::any_view<layout::panels>>);
}
