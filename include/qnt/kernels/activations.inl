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

// x[cols] -> codes[cols] (zeros up to `stride`), factors and minus_sums per segment, `step` apart, and the row's scale.
QNT_NOINLINE inline void quantize_activation_row(const float* x, const segmentation& cut, std::int8_t* codes, std::size_t stride, float* factors,
                                                 std::int32_t* minus_sums, std::size_t step, float* row_scale) noexcept {
    constexpr std::size_t lanes = std::size_t(ops::lanes);
    const std::size_t segments = cut.count();
    const ops::i32 no_sign = ops::set1_i(0x7fffffff);
    // Magnitudes compare as integers; those of NaN and infinity come out on top.
    std::int32_t row_top = 0;
    for (std::size_t s = 0; s < segments; ++s) {
        const float* from = x + cut.begin(s);
        const std::size_t length = cut.length(s);
        ops::i32 top = ops::set1_i(0);
        for (std::size_t i = 0; i < length; i += lanes) top = ops::max_i(top, ops::and_i(ops::as_i32(load_up_to(from + i, length - i)), no_sign));
        minus_sums[s * step] = ops::top_i(top);  // kept here until the codes are made
        row_top = minus_sums[s * step] > row_top ? minus_sums[s * step] : row_top;
    }
    const bool grouped = cut.is_grouped();
    const activation_scale row(row_top);
    *row_scale = grouped ? row.scale : 1.0f;
    for (std::size_t s = 0; s < segments; ++s) {
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
        const float* from = x + cut.begin(s);
        std::int8_t* to = codes + cut.begin(s);
        const std::size_t length = cut.length(s);
        if (factor == 0) {
            std::memset(to, 0, length);
            minus_sums[s * step] = 0;
            continue;
        }
        ops::i32 sum = ops::set1_i(0);
        for (std::size_t i = 0; i < length; i += lanes) {
            const ops::i32 q = ops::round_to_i32(ops::mul(load_up_to(from + i, length - i), ops::set1(factor)));
            ops::store_i8(to + i, q);
            sum = ops::add_i(sum, q);
        }
        minus_sums[s * step] = -ops::sum_i(sum);
    }
    std::memset(codes + cut.cols, 0, stride - cut.cols);
}

}  // namespace qnt::isa::inline QNT_BASELINE::QNT_ISA
