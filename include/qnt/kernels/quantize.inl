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

// Sums in f64 over i of w^2, (w - v)^2, w v and v^2, and the largest |w - v|. 16 partial sums (element i goes to sum i mod 16), added
// as tree_sum() does. A product of two floats is exact in f64, so that no fused operation changes a sum.
struct error_totals {
    ops::f64 ww[ops::parts], ee[ops::parts], wv[ops::parts], vv[ops::parts];
    ops::f32 most = ops::set1(0.0f);

    QNT_INLINE error_totals() {
        QNT_EACH (p, ops::parts) ww[p] = ee[p] = wv[p] = vv[p] = ops::zero_d();
    }
    // n elements that belong to register `part` of 16 elements. From memory: to widen the halves of a register takes more instructions.
    QNT_INLINE void add(int part, const float* w, const float* v, std::size_t n) {
        float last_w[ops::lanes], last_v[ops::lanes];
        if (n < std::size_t(ops::lanes)) {
            ops::store(last_w, ops::load_n(w, n));
            ops::store(last_v, ops::load_n(v, n));
            w = last_w;
            v = last_v;
        }
        const ops::f64 a = ops::load_d(w), b = ops::load_d(v);
        ww[part] = ops::add_products(ww[part], a, a);
        ee[part] = ops::add_squared_difference(ee[part], a, b);
        wv[part] = ops::add_products(wv[part], a, b);
        vv[part] = ops::add_products(vv[part], b, b);
        most = ops::max(ops::as_f32(ops::and_i(ops::as_i32(ops::sub(ops::load(w), ops::load(v))), ops::set1_i(0x7fffffff))), most);
    }
    QNT_INLINE kernels::error_sums sums() const {
        return {sum_of(ww), sum_of(ee), sum_of(wv), sum_of(vv), std::bit_cast<float>(ops::top_i(ops::as_i32(most)))};
    }

private:
    static QNT_INLINE double sum_of(const ops::f64 (&partial)[ops::parts]) {
        double t[16];
        QNT_EACH (p, ops::parts) ops::store_d(t + p * ops::lanes, partial[p]);
        return tree_sum(t);
    }
};

// codes[cols] of x / scale, and how many weights lie beyond the ends by more than half a step. May write 16 codes beyond the end. With
// `Errors` also decoded[cols], what decode_row() makes of the codes, and the sums of x against it.
template <bool Integers, bool Errors>
QNT_NOINLINE std::size_t encode_row(const kernels::encode_args& a, const float* x, std::uint8_t* codes, float* decoded,
                                    kernels::error_sums* errors) noexcept {
    constexpr std::size_t lanes = std::size_t(ops::lanes);
    constexpr float infinity = std::numeric_limits<float>::infinity();
    ops::i32 clipped = ops::set1_i(0);
    error_totals totals;
    [[maybe_unused]] ops::float_table middles, values;
    if constexpr (!Integers) {
        middles = ops::make_float_table(a.middles);
        values = ops::make_float_table(a.values);
    }
    for (std::size_t begin = 0, g = 0; begin < a.cols; begin += a.group, ++g) {
        const std::size_t n = a.cols - begin < a.group ? a.cols - begin : a.group;
        const float scale = a.scales[g], zero = a.zeros ? float(a.zeros[g]) : 0.0f;
        // of a group whose scale underflowed nothing is kept, and nothing counts as clipped
        const ops::f32 by = ops::set1(scale == 0 ? infinity : scale), back = ops::set1(scale), low = ops::set1(a.low - zero),
                       high = ops::set1(a.high - zero), too_low = ops::set1(a.low - zero - 0.5f), too_high = ops::set1(a.high - zero + 0.5f);
        const ops::i32 offset = ops::set1_i(a.offset + int(zero));
        for (std::size_t i = 0; i < n; i += 16)
            QNT_EACH (p, ops::parts) {
                const std::size_t at = i + std::size_t(p) * lanes;
                if (at >= n) continue;                             // clang does not unroll a loop at -O1 that it may leave
                prefetch(x + begin + at, a.cols * sizeof(float));  // where the next row lies, as a rule: its range is asked for next
                const ops::f32 w = load_up_to(x + begin + at, n - at), v = ops::div(w, by);
                clipped = ops::count_greater(ops::count_greater(clipped, too_low, v), v, too_high);
                ops::i32 q;
                ops::f32 value;
                if constexpr (Integers) {
                    const ops::i32 level = ops::round_to_i32(ops::max(ops::min(v, high), low));
                    q = ops::add_i(level, offset);
                    if constexpr (Errors) value = ops::to_f32(level);
                } else {
                    ops::i32 node = ops::count_greater(ops::set1_i(2), v, ops::set1(a.middles[1]));
                    for (int depth = 1; depth < 4; ++depth) node = ops::count_greater(ops::add_i(node, node), v, ops::lookup(middles, node));
                    q = ops::add_i(node, ops::set1_i(-16));
                    if constexpr (Errors) value = ops::lookup(values, q);
                }
                ops::store_i8(reinterpret_cast<std::int8_t*>(codes + begin + at), q);
                if constexpr (Errors) {
                    value = ops::mul(value, back);
                    store_up_to(decoded + begin + at, value, n - at);
                    totals.add(p, x + begin + at, decoded + begin + at, n - at);
                }
            }
    }
    if constexpr (Errors) *errors = totals.sums();
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

// What was lost in a row of v[n] for w[n].
QNT_NOINLINE inline kernels::error_sums sum_errors(const float* w, const float* v, std::size_t n) noexcept {
    constexpr std::size_t lanes = std::size_t(ops::lanes);
    error_totals totals;
    for (std::size_t i = 0; i < n; i += 16)
        QNT_EACH (p, ops::parts) {
            const std::size_t at = i + std::size_t(p) * lanes;
            if (at >= n) continue;
            totals.add(p, w + at, v + at, n - at);
        }
    return totals.sums();
}

}  // namespace qnt::isa::inline QNT_BASELINE::QNT_ISA
