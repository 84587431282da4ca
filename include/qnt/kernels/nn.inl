// The steps of a transformer between its matrix products. nn/ states the numbers; they do not depend on lanes, tiles or threads.
namespace qnt::isa::inline QNT_BASELINE::QNT_ISA {

// f(part, i, left) for each register of a row of n floats: elements from i on, `left` of them to the end, lanes of partial sums `part`.
template <class F> QNT_INLINE void for_registers(std::size_t n, const F& f) {
    std::size_t i = 0;
    for (; i + 16 <= n; i += 16)
        QNT_EACH (part, ops::parts) f(part, i + std::size_t(part * ops::lanes), 16);
    QNT_EACH (part, ops::parts) {
        const std::size_t at = i + std::size_t(part * ops::lanes);
        if (at < n) f(part, at, n - at);
    }
}

template <int N> QNT_INLINE void clear(ops::f32 (&registers)[N]) {
    QNT_EACH (i, N) registers[i] = ops::set1(0.0f);
}

// n > 0. y may be x.
QNT_NOINLINE inline void layer_norm_row(float* y, const float* x, const float* gamma, const float* beta, std::size_t n, float eps) noexcept {
    const float count = float(n);
    ops::f32 sum[ops::parts];
    clear(sum);
    for_registers(n, [&](int part, std::size_t i, std::size_t left) { sum[part] = ops::add(sum[part], load_up_to(x + i, left)); });
    const ops::f32 mean = ops::set1(tree_sum(sum) / count);
    clear(sum);
    for_registers(n, [&](int part, std::size_t i, std::size_t left) {
        store_up_to(y + i, ops::sub(load_up_to(x + i, left), mean), left);
        const ops::f32 d = load_up_to(y + i, left);  // again: zeros beyond the row
        sum[part] = ops::fma(d, d, sum[part]);
    });
    const ops::f32 factor = ops::div(ops::set1(1.0f), ops::sqrt(ops::set1(tree_sum(sum) / count + eps)));
    for_registers(n, [&](int, std::size_t i, std::size_t left) {
        const ops::f32 normal = ops::mul(load_up_to(y + i, left), factor);
        store_up_to(y + i, ops::fma(normal, load_up_to(gamma + i, left), load_up_to(beta + i, left)), left);
    });
}

QNT_NOINLINE inline void gelu_tanh_row(float* y, const float* x, std::size_t n) noexcept {
    for (std::size_t i = 0; i < n; i += std::size_t(ops::lanes)) store_up_to(y + i, gelu_tanh(load_up_to(x + i, n - i)), n - i);
}

// y[n] = e^(x - max x) for n > 0; returns the sum of y. y may be x.
QNT_INLINE float exp_below_max(float* y, const float* x, std::size_t n) {
    constexpr std::size_t lanes = std::size_t(ops::lanes);
    ops::f32 tops = ops::set1(x[0]);
    std::size_t whole = 0;
    for (; whole + lanes <= n; whole += lanes) tops = ops::max(tops, ops::load(x + whole));
    float t[lanes], top = x[0];
    ops::store(t, tops);
    for (float v : t) top = v > top ? v : top;
    for (; whole < n; ++whole) top = x[whole] > top ? x[whole] : top;

    for (std::size_t i = 0; i < n; i += lanes) store_up_to(y + i, exp(ops::sub(load_up_to(x + i, n - i), ops::set1(top))), n - i);
    ops::f32 sum[ops::parts];
    clear(sum);
    for_registers(n, [&](int part, std::size_t i, std::size_t left) { sum[part] = ops::add(sum[part], load_up_to(y + i, left)); });
    return tree_sum(sum);
}

QNT_NOINLINE inline void softmax_row(float* y, const float* x, std::size_t n) noexcept {
    const ops::f32 sum = ops::set1(exp_below_max(y, x, n));
    for_registers(n, [&](int, std::size_t i, std::size_t left) { store_up_to(y + i, ops::div(load_up_to(y + i, left), sum), left); });
}

// x[n] as a cache of this type stores it; returns the scale of int8. `to` has room for whole registers: zeros beyond n.
QNT_NOINLINE inline float encode_kv_row(kv_type type, void* to, const float* x, std::size_t n) noexcept {
    constexpr std::size_t lanes = std::size_t(ops::lanes);
    if (type == kv_type::f32) {
        std::memcpy(to, x, n * sizeof(float));
        return 1.0f;
    }
    if (type == kv_type::f16) {
        for (std::size_t i = 0; i < n; i += lanes) ops::store_f16(static_cast<std::uint16_t*>(to) + i, load_up_to(x + i, n - i));
        return 1.0f;
    }
    ops::i32 tops = ops::set1_i(0);
    for (std::size_t i = 0; i < n; i += lanes) tops = ops::max_i(tops, ops::and_i(ops::as_i32(load_up_to(x + i, n - i)), ops::set1_i(0x7fffffff)));
    const float top = std::bit_cast<float>(ops::top_i(tops));
    if (!is_finite(top) || top < 0x1p-96f) {
        std::memset(to, 0, n);
        return is_finite(top) ? 0.0f : quiet_nan();
    }
    const ops::f32 factor = ops::set1(127.0f / top);
    for (std::size_t i = 0; i < n; i += lanes)
        ops::store_i8(static_cast<std::int8_t*>(to) + i, ops::round_to_i32(ops::mul(load_up_to(x + i, n - i), factor)));
    return top / 127.0f;
}

// A register of stored numbers from element i on; of int8 the codes.
template <kv_type T> QNT_INLINE ops::f32 load_kv(const std::byte* p, std::size_t i) {
    if constexpr (T == kv_type::f32) return ops::load(reinterpret_cast<const float*>(p) + i);
    else if constexpr (T == kv_type::f16) return ops::load_f16(reinterpret_cast<const std::uint16_t*>(p) + i);
    else return ops::load_i8(reinterpret_cast<const std::uint8_t*>(p) + i);
}

// Registers that a product may keep for its sums.
inline constexpr int sum_registers = 4 * ops::exact_rows;

// t[0] = the tree of t: halves added from N / 2 apart down to 1.
template <int Width, int N, int R> QNT_INLINE void add_halves(ops::f32 (&t)[N][R][ops::parts]) {
    if constexpr (Width > 0) {
        QNT_EACH (i, Width)
            QNT_EACH (r, R)
                QNT_EACH (p, ops::parts) t[i][r][p] = ops::add(t[i][r][p], t[i + Width][r][p]);
        add_halves<Width / 2>(t);
    }
}

// out[r][position] = dot of q[r][d] and 16 keys[d][position] (int8: their codes). Lanes are positions, so that the 16 partial sums are registers and their
// tree needs no shuffle. As many as fit in registers are summed in one pass: pass n has the sums n, n + passes, n + 2 passes, ...
template <kv_type T, int R>
QNT_INLINE void dot_keys(ops::f32 (&out)[R][ops::parts], const float* q, std::size_t q_stride, const std::byte* keys, std::size_t d) {
    constexpr int chains = sum_registers / (R * ops::parts), passes = 16 / chains;
    ops::f32 sums[passes][R][ops::parts];
    for (std::size_t pass = 0; pass < std::size_t(passes); ++pass) {
        ops::f32 acc[chains][R][ops::parts];
        QNT_EACH (c, chains)
            QNT_EACH (r, R) clear(acc[c][r]);
        const auto add_element = [&](int c, std::size_t i) {
            QNT_EACH (p, ops::parts) {
                const ops::f32 key = load_kv<T>(keys, i * 16 + std::size_t(p * ops::lanes));
                QNT_EACH (r, R) acc[c][r][p] = ops::fma(ops::set1(q[std::size_t(r) * q_stride + i]), key, acc[c][r][p]);
            }
        };
        std::size_t i = 0;
        for (; i + 16 <= d; i += 16)
            QNT_EACH (c, chains) add_element(c, i + pass + std::size_t(c * passes));
        if (i < d)
            QNT_EACH (c, chains)
                if (i + pass + std::size_t(c * passes) < d) add_element(c, i + pass + std::size_t(c * passes));
        add_halves<chains / 2>(acc);
        QNT_EACH (r, R)
            QNT_EACH (p, ops::parts) sums[pass][r][p] = acc[0][r][p];
    }
    add_halves<passes / 2>(sums);
    QNT_EACH (r, R)
        QNT_EACH (p, ops::parts) out[r][p] = sums[0][r][p];
}

// scores[r][j] = s_j of R rows of q, for all positions that one of them sees (and to the end of 16).
template <kv_type T, int R>
QNT_NOINLINE void score_keys(const kernels::attention_args& a, float* scores, const float* q, std::size_t head, std::size_t seen) noexcept {
    const std::size_t d = a.kv.head_dim;
    for (std::size_t j = 0; j < seen; j += 16) {
        const std::byte* const block = a.kv.head(head, j);
        const std::size_t in_block = j % kernels::kv_block;
        ops::f32 s[R][ops::parts];
        dot_keys<T>(s, q, a.q_stride, block + in_block * d * size_of(T), d);
        QNT_EACH (p, ops::parts) {
            const std::size_t at = std::size_t(p * ops::lanes);
            if constexpr (T == kv_type::i8) {
                const ops::f32 scale = ops::load(reinterpret_cast<const float*>(block + a.kv.key_scales_at) + in_block + at);
                QNT_EACH (r, R) s[r][p] = ops::mul(s[r][p], scale);
            }
            QNT_EACH (r, R) ops::store(scores + std::size_t(r) * a.scores_stride + j + at, ops::mul(s[r][p], ops::set1(a.scale)));
        }
    }
}

// out[r][d] = sum of the weights[r][j] and values[j] of what row r sees, `seen` + r positions, over sums[r]. Writes into the weights.
template <kv_type T, int R>
QNT_NOINLINE void add_values(const kernels::attention_args& a, float* weights, const float (&sums)[R], float* out, std::size_t head,
                             std::size_t seen) noexcept {
    constexpr std::size_t lanes = std::size_t(ops::lanes);
    const std::size_t d = a.kv.head_dim;
    if constexpr (T == kv_type::i8)
        for (std::size_t j = 0; j < seen + R - 1; j += lanes) {
            const ops::f32 scale = ops::load(reinterpret_cast<const float*>(a.kv.head(head, j) + a.kv.value_scales_at) + j % kernels::kv_block);
            QNT_EACH (r, R) {
                float* const w = weights + std::size_t(r) * a.scores_stride + j;
                ops::store(w, ops::mul(ops::load(w), scale));
            }
        }
    // As many outputs as fit in registers pass over all positions.
    constexpr int most = sum_registers / R < 8 ? sum_registers / R : 8;
    for_row_tiles<most>(0, (d + lanes - 1) / lanes, [&](auto width, std::size_t first) {
        constexpr int registers = width();
        ops::f32 acc[R][registers];
        QNT_EACH (r, R) clear(acc[r]);
        const auto value = [&](std::size_t j) {
            return a.kv.head(head, j) + a.kv.values_at + (j % kernels::kv_block * a.kv.value_row + first * lanes) * size_of(T);
        };
        const auto add_value = [&](int r, std::size_t j, const std::byte* v) {
            const ops::f32 weight = ops::set1(weights[std::size_t(r) * a.scores_stride + j]);
            QNT_EACH (i, registers) acc[r][i] = ops::fma(weight, load_kv<T>(v, std::size_t(i) * lanes), acc[r][i]);
        };
        for (std::size_t j = 0; j < seen;) {
            const std::size_t block_end = (j / kernels::kv_block + 1) * kernels::kv_block, end = block_end < seen ? block_end : seen;
            for (const std::byte* v = value(j); j < end; ++j, v += a.kv.value_row * size_of(T))
                QNT_EACH (r, R) add_value(r, j, v);
        }
        QNT_EACH (r, R) {
            for (std::size_t j = seen; j < seen + std::size_t(r); ++j) add_value(r, j, value(j));
            QNT_EACH (i, registers) {
                const std::size_t at = (first + std::size_t(i)) * lanes;
                store_up_to(out + std::size_t(r) * a.out_stride + at, ops::div(acc[r][i], ops::set1(sums[r])), d - at);
            }
        }
    });
}

// R rows of q from `token` on, in one head. They share loads of keys and values; each row's arithmetic is what it is alone.
template <int R> QNT_INLINE void attend(const kernels::attention_args& a, float* scores, std::size_t head, std::size_t token) {
    const std::size_t seen = a.first_position + token + 1;  // by the first row; row r sees r more
    const float* const q = a.q + token * a.q_stride + head * a.kv.head_dim;
    float* const out = a.out + token * a.out_stride + head * a.kv.head_dim;
    if (a.kv.key_type == kv_type::f32) score_keys<kv_type::f32, R>(a, scores, q, head, seen + R - 1);
    else if (a.kv.key_type == kv_type::f16) score_keys<kv_type::f16, R>(a, scores, q, head, seen + R - 1);
    else score_keys<kv_type::i8, R>(a, scores, q, head, seen + R - 1);
    float sums[R];
    for (std::size_t r = 0; r < R; ++r) sums[r] = exp_below_max(scores + r * a.scores_stride, scores + r * a.scores_stride, seen + r);
    if (a.kv.value_type == kv_type::f32) add_values<kv_type::f32>(a, scores, sums, out, head, seen);
    else if (a.kv.value_type == kv_type::f16) add_values<kv_type::f16>(a, scores, sums, out, head, seen);
    else add_values<kv_type::i8>(a, scores, sums, out, head, seen);
}

// Items [begin, end), head by head attention_rows tokens each. scores: attention_rows * a.scores_stride floats.
QNT_NOINLINE inline void attention(const kernels::attention_args& a, float* scores, std::size_t begin, std::size_t end) noexcept {
    static_assert(ops::exact_rows <= int(kernels::attention_rows));
    const std::size_t items_per_head = ceil_div(a.tokens, kernels::attention_rows);
    for (std::size_t item = begin; item < end; ++item) {
        const std::size_t head = item / items_per_head, from = item % items_per_head * kernels::attention_rows;
        const std::size_t left = a.tokens - from, to = from + (left < kernels::attention_rows ? left : kernels::attention_rows);
        for_row_tiles<ops::exact_rows>(from, to, [&](auto rows, std::size_t token) { attend<rows()>(a, scores, head, token); });
    }
}

}  // namespace qnt::isa::inline QNT_BASELINE::QNT_ISA
