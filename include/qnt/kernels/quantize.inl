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

// What was lost in v[n] for w[n], added to `sums`. A product of two floats is exact in f64, so that no fused operation changes a sum.
QNT_NOINLINE inline void add_errors(kernels::error_parts& sums, const float* w, const float* v, std::size_t n) noexcept {
    ops::f64 ww[ops::parts], ee[ops::parts], wv[ops::parts], vv[ops::parts];
    ops::f32 most[ops::parts];
    QNT_EACH (p, ops::parts) {
        const int at = p * ops::lanes;
        ww[p] = ops::load_d(sums.ww + at);
        ee[p] = ops::load_d(sums.ee + at);
        wv[p] = ops::load_d(sums.wv + at);
        vv[p] = ops::load_d(sums.vv + at);
        most[p] = ops::load(sums.most + at);
    }
    const auto add = [&](const float* w16, const float* v16) QNT_INLINE_LAMBDA {
        QNT_EACH (p, ops::parts) {
            const int at = p * ops::lanes;
            // widened from memory: the halves of a register take more instructions
            const ops::f64 a = ops::load_d(w16 + at), b = ops::load_d(v16 + at);
            ww[p] = ops::add_products(ww[p], a, a);
            ee[p] = ops::add_squared_difference(ee[p], a, b);
            wv[p] = ops::add_products(wv[p], a, b);
            vv[p] = ops::add_products(vv[p], b, b);
            most[p] =
                ops::max(ops::as_f32(ops::and_i(ops::as_i32(ops::sub(ops::load(w16 + at), ops::load(v16 + at))), ops::set1_i(0x7fffffff))), most[p]);
        }
    };
    for (; n >= 16; n -= 16, w += 16, v += 16) add(w, v);
    if (n > 0) {
        float last_w[16] = {}, last_v[16] = {};
        std::memcpy(last_w, w, n * sizeof last_w[0]);
        std::memcpy(last_v, v, n * sizeof last_v[0]);
        add(last_w, last_v);
    }
    QNT_EACH (p, ops::parts) {
        const int at = p * ops::lanes;
        ops::store_d(sums.ww + at, ww[p]);
        ops::store_d(sums.ee + at, ee[p]);
        ops::store_d(sums.wv + at, wv[p]);
        ops::store_d(sums.vv + at, vv[p]);
        ops::store(sums.most + at, most[p]);
    }
}

// codes[cols] of x / scale, and how many weights lie beyond the ends by more than half a step. May write 16 codes beyond the end. With
// `Decodes` also decoded[cols], what decode_row() makes of the codes.
template <bool Integers, bool Decodes>
QNT_NOINLINE std::size_t encode_row(const kernels::encode_args& a, const float* x, std::uint8_t* codes, float* decoded) noexcept {
    constexpr std::size_t lanes = std::size_t(ops::lanes);
    constexpr int together = 2 * ops::parts;  // quotients: what waits for one of them should not keep the next from starting
    constexpr std::size_t step = std::size_t(together) * lanes;
    constexpr float infinity = std::numeric_limits<float>::infinity();
    const std::size_t next_row = a.next_row * sizeof(float);  // its range is asked for next
    ops::i32 clipped = ops::set1_i(0);
    [[maybe_unused]] ops::float_table middles, values;
    if constexpr (!Integers) {
        middles = ops::make_float_table(a.middles);
        values = ops::make_float_table(a.values);
    }
    for (std::size_t left = a.cols, g = 0; left > 0; ++g) {
        std::size_t n = left < a.group ? left : a.group;
        left -= n;
        const float scale = a.scales[g], zero = a.zeros ? float(a.zeros[g]) : 0.0f;
        // of a group whose scale underflowed nothing is kept, and nothing counts as clipped
        const ops::f32 by = ops::set1(scale == 0 ? infinity : scale), back = ops::set1(scale), low = ops::set1(a.low - zero),
                       high = ops::set1(a.high - zero), too_low = ops::set1(a.low - zero - 0.5f), too_high = ops::set1(a.high - zero + 0.5f);
        const ops::i32 offset = ops::set1_i(a.offset + int(zero));
        // The code of v; v becomes what it stands for.
        const auto encode = [&](ops::f32& v) QNT_INLINE_LAMBDA {
            clipped = ops::count_greater(ops::count_greater(clipped, too_low, v), v, too_high);
            if constexpr (Integers) {
                const ops::i32 level = ops::round_to_i32(ops::max(ops::min(v, high), low));
                if constexpr (Decodes) v = ops::mul(ops::to_f32(level), back);
                return ops::add_i(level, offset);
            } else {
                ops::i32 node = ops::count_greater(ops::set1_i(2), v, ops::set1(a.middles[1]));
                for (int depth = 1; depth < 4; ++depth) node = ops::count_greater(ops::add_i(node, node), v, ops::lookup(middles, node));
                const ops::i32 q = ops::add_i(node, ops::set1_i(-16));
                if constexpr (Decodes) v = ops::mul(ops::lookup(values, q), back);
                return q;
            }
        };
        for (; n >= step; n -= step, x += step, codes += step, decoded += Decodes ? step : 0) {
            ops::f32 v[together];
            QNT_EACH (r, together) {
                prefetch(x + r * ops::lanes, next_row);
                v[r] = ops::div(ops::load(x + r * ops::lanes), by);
            }
            QNT_EACH (r, together) {
                ops::store_i8(reinterpret_cast<std::int8_t*>(codes + r * ops::lanes), encode(v[r]));
                if constexpr (Decodes) ops::store(decoded + r * ops::lanes, v[r]);
            }
        }
        for (std::size_t some = 0; n > 0; n -= some, x += some, codes += some, decoded += Decodes ? some : 0) {
            some = n < lanes ? n : lanes;
            ops::f32 v = ops::div(load_up_to(x, some), by);
            ops::store_i8(reinterpret_cast<std::int8_t*>(codes), encode(v));
            if constexpr (Decodes) store_up_to(decoded, v, some);
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

}  // namespace qnt::isa::inline QNT_BASELINE::QNT_ISA
