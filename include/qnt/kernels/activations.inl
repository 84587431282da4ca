// One row of activations: see activations.hpp for the numbers.
namespace qnt::isa::inline QNT_BASELINE::QNT_ISA {

// The code factor 127 / absmax and the scale absmax / 127 of magnitudes whose largest has these bits; zeros and not-finite ones have
// the factor 0 and the scale 0 or NaN.
struct activation_scale {
    float factor = 0, scale = 0;
    explicit activation_scale(std::int32_t top_bits) {
        const float absmax = std::bit_cast<float>(top_bits);
        if (top_bits >= 0x7f800000) scale = quiet_nan();
        else if (top_bits >= (127 - 96) << 23) {
            factor = 127.0f / absmax;
            scale = absmax / 127.0f;
        }
    }
};

// The segments of a row in ascending order: visit(segment, first column, columns). Without a division, which costs as much as a segment.
template <class Visit> QNT_INLINE void for_row_segments(const segmentation& cut, const Visit& visit) {
    const std::size_t group = cut.group_size();
    std::size_t s = 0;
    for (std::size_t first = 0; first < cut.cols; first += group) {
        const std::size_t end = cut.cols - first < group ? cut.cols : first + group;
        for (std::size_t at = first; at < end; at += segment_columns) visit(s++, at, end - at < segment_columns ? end - at : segment_columns);
    }
}
// What visit(register of x, column) gets of `columns` columns from x on, zeros behind the last.
template <class Visit> QNT_INLINE void for_registers(const float* x, std::size_t columns, const Visit& visit) {
    constexpr std::size_t lanes = std::size_t(ops::lanes);
    std::size_t i = 0;
    for (; i + lanes <= columns; i += lanes) visit(ops::load(x + i), i);
    if (i < columns) visit(ops::load_n(x + i, columns - i), i);
}

// x[cols] -> codes[cols] (zeros up to `stride`), factors and minus_sums per segment, `step` apart, and the row's scale.
QNT_NOINLINE inline void quantize_activation_row(const float* x, const segmentation& cut, std::int8_t* codes, std::size_t stride, float* factors,
                                                 std::int32_t* minus_sums, std::size_t step, float* row_scale) noexcept {
    const ops::i32 no_sign = ops::set1_i(0x7fffffff);
    // Magnitudes compare as integers; those of NaN and infinity come out on top.
    std::int32_t row_top = 0;
    for_row_segments(cut, [&](std::size_t s, std::size_t first, std::size_t columns) QNT_INLINE_LAMBDA {
        ops::i32 top = ops::set1_i(0);
        for_registers(x + first, columns,
                      [&](ops::f32 v, std::size_t) QNT_INLINE_LAMBDA { top = ops::max_i(top, ops::and_i(ops::as_i32(v), no_sign)); });
        const std::int32_t segment_top = ops::top_i(top);
        minus_sums[s * step] = segment_top;  // kept here until the codes are made
        row_top = segment_top > row_top ? segment_top : row_top;
    });
    const bool grouped = cut.is_grouped();
    const activation_scale row(row_top);
    *row_scale = grouped ? row.scale : 1.0f;
    for_row_segments(cut, [&](std::size_t s, std::size_t first, std::size_t columns) QNT_INLINE_LAMBDA {
        const std::int32_t top = minus_sums[s * step];
        float factor;
        if (grouped) {
            // the largest e with top * 2^e <= row_top: the difference of the exponents, one less where the mantissa is larger
            int e = (row_top >> 23) - (top >> 23) - ((top & 0x7fffff) > (row_top & 0x7fffff) ? 1 : 0);
            e = row.factor == 0 ? 0 : e > 24 ? 24 : e;
            factor = row.factor * std::bit_cast<float>((127 + e) << 23);
            factors[s * step] = std::bit_cast<float>(0x4b400000 - (e << 23));
        } else {
            const activation_scale own(top);
            factor = own.factor;
            factors[s * step] = own.scale;
        }
        std::int8_t* const to = codes + first;
        if (factor == 0) {
            std::memset(to, 0, columns);
            minus_sums[s * step] = 0;
            return;
        }
        ops::i32 sum = ops::set1_i(0);
        for_registers(x + first, columns, [&](ops::f32 v, std::size_t i) QNT_INLINE_LAMBDA {
            const ops::i32 q = ops::round_to_i32(ops::mul(v, ops::set1(factor)));
            ops::store_i8(to + i, q);
            sum = ops::add_i(sum, q);
        });
        minus_sums[s * step] = -ops::sum_i(sum);
    });
    std::memset(codes + cut.cols, 0, stride - cut.cols);
}

}  // namespace qnt::isa::inline QNT_BASELINE::QNT_ISA
