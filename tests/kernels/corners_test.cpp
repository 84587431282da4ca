// Codes and activations at the ends of their ranges: where a sum saturates or a bias is lost, it shows only on such data.
#include <qnt/any_format.hpp>

#include "support.hpp"

namespace {

struct corner {
    const char* format;
    int low_code, high_code;
    int low, high;   // what they are multiplied as, without a zero point
    int zeros[2];    // zero points
    float unit = 1;  // of the products
};
constexpr corner corners[] = {{"int8_channel", -127, 127, -127, 127, {}},
                              {"int8", -127, 127, -127, 127, {}},
                              {"int8:16:f32", -127, 127, -127, 127, {}},
                              {"int8:128", -127, 127, -127, 127, {}},
                              {"int8:256:bf16", -127, 127, -127, 127, {}},
                              {"int4:16:f32", 0, 15, -8, 7, {}},
                              {"int4:128", 0, 15, -8, 7, {}},
                              {"int4:256:bf16", 0, 15, -8, 7, {}},
                              {"uint4:32:f32", 0, 15, 0, 15, {0, 15}},
                              {"uint4:128", 0, 15, 0, 15, {0, 15}},
                              {"uint4:256:bf16", 0, 15, 0, 15, {15, 0}},
                              {"nf4:64", 0, 15, -127, 127, {}, 1 / 127.0f}};

// Which columns of row r are at the high end. Four kinds of rows: all, none, every other, at random.
std::vector<std::uint8_t> high_ends(std::size_t r, std::size_t k) {
    std::mt19937 random{unsigned(r)};
    std::vector<std::uint8_t> is_high(k);
    for (std::size_t i = 0; i < k; ++i) is_high[i] = r % 4 == 0 || (r % 4 == 2 && i % 2 == 0) || (r % 4 == 3 && random() % 2 == 0);
    return is_high;
}

struct packed {
    qnt::any_format format;
    qnt::packed_shape shape;
    qnt::aligned_buffer bytes;

    packed(const corner& c, std::size_t n, std::size_t k)
        : format(qnt::any_format::parse(c.format).value()),
          shape(format.shape(n, k)),
          bytes(qnt::aligned_buffer::allocate(qnt::panel_layout(format.info, shape).buffer_bytes()).value()) {
        const std::size_t groups = shape.groups();
        std::vector<std::uint8_t> codes(n * k), zeros(n * groups);
        std::vector<float> scales(n * groups, 1.0f);
        for (std::size_t r = 0; r < n; ++r) {
            const auto is_high = high_ends(r, k);
            for (std::size_t i = 0; i < k; ++i) codes[r * k + i] = std::uint8_t(is_high[i] ? c.high_code : c.low_code);
            std::fill_n(&zeros[r * groups], groups, std::uint8_t(zero(c, r)));
        }
        for (std::size_t r = 0; r < n; r += qnt::panel_rows)
            qnt::pack_panel(bytes.data(), format.info, shape, r / qnt::panel_rows, {&codes[r * k], &scales[r * groups], &zeros[r * groups]}, k,
                            std::min(qnt::panel_rows, n - r));
    }
    static int zero(const corner& c, std::size_t r) { return c.zeros[r / 4 % 2]; }
    qnt::any_view<qnt::layout::panels> view() const { return {format.info, shape, bytes.data()}; }
};

}  // namespace

// x is +-127, so its codes are, in segments of scale 1. Sums of whole segments are exact in float: those of equal signs have many zero
// bits at their end, those of random signs are small. So y is the sum of all integers, rounded once.
TEST_CASE("products of the largest codes are exact") {
    constexpr std::size_t n = 39, most_rows = 33;
    for (const corner& c : corners)
        for (const std::size_t k : {std::size_t{100}, std::size_t{1024}, std::size_t{4095}, std::size_t{4096}}) {
            const packed w(c, n, k);
            std::vector<float> x;
            for (std::size_t m = 0; m < most_rows + 3; ++m)
                for (const bool is_high : high_ends(1000 + m, k)) x.push_back(is_high ? 127.0f : -127.0f);
            const auto ready = qnt::quantize_activations(qnt::matrix_view<const float>{x.data(), 4, k}, w.view());
            for (std::size_t i = 0; i < 4; ++i) REQUIRE(std::equal(ready.codes(i), ready.codes(i) + k, &x[i * k]));
            std::vector<float> expected((most_rows + 3) * n);
            for (std::size_t r = 0; r < n; ++r) {
                const auto is_high = high_ends(r, k);
                for (std::size_t m = 0; m < most_rows + 3; ++m) {
                    std::int64_t sum = 0;
                    for (std::size_t i = 0; i < k; ++i) sum += ((is_high[i] ? c.high : c.low) - packed::zero(c, r)) * int(x[m * k + i]);
                    expected[m * n + r] = qnt::mul(float(sum), c.unit);
                }
            }
            for (const std::size_t m :
                 {std::size_t{1}, std::size_t{2}, std::size_t{3}, std::size_t{4}, std::size_t{8}, std::size_t{16}, std::size_t{17}, most_rows})
                for (std::size_t first = 0; first < 4; ++first) {  // each kind of row takes each place
                    INFO(c.format << " K=" << k << " M=" << m << " from row " << first);
                    test::on_every_isa([&](qnt::isa::id) {
                        std::vector<float> y(m * n);
                        qnt::gemm(qnt::matrix_view<float>{y.data(), m, n}, qnt::matrix_view<const float>{&x[first * k], m, k}, w.view(), {});
                        REQUIRE(test::same_bits(y, std::span(expected).subspan(first * n, m * n)));
                    });
                }
        }
}
