// y[M, N] = x[M, K] * w[N, K]^T with int8 activations and integer dot products.
//
// Normative, per output: for the segments s of K in ascending order (activations.hpp), with d = the exact int32 dot product of the
// operands less zero point times sum of codes,
//     grouped weights:         acc = fma(f32(d) * 2^-e[s], scale of the weight group, acc), from +0;   y = acc * (row_scale * unit)
//     one scale for all of K:  acc = fma(f32(d), scale[s], acc), from +0;                              y = (acc * weight scale) * unit
// with the unit of the operands (code/code.hpp). Nothing depends on lanes, tiles, threads or M, since d is exact.
//
// A tile is one panel (16 outputs) by R rows of x with all accumulators in registers; x is read as 4-byte broadcasts.
namespace qnt::isa::inline QNT_BASELINE::QNT_ISA {

// The int32 accumulators of one segment of one tile.
template <int R, operand_family Family> struct segment_sums {
    // Independent chains, so that few rows do not wait for the latency of the dot product.
    static constexpr int chains = R == 1 ? 4 : R == 2 ? 2 : 1;
    ops::i32 sum[chains][R][ops::parts];

    QNT_INLINE ops::i32& start(int r, int part) {
        QNT_UNROLL
        for (int c = 1; c < chains; ++c) sum[c][r][part] = ops::set1_i(0);
        return sum[0][r][part];
    }
    QNT_INLINE ops::i32 total(int r, int part) const {
        ops::i32 t = sum[0][r][part];
        QNT_UNROLL
        for (int c = 1; c < chains; ++c) t = ops::add_i(t, sum[c][r][part]);
        return t;
    }
    // One line at `w` against columns k.. of R rows at x.
    template <class Book>
    QNT_INLINE void add_line(int line, const std::uint8_t* w, const std::int8_t* x, std::size_t stride, const Book& book, const code_tables& tables) {
        auto& acc = sum[line % chains];
        if constexpr (Family == operand_family::byte_table) {
            alignas(64) std::uint8_t operands[64];
            for (int i = 0; i < 64; ++i) operands[i] = std::uint8_t(tables.operands[w[i]]);
            QNT_EACH (part, ops::parts) {
                const auto prepared = ops::prepare(ops::load_bytes(operands + part * 4 * ops::lanes));
                QNT_EACH (r, R) acc[r][part] = ops::dot(acc[r][part], prepared, ops::broadcast4(x + std::size_t(r) * stride));
            }
        } else {
            QNT_EACH (part, ops::parts) {
                const ops::bytes raw = ops::load_bytes(w + part * 4 * ops::lanes);
                if constexpr (Family == operand_family::byte_value) {
                    const auto prepared = ops::prepare(raw);
                    QNT_EACH (r, R) acc[r][part] = ops::dot(acc[r][part], prepared, ops::broadcast4(x + std::size_t(r) * stride));
                } else {
                    const auto low = ops::lookup_low(book, raw);
                    QNT_EACH (r, R) acc[r][part] = ops::dot(acc[r][part], low, ops::broadcast4(x + std::size_t(r) * stride));
                    const auto high = ops::lookup_high(book, raw);
                    QNT_EACH (r, R) acc[r][part] = ops::dot(acc[r][part], high, ops::broadcast4(x + std::size_t(r) * stride + 4));
                }
            }
        }
    }
    QNT_INLINE void fold() {}
};

template <int R> struct segment_sums<R, operand_family::nibble_affine> {
    static constexpr int chains = R == 1 ? 2 : 1;
    ops::nibble_acc sum[chains][R][ops::parts];

    QNT_INLINE void start(int r, int part, ops::i32 seed) {
        sum[0][r][part].start(seed);
        QNT_UNROLL
        for (int c = 1; c < chains; ++c) sum[c][r][part].start(ops::set1_i(0));
    }
    QNT_INLINE ops::i32 total(int r, int part) const {
        ops::i32 t = sum[0][r][part].total();
        QNT_UNROLL
        for (int c = 1; c < chains; ++c) t = ops::add_i(t, sum[c][r][part].total());
        return t;
    }
    template <class Book>
    QNT_INLINE void add_line(int line, const std::uint8_t* w, const std::int8_t* x, std::size_t stride, const Book&, const code_tables&) {
        QNT_EACH (part, ops::parts) {
            const ops::bytes raw = ops::load_bytes(w + part * 4 * ops::lanes);
            QNT_EACH (r, R)
                sum[line % chains][r][part].add(raw, ops::broadcast4(x + std::size_t(r) * stride), ops::broadcast4(x + std::size_t(r) * stride + 4));
        }
    }
    QNT_INLINE void fold() {
        QNT_EACH (c, chains)
            QNT_EACH (r, R)
                QNT_EACH (part, ops::parts) sum[c][r][part].fold();
    }
};

template <int R, operand_family Family, bool Zero> QNT_INLINE void int8_tile(const kernels::gemm_args& a, std::size_t panel, std::size_t row) {
    constexpr std::size_t k_per_line = Family == operand_family::nibble_affine || Family == operand_family::nibble_table ? 8 : 4;
    constexpr int unroll = 4;
    const auto book = ops::make_codebook(a.tables->operands);
    const std::uint8_t* const base = a.panels + panel * a.panel_bytes;
    const std::int8_t* x = a.codes + row * a.codes_stride;
    const std::size_t stride = a.codes_stride, segments = a.segments;
    const float* factors = a.factors + row * segments;
    const std::int32_t* seeds = a.seeds + row * segments;
    const std::int32_t* minus_sums = a.minus_sums + row * segments;

    ops::f32 acc[R][ops::parts], scales[ops::parts];
    QNT_EACH (r, R)
        QNT_EACH (part, ops::parts) acc[r][part] = ops::set1(0.0f);
    QNT_EACH (part, ops::parts) scales[part] = ops::set1(1.0f);
    std::size_t left = a.k;
    for (std::size_t g = 0; g < a.groups; ++g) {
        const std::uint8_t* w = base + g * a.group_bytes;
        std::size_t length = left < a.group_size ? left : a.group_size;
        left -= length;
        const std::uint8_t* const meta = w + (length + k_per_line - 1) / k_per_line * 64;
        if (a.grouped) load_scales(meta, a.scale, scales);
        for (; length > 0; ++factors, ++seeds, ++minus_sums) {
            const std::size_t columns = length < segment_columns ? length : segment_columns, lines = (columns + k_per_line - 1) / k_per_line;
            length -= columns;
            segment_sums<R, Family> sums;
            QNT_EACH (r, R)
                QNT_EACH (part, ops::parts) {
                    ops::i32 seed = ops::set1_i(seeds[std::size_t(r) * segments]);
                    if constexpr (Zero)
                        seed = ops::mul_add(seed, ops::load_u8(meta + a.zero_offset + part * ops::lanes),
                                            ops::set1_i(minus_sums[std::size_t(r) * segments]));
                    if constexpr (Family == operand_family::nibble_affine) sums.start(r, part, seed);
                    else sums.start(r, part) = seed;
                }
            std::size_t i = 0;
            for (; i + unroll <= lines; i += unroll, w += 64 * unroll, x += k_per_line * unroll) {
                QNT_EACH (u, unroll) sums.add_line(u, w + u * 64, x + std::size_t(u) * k_per_line, stride, book, *a.tables);
                sums.fold();
            }
            if (i < lines) {
                for (; i < lines; ++i, w += 64, x += k_per_line) sums.add_line(0, w, x, stride, book, *a.tables);
                sums.fold();
            }
            QNT_EACH (r, R) {
                const ops::f32 factor = ops::set1(factors[std::size_t(r) * segments]), magic = a.grouped ? factor : ops::set1(0x1.8p23f);
                QNT_EACH (part, ops::parts) {
                    const ops::f32 d = ops::sub(ops::as_f32(sums.total(r, part)), magic);
                    acc[r][part] = ops::fma(d, a.grouped ? scales[part] : factor, acc[r][part]);
                }
            }
        }
        if (!a.grouped) {
            load_scales(meta, a.scale, scales);
            QNT_EACH (r, R)
                QNT_EACH (part, ops::parts) acc[r][part] = ops::mul(acc[r][part], scales[part]);
        }
    }
    QNT_EACH (r, R) {
        const ops::f32 row_scale = ops::set1(a.row_scales[row + std::size_t(r)]);
        QNT_EACH (part, ops::parts) acc[r][part] = ops::mul(acc[r][part], row_scale);
        finish_row(a, panel, row + std::size_t(r), acc[r]);
    }
}

template <operand_family Family, bool Zero>
QNT_NOINLINE void int8_gemm(const kernels::gemm_args& a, std::size_t panel_begin, std::size_t panel_end, std::size_t row_begin,
                            std::size_t row_end) noexcept {
    constexpr int most = Family == operand_family::byte_table ? 1 : ops::int_rows;  // looking up bytes one by one is the bound there
    // Rows of x that stay in the second-level cache while the panels pass by.
    const std::size_t block = std::size_t(most) * (1 + 262144 / (a.codes_stride * std::size_t(most)));
    for (std::size_t from = row_begin; from < row_end; from += block) {
        const std::size_t to = row_end - from < block ? row_end : from + block;
        for (std::size_t panel = panel_begin; panel < panel_end; ++panel)
            for_row_tiles<most>(from, to, [&](auto rows, std::size_t row) { int8_tile<rows(), Family, Zero>(a, panel, row); });
    }
}

}  // namespace qnt::isa::inline QNT_BASELINE::QNT_ISA
