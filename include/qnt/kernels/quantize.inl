// Rows of weights to codes and back: what quantize(), dequantize() and their reports do to every weight. Values are those of
// Code::encode() and Code::decode() to the bit. A row has groups of `group` columns, the last one may be shorter.
namespace qnt::isa::inline QNT_BASELINE::QNT_ISA {

// The largest magnitude of each group, as bits (from 0x7f800000 on something is not finite), and with `Ends` its range, widened to 0.
template <bool Ends> QNT_NOINLINE void group_ranges(const float* x, std::size_t cols, std::size_t group, kernels::group_range* out) noexcept {
    constexpr std::size_t lanes = std::size_t(ops::lanes);
    const ops::i32 no_sign = ops::set1_i(0x7fffffff);
    for (std::size_t begin = 0; begin < cols; begin += group, ++out) {
        const std::size_t n = cols - begin < group ? cols - begin : group;
        const float* const from = x + begin;
        ops::i32 top = ops::set1_i(0);
        ops::f32 low = ops::set1(0.0f), high = low;
        for (std::size_t i = 0; i < n; i += lanes) {
            const ops::f32 v = load_up_to(from + i, n - i);
            top = ops::max_i(top, ops::and_i(ops::as_i32(v), no_sign));
            if constexpr (Ends) {
                low = ops::min(v, low);
                high = ops::max(v, high);
            }
        }
        out->top = std::uint32_t(ops::top_i(top));
        if constexpr (Ends) {
            float lows[lanes], highs[lanes];
            ops::store(lows, low);
            ops::store(highs, high);
            for (std::size_t i = 1; i < lanes; ++i) {
                lows[0] = lows[i] < lows[0] ? lows[i] : lows[0];
                highs[0] = highs[i] > highs[0] ? highs[i] : highs[0];
            }
            out->low = lows[0];
            out->high = highs[0];
        }
    }
}

// codes[cols] of x / scale, and how many weights lie beyond the ends by more than half a step. May write 16 codes beyond the end.
template <bool Integers> QNT_NOINLINE std::size_t encode_row(const kernels::encode_args& a, const float* x, std::uint8_t* codes) noexcept {
    constexpr std::size_t lanes = std::size_t(ops::lanes);
    ops::i32 clipped = ops::set1_i(0);
    for (std::size_t begin = 0, g = 0; begin < a.cols; begin += a.group, ++g) {
        const std::size_t n = a.cols - begin < a.group ? a.cols - begin : a.group;
        const float scale = a.scales[g], zero = a.zeros ? float(a.zeros[g]) : 0.0f;
        // of a group whose scale underflowed nothing is kept, and nothing counts as clipped
        const ops::f32 by = ops::set1(scale == 0 ? std::numeric_limits<float>::infinity() : scale), low = ops::set1(a.low - zero),
                       high = ops::set1(a.high - zero), too_low = ops::set1(a.low - zero - 0.5f), too_high = ops::set1(a.high - zero + 0.5f);
        const ops::i32 offset = ops::set1_i(a.offset + int(zero));
        for (std::size_t i = 0; i < n; i += lanes) {
            prefetch(x + begin + i, a.cols * sizeof(float));  // where the next row lies, as a rule: its range is asked for next
            const ops::f32 v = ops::div(load_up_to(x + begin + i, n - i), by);
            clipped = ops::count_greater(ops::count_greater(clipped, too_low, v), v, too_high);
            ops::i32 q;
            if constexpr (Integers) {
                q = ops::add_i(ops::round_to_i32(ops::max(ops::min(v, high), low)), offset);
            } else {
                q = ops::set1_i(0);
                const auto count = [&](int t) { q = ops::count_greater(q, v, ops::set1(a.threshold[t])); };
                if (a.thresholds == 15) {
                    QNT_EACH (t, 15) count(t);
                } else {
                    for (int t = 0; t < a.thresholds; ++t) count(t);
                }
            }
            ops::store_i8(reinterpret_cast<std::int8_t*>(codes + begin + i), q);
        }
    }
    return std::size_t(ops::sum_i(clipped));
}

// out[cols] = (value(code) - zero) * scale, rounded once.
template <kernels::code_values Kind> QNT_NOINLINE void decode_row(const kernels::decode_args& a, const std::uint8_t* codes, float* out) noexcept {
    constexpr std::size_t lanes = std::size_t(ops::lanes);
    const auto table = ops::make_float_table(a.values);
    for (std::size_t begin = 0, g = 0; begin < a.cols; begin += a.group, ++g) {
        const std::size_t n = a.cols - begin < a.group ? a.cols - begin : a.group;
        const ops::f32 zero = ops::set1(a.zeros ? float(a.zeros[g]) : 0.0f), scale = ops::set1(a.scales[g]);
        for (std::size_t i = 0; i < n; i += lanes) {
            const std::uint8_t* from = codes + begin + i;
            std::uint8_t last[16] = {};
            if (n - i < lanes) from = static_cast<const std::uint8_t*>(std::memcpy(last, from, n - i));
            ops::f32 v;
            if constexpr (Kind == kernels::code_values::signed_bytes) v = ops::load_i8(from);
            else if constexpr (Kind == kernels::code_values::sixteen) v = ops::lookup(table, ops::load_u8(from));
            else {
                float looked_up[lanes];
                for (std::size_t j = 0; j < lanes; ++j) looked_up[j] = a.values[from[j]];
                v = ops::load(looked_up);
            }
            store_up_to(out + begin + i, ops::mul(ops::sub(v, zero), scale), n - i);
        }
    }
}

// Numbers to f16 or bf16, and back.
QNT_NOINLINE inline void narrow_row(const float* x, std::size_t n, scalar_type type, std::uint16_t* out) noexcept {
    constexpr std::size_t lanes = std::size_t(ops::lanes);
    for (std::size_t i = 0; i < n; i += lanes) {
        const ops::f32 v = load_up_to(x + i, n - i);
        std::uint16_t last[lanes];
        store_half(n - i < lanes ? last : out + i, v, type);
        if (n - i < lanes) std::memcpy(out + i, last, (n - i) * sizeof last[0]);
    }
}
QNT_NOINLINE inline void widen_row(const std::uint16_t* x, std::size_t n, scalar_type type, float* out) noexcept {
    constexpr std::size_t lanes = std::size_t(ops::lanes);
    for (std::size_t i = 0; i < n; i += lanes) {
        std::uint16_t last[lanes] = {};
        const std::uint16_t* const from =
            n - i < lanes ? static_cast<const std::uint16_t*>(std::memcpy(last, x + i, (n - i) * sizeof last[0])) : x + i;
        store_up_to(out + i, load_half(from, type), n - i);
    }
}

// Sums in f64 over i of w^2, (w - v)^2, w v and v^2, and the largest |w - v|. 16 partial sums (element i goes to sum i mod 16), added
// as tree_sum() does. A product of two floats is exact in f64, so that no fused operation changes a sum.
QNT_NOINLINE inline float error_sums(const float* w, const float* v, std::size_t n, double (&sums)[4]) noexcept {
    constexpr std::size_t lanes = std::size_t(ops::lanes);
    ops::f64 total[4][ops::parts];
    ops::f32 most = ops::set1(0.0f);
    QNT_EACH (s, 4)
        QNT_EACH (p, ops::parts) total[s][p] = ops::zero_d();
    for (std::size_t i = 0; i < n; i += 16)
        QNT_EACH (p, ops::parts) {
            const std::size_t at = i + std::size_t(p) * lanes;
            if (at >= n) break;
            const ops::f32 a = load_up_to(w + at, n - at), b = load_up_to(v + at, n - at), d = ops::sub(a, b);
            total[0][p] = ops::add_products(total[0][p], a, a);
            total[1][p] = ops::add_squared_difference(total[1][p], a, b);
            total[2][p] = ops::add_products(total[2][p], a, b);
            total[3][p] = ops::add_products(total[3][p], b, b);
            most = ops::max(ops::as_f32(ops::and_i(ops::as_i32(d), ops::set1_i(0x7fffffff))), most);
        }
    QNT_EACH (s, 4) {  // unrolled: sums that are indexed at run time live in memory
        double t[16];
        QNT_EACH (p, ops::parts) ops::store_d(t + p * ops::lanes, total[s][p]);
        sums[s] = tree_sum(t);
    }
    return std::bit_cast<float>(ops::top_i(ops::as_i32(most)));
}

}  // namespace qnt::isa::inline QNT_BASELINE::QNT_ISA
