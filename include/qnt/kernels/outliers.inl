// What the outlier columns add to the product of the codes, and the epilogue behind it: see packed/outliers.hpp.
namespace qnt::isa::inline QNT_BASELINE::QNT_ISA {

template <int R> QNT_INLINE void outlier_tile(const kernels::outlier_args& a, std::size_t panel, std::size_t row) {
    ops::f32 acc[R][ops::parts];
    QNT_EACH (r, R)
        QNT_EACH (part, ops::parts) {
            const std::size_t column = panel * panel_rows + std::size_t(part * ops::lanes);
            const float* const from = a.product + (row + std::size_t(r)) * a.out.n + column;
            acc[r][part] = column < a.out.n ? load_up_to(from, a.out.n - column) : ops::set1(0.0f);
        }
    const std::uint8_t* values = a.values + panel * a.count * panel_rows * sizeof(f16);
    const float* const x = a.x + row * a.count;
    for (std::size_t i = 0; i < a.count; ++i, values += panel_rows * sizeof(f16)) {
        ops::f32 v[ops::parts];
        load_scales(values, scalar_type::f16, v);
        QNT_EACH (r, R) {
            const ops::f32 xr = ops::set1(x[std::size_t(r) * a.count + i]);
            QNT_EACH (part, ops::parts) acc[r][part] = ops::fma(xr, v[part], acc[r][part]);
        }
    }
    QNT_EACH (r, R) finish_row(a.out, panel, row + std::size_t(r), acc[r]);
}

QNT_NOINLINE inline void add_outliers(const kernels::outlier_args& a, std::size_t panel_begin, std::size_t panel_end, std::size_t rows) noexcept {
    for (std::size_t panel = panel_begin; panel < panel_end; ++panel)
        for_row_tiles<4>(0, rows, [&](auto r, std::size_t row) QNT_INLINE_LAMBDA { outlier_tile<r()>(a, panel, row); });
}

}  // namespace qnt::isa::inline QNT_BASELINE::QNT_ISA
