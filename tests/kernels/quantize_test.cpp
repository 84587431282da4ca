#include <qnt/kernels/quantize_table.hpp>

#include "support.hpp"

TEST_CASE("rows narrow to f16 and bf16 as one number does, and widen again, on every instruction set") {
    std::vector<float> x;
    std::mt19937 random(1);
    for (std::uint32_t high = 0; high < 0x10000; ++high)  // every sign, exponent and upper mantissa, with lower halves around ties
        for (const std::uint32_t low : {0x0000u, 0x0fffu, 0x1000u, 0x1001u, 0x7fffu, 0x8000u, 0x8001u, std::uint32_t(random()) & 0xffffu})
            x.push_back(std::bit_cast<float>(high << 16 | low));
    for (const qnt::scalar_type type : {qnt::scalar_type::f16, qnt::scalar_type::bf16}) {
        std::vector<std::uint16_t> expected;
        std::vector<float> expected_wide;
        for (const float v : x) {
            expected.push_back(type == qnt::scalar_type::f16 ? qnt::f16(v).bits : qnt::bf16(v).bits);
            expected_wide.push_back(type == qnt::scalar_type::f16 ? float(qnt::f16::from_bits(expected.back()))
                                                                  : float(qnt::bf16::from_bits(expected.back())));
        }
        test::on_every_isa([&](qnt::isa::id id) {
            std::vector<std::uint16_t> narrow(x.size());
            qnt::kernels::narrow_row[std::size_t(id)](x.data(), x.size(), type, narrow.data());
            CHECK(narrow == expected);
            std::vector<float> wide(x.size());
            qnt::kernels::widen_row[std::size_t(id)](narrow.data(), x.size(), type, wide.data());
            CHECK(test::same_bits(wide, expected_wide));
            for (std::size_t n = 0; n < 40; ++n) {  // nothing next to the ends is read or written
                test::guarded<float> from(n), to(n);
                test::guarded<std::uint16_t> between(n);
                std::copy_n(&x[n * 1000], n, from.data());
                qnt::kernels::narrow_row[std::size_t(id)](from.data(), n, type, between.data());
                CHECK(std::equal(between.data(), between.data() + n, &expected[n * 1000]));
                qnt::kernels::widen_row[std::size_t(id)](between.data(), n, type, to.data());
                CHECK(test::same_bits(to.span(), std::span(expected_wide).subspan(n * 1000, n)));
            }
        });
    }
}
