#include "kernels/emulated_ops.hpp"
#include "kernels/guarded_product.hpp"

namespace {

using family = qnt::operand_family;

struct emulated_isa {
    const char* name;
    int bias;
    qnt::kernels::gemm_function affine, affine_zero, table, byte, byte_table;

    qnt::kernels::gemm_function kernel(const qnt::format_info& f) const {
        switch (f.family) {
        case family::nibble_affine: return f.has_zero() ? affine_zero : affine;
        case family::nibble_table: return table;
        case family::byte_value: return byte;
        default: return byte_table;
        }
    }
    // As the library's, with the panels in two parts: the second one begins at `cut`.
    void multiply(const qnt::detail::scalar_rows& y, const qnt::detail::scalar_rows& x, const qnt::any_view<qnt::layout::panels>& w,
                  const qnt::matmul_options& options, std::size_t cut) const {
        qnt::activations codes;
        qnt::detail::quantize_rows(codes, x, qnt::detail::segments_of(w), {});
        auto a = qnt::detail::weight_args(w, options.epilogue, const_cast<void*>(y.data), y.type, y.stride);
        a.codes = codes.codes(0);
        a.codes_stride = codes.codes_stride();
        a.m = codes.rows();
        a.segments = codes.segments();
        a.factors = codes.factors();
        a.minus_sums = codes.minus_sums();
        const int added = w.format.family == family::nibble_affine ? w.format.tables->offset : bias;
        std::vector<std::int32_t> seeds(a.m * a.segments);
        for (std::size_t i = 0; i < seeds.size(); ++i)
            seeds[i] = std::bit_cast<std::int32_t>(a.grouped ? a.factors[i] : 0x1.8p23f) + added * a.minus_sums[i];
        std::vector<float> row_scales(a.m);
        for (std::size_t i = 0; i < a.m; ++i) row_scales[i] = codes.row_scales()[i] * w.format.tables->unit;
        a.seeds = seeds.data();
        a.row_scales = row_scales.data();
        const std::size_t panels = qnt::ceil_div(a.n, qnt::panel_rows);
        cut = std::min(cut, panels);
        kernel(w.format)(a, 0, cut, 0, a.m);
        kernel(w.format)(a, cut, panels, 0, a.m);
    }
};

#define QNT_KERNEL(isa_name, ...) qnt::isa::isa_name::int8_gemm<family::__VA_ARGS__>
#define QNT_EMULATED(isa_name)                                                                                                           \
    {                                                                                                                                    \
        #isa_name, qnt::isa::isa_name::ops::bias, QNT_KERNEL(isa_name, nibble_affine, false), QNT_KERNEL(isa_name, nibble_affine, true), \
            QNT_KERNEL(isa_name, nibble_table, false), QNT_KERNEL(isa_name, byte_value, false), QNT_KERNEL(isa_name, byte_table, false)  \
    }
constexpr emulated_isa isas[] = {QNT_EMULATED(emulated_avxvnni), QNT_EMULATED(emulated_avx512vnni), QNT_EMULATED(emulated_amx)};

// All int8 formats.
std::vector<std::string> int8_formats() {
    std::vector<std::string> list{"squares"};
    for (const char* format : test::formats)
        if (!test::parse(format).info.is_dense()) list.push_back(format);
    return list;
}

void check(test::guarded_product& p, std::size_t cut) {
    const auto expected = p.expected();
    for (const emulated_isa& isa : isas) {
        INFO(isa.name << " " << p.text << " cut at " << cut);
        qnt::isa::calls = {};
        REQUIRE(std::ranges::equal(
            p.run([&](const auto& y, const auto& x, const auto& w, const auto& options) { isa.multiply(y, x, w, options, cut); }), expected));
        // The ways that must have been taken: blocks share a broadcast between panels, or are tiles; few rows have one for each product.
        const std::size_t panels = qnt::ceil_div(p.shape.n, qnt::panel_rows), m = p.shape.m;
        const bool is_tiled = isa.name == std::string("emulated_amx") && m >= 16;
        const bool has_three = std::min(cut, panels) >= 3 || panels - std::min(cut, panels) >= 3;
        const std::size_t least_rows = p.w.format.family == family::byte_table ? 4 : 32;
        REQUIRE((qnt::isa::calls.tiles > 0) == is_tiled);
        REQUIRE(qnt::isa::calls.bad_shapes == 0);
        if (!is_tiled && isa.name != std::string("emulated_avxvnni")) {
            if (m < least_rows) REQUIRE(qnt::isa::calls.dots == qnt::isa::calls.broadcasts);
            else if (has_three) REQUIRE(qnt::isa::calls.dots > qnt::isa::calls.broadcasts);
        }
        if (!is_tiled) REQUIRE(qnt::isa::calls.broadcasts > 0);
    }
    REQUIRE(std::ranges::equal(p.run(test::multiply), expected));
}

}  // namespace

TEST_CASE("the kernels of AVX-VNNI, AVX-512 VNNI and AMX with their instructions in plain loops") {
    constexpr std::size_t edges[] = {1, 4, 7, 8, 15, 16, 17, 31, 32, 33, 64, 127, 128, 129, 144, 200, 256, 300};
    std::mt19937 random(2);
    test::guarded_product p({70, 300, 50});
    const auto formats = int8_formats();
    std::size_t shared_rows_in_place = 0;  // of two tiles: added to twice, y is wrong
    for (std::size_t i = 0; i < 600; ++i) {
        const std::size_t n = random() % 70 + 1, k = edges[random() % std::size(edges)], m = i % 50 + 1;
        p.make(random, formats[i / 7 % formats.size()], qnt::int8_activations, {n, k, m});
        check(p, random() % 5);
        shared_rows_in_place += p.in_place && m > 16 && m % 16 != 0;
    }
    CHECK(shared_rows_in_place >= 20);
}

TEST_CASE("emulated kernels over blocks of rows, equal ones and those with one row left") {
    std::mt19937 random(3);
    test::guarded_product p({40, 4200, 320});
    for (const std::string& format : int8_formats())
        for (const test::product_shape& s : {test::product_shape{40, 130, 257}, {40, 96, 320}, {17, 4200, 65}, {17, 4200, 193}}) {
            p.make(random, format, qnt::int8_activations, s);
            check(p, 5);
        }
}
