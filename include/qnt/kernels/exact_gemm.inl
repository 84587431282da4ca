// y[M, N] = x[M, K] * w[N, K]^T with float activations: no approximation beyond f32 roundings in a fixed order.
//
// Normative, per output and weight group (one group where one scale spans K; K padded with zeros to a multiple of 8): four chains,
//     a_c = fma(x_k, v_k, a_c) over k with (k - group start) mod 4 = c, ascending, from +0, v_k the decoded code less zero point, unscaled
//     t = (a_0 + a_1) + (a_2 + a_3);   acc = fma(scale, t, acc), groups ascending, from +0;   y = acc        (dense: scale = 1)
// Lanes are (row of w, k mod 4): the four chains of an output are four lanes, so no instruction set changes the order.
namespace qnt::isa::inline QNT_BASELINE::QNT_ISA {

// Few rows of x decode each weight for themselves (exact_tile); many (exact_block) decode a stretch of a panel once, into lines of f32.

constexpr std::size_t line_size_of(operand_family f) { return f == operand_family::dense_f32 ? 256 : is_dense(f) ? 128 : 64; }

// Codes to values less their zero points.
template <operand_family Family> struct exact_decoder {
    using family = operand_family;
    static constexpr int steps = is_nibble(Family) ? 2 : 1;  // of 4 columns in a line
    ops::float_table table;
    ops::f32 offset;
    const code_tables* tables;

    QNT_INLINE explicit exact_decoder(const code_tables& t)
        : table(ops::make_float_table(t.values)), offset(ops::set1(float(t.offset))), tables(&t) {}

    // The values at lanes [q * lanes, ..) of the steps of a line.
    template <bool Zero> QNT_INLINE void decode(const std::uint8_t* line, int q, const float* zeros, ops::f32 (&v)[steps]) const {
        if constexpr (is_nibble(Family)) {
            const ops::i32 both = ops::load_u8(line + q * ops::lanes);
            v[0] = value<Zero>(is_looked_up<Zero> && ops::looks_up_low_bits ? both : ops::and_i(both, ops::set1_i(15)), zeros, q);
            v[1] = value<Zero>(ops::template shift_right<4>(both), zeros, q);
        } else {
            if constexpr (Family == family::byte_value) v[0] = ops::load_i8(line + q * ops::lanes);
            else if constexpr (Family == family::dense_f32) v[0] = ops::load(reinterpret_cast<const float*>(line) + q * ops::lanes);
            else if constexpr (Family == family::dense_f16) v[0] = ops::load_f16(reinterpret_cast<const std::uint16_t*>(line) + q * ops::lanes);
            else if constexpr (Family == family::dense_bf16) v[0] = ops::load_bf16(reinterpret_cast<const std::uint16_t*>(line) + q * ops::lanes);
            else {
                float t[ops::lanes];
                for (int i = 0; i < ops::lanes; ++i) t[i] = tables->values[line[q * ops::lanes + i]];
                v[0] = ops::load(t);
            }
            if constexpr (Zero) v[0] = ops::sub(v[0], ops::load(zeros + q * ops::lanes));
        }
    }

private:
    // Integers as well, where that takes fewer operations than to convert them.
    template <bool Zero> static constexpr bool is_looked_up = Family == family::nibble_table || (ops::looks_up_low_bits && !Zero);
    template <bool Zero> QNT_INLINE ops::f32 value(ops::i32 code, const float* zeros, int q) const {
        if constexpr (is_looked_up<Zero>) return ops::lookup(table, code);
        else if constexpr (Zero) return ops::sub(ops::to_f32(code), ops::load(zeros + q * ops::lanes));  // zeros include the offset
        else return ops::sub(ops::to_f32(code), offset);
    }
};

// Parts: how many of the panel's registers are summed in one pass over a group (all for one row, one by one for several).
template <int R, int Parts, operand_family Family, bool Zero>
QNT_INLINE void exact_group(const exact_decoder<Family>& decoder, const std::uint8_t* w, std::size_t lines, int first_part, const float* zeros,
                            const float* x, std::size_t stride, std::size_t ahead, ops::f32 (&t)[R][Parts]) {
    constexpr int steps = exact_decoder<Family>::steps;
    ops::f32 c[R][Parts][4];
    QNT_EACH (r, R)
        QNT_EACH (p, Parts)
            QNT_EACH (j, 4) c[r][p][j] = ops::set1(0.0f);
    for (std::size_t i = 0; i < lines; ++i, w += line_size_of(Family), x += 4 * steps) {
        for (std::size_t at = 0; at < line_size_of(Family); at += line_bytes) prefetch(w + at, ahead);
        QNT_EACH (p, Parts)
            QNT_EACH (j, 4) {
                ops::f32 v[steps];
                decoder.template decode<Zero>(w, (first_part + p) * 4 + j, zeros, v);
                QNT_EACH (r, R)
                    QNT_EACH (step, steps) c[r][p][j] = ops::fma(ops::broadcast_x4(x + std::size_t(r) * stride + 4 * step), v[step], c[r][p][j]);
            }
    }
    QNT_EACH (r, R)
        QNT_EACH (p, Parts) t[r][p] = ops::sum_chains(c[r][p][0], c[r][p][1], c[r][p][2], c[r][p][3]);
}

// Scales of a group, as exact_gemm multiplies by them, and its zero points spread to the lanes of a line.
template <operand_family Family, bool Zero> struct exact_group_meta {
    ops::f32 scales[ops::parts];
    alignas(64) float zeros[64];

    QNT_INLINE void load(const kernels::gemm_args& a, const std::uint8_t* meta) {
        if constexpr (is_dense(Family)) {
            QNT_EACH (part, ops::parts) scales[part] = ops::set1(1.0f);
        } else {
            load_scales(meta, a.scale, scales);
            if constexpr (Family == operand_family::byte_value)  // operands are values / unit, a power of two
                QNT_EACH (part, ops::parts) scales[part] = ops::mul(scales[part], ops::set1(a.tables->unit));
            if constexpr (Zero) {
                // lane i of a line is row i / 4
                static constexpr std::uint8_t quarters[16] = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3};
                alignas(64) float of_rows[16];
                QNT_EACH (part, ops::parts)
                    ops::store(of_rows + part * ops::lanes,
                               ops::to_f32(ops::add_i(ops::load_u8(meta + a.zero_offset + part * ops::lanes), ops::set1_i(a.tables->offset))));
                const ops::float_table table = ops::make_float_table(of_rows);
                const ops::i32 fours = ops::load_u8(quarters);
                QNT_EACH (q, 4 * ops::parts)
                    ops::store(zeros + q * ops::lanes, ops::lookup(table, ops::add_i(fours, ops::set1_i(q * ops::lanes / 4))));
            }
        }
    }
};

template <int R, operand_family Family, bool Zero>
QNT_NOINLINE void exact_tile(const kernels::gemm_args& a, std::size_t panel, std::size_t row, float* space) noexcept {
    constexpr std::size_t k_per_line = 4 * exact_decoder<Family>::steps;
    constexpr int parts_at_once = R == 1 ? ops::parts : 1;
    const std::size_t ahead = R == 1 && a.reads_ahead ? 0 : prefetch_bytes;
    const exact_decoder<Family> decoder(*a.tables);
    const std::uint8_t* const base = a.panels + panel * a.panel_bytes;
    const float* x = a.x + row * a.x_stride;

    exact_group_meta<Family, Zero> meta;
    ops::f32 acc[R][ops::parts];
    QNT_EACH (r, R)
        QNT_EACH (part, ops::parts) acc[r][part] = ops::set1(0.0f);
    std::size_t left = a.k;
    for (std::size_t g = 0; g < a.groups; ++g, x += a.group_size) {
        const std::uint8_t* w = base + g * a.group_bytes;
        const std::size_t length = left < a.group_size ? left : a.group_size, lines = ceil_div(length, k_per_line);
        left -= length;
        meta.load(a, w + lines * line_size_of(Family));
        QNT_UNROLL
        for (int part = 0; part < ops::parts; part += parts_at_once) {
            ops::f32 t[R][parts_at_once];
            exact_group<R, parts_at_once, Family, Zero>(decoder, w, lines, part, meta.zeros, x, a.x_stride, ahead, t);
            QNT_EACH (r, R)
                QNT_EACH (p, parts_at_once) acc[r][part + p] = ops::fma(meta.scales[part + p], t[r][p], acc[r][part + p]);
        }
    }
    const tile_rows rows(a, panel, row, space);
    QNT_EACH (r, R) rows.store(r, acc[r]);
}

// Columns that a block decodes at once (16 KiB of f32, half of a first-level cache), and the rows of a block at most.
inline constexpr std::size_t exact_columns = 256, most_exact_rows = 128;

// Decoded lines of one group, and the group's scales.
struct exact_run {
    alignas(64) float scales[16];
    std::size_t lines;
    bool begins, ends;  // is the first of them the group's first, the last its last?
};

// The runs of a stretch, whose lines of f32 are at w, for R rows of x. chains: the four chains of each output, kept from stretch to stretch of
// a group; at its end they are summed into acc. With every line memory is asked for that will be needed next, `step` bytes further each time.
template <int R>
QNT_NOINLINE void exact_block_tile(const exact_run* run, std::size_t runs, const float* w, const float* x, std::size_t stride, float* chains,
                                   float* acc, std::uintptr_t next, std::size_t step) noexcept {
    for (; runs > 0; --runs, w += run->lines * 64, x += run->lines * 4, ++run)
        QNT_EACH (part, ops::parts) {
            ops::f32 c[R][4];
            QNT_EACH (r, R)
                QNT_EACH (j, 4) c[r][j] = run->begins ? ops::set1(0.0f) : ops::load(chains + ((r * ops::parts + part) * 4 + j) * ops::lanes);
            const float* from = w + part * 4 * ops::lanes;
            const float* xs = x;
            for (std::size_t i = 0; i < run->lines; ++i, from += 64, xs += 4) {
                if (part == 0) {
                    prefetch_second_level(next);
                    next += step;
                }
                ops::f32 four[R];
                QNT_EACH (r, R) four[r] = ops::broadcast_x4(xs + std::size_t(r) * stride);
                QNT_EACH (j, 4) {
                    const ops::f32 v = ops::load(from + j * ops::lanes);
                    QNT_EACH (r, R) c[r][j] = ops::fma(four[r], v, c[r][j]);
                }
            }
            const ops::f32 scales = ops::load(run->scales + part * ops::lanes);
            QNT_EACH (r, R) {
                if (run->ends) {
                    float* const sum = acc + r * 16 + part * ops::lanes;
                    ops::store(sum, ops::fma(scales, ops::sum_chains(c[r][0], c[r][1], c[r][2], c[r][3]), ops::load(sum)));
                } else {
                    QNT_EACH (j, 4) ops::store(chains + ((r * ops::parts + part) * 4 + j) * ops::lanes, c[r][j]);
                }
            }
        }
}

// The values of `lines` lines of codes, as lines of f32.
template <bool Zero, operand_family Family>
QNT_INLINE void decode_lines(const exact_decoder<Family>& decoder, const std::uint8_t* codes, std::size_t lines, const float* zeros, float* values) {
    constexpr int steps = exact_decoder<Family>::steps;
    for (; lines > 0; --lines, codes += line_size_of(Family), values += steps * 64)
        for (int q = 0; q < 4 * ops::parts; ++q) {
            ops::f32 v[steps];
            decoder.template decode<Zero>(codes, q, zeros, v);
            for (int step = 0; step < steps; ++step) ops::store(values + step * 64 + q * ops::lanes, v[step]);
        }
}

// One stretch of a panel after another: decoded, then multiplied by all rows, which ask for the next one meanwhile.
template <operand_family Family, bool Zero>
QNT_NOINLINE void exact_block(const kernels::gemm_args& a, std::size_t panel, std::size_t from, std::size_t to) noexcept {
    constexpr int steps = exact_decoder<Family>::steps;
    constexpr std::size_t line_size = line_size_of(Family), most_lines = exact_columns / (4 * steps), most_runs = exact_columns / 8;
    alignas(64) float acc[most_exact_rows * 16], chains[most_exact_rows * 64], values[exact_columns * 16];
    exact_run runs[most_runs];
    const exact_decoder<Family> decoder(*a.tables);
    exact_group_meta<Family, Zero> meta;
    std::memset(acc, 0, (to - from) * 16 * sizeof(float));
    const std::uint8_t* group = a.panels + panel * a.panel_bytes;
    const float* x = a.x;
    std::size_t g = 0, line = 0;  // of group g
    while (g < a.groups) {
        const std::uint8_t* const begin = group + line * line_size;
        std::size_t count = 0, filled = 0;
        for (; g < a.groups && count < most_runs; ++count) {
            const std::size_t length = a.k - g * a.group_size < a.group_size ? a.k - g * a.group_size : a.group_size;
            const std::size_t all_lines = ceil_div(length, 4 * steps), left = all_lines - line;
            if (filled > 0 && left > most_lines - filled) break;
            const std::size_t lines = left < most_lines ? left : most_lines;
            meta.load(a, group + all_lines * line_size);
            decode_lines<Zero>(decoder, group + line * line_size, lines, meta.zeros, values + filled * steps * 64);
            exact_run& run = runs[count];
            QNT_EACH (part, ops::parts) ops::store(run.scales + part * ops::lanes, meta.scales[part]);
            run.lines = lines * steps;
            run.begins = line == 0;
            run.ends = lines == left;
            filled += lines;
            line += lines;
            if (run.ends) {
                ++g;
                group += a.group_bytes;
                line = 0;
            }
        }
        const bool is_last = g == a.groups;
        if (is_last) prefetch_outputs(a, panel * panel_rows, panel_rows, from, to);
        const std::uintptr_t next = reinterpret_cast<std::uintptr_t>(group + line * line_size);
        const std::size_t bytes = next - reinterpret_cast<std::uintptr_t>(begin), lines = filled * steps, most_rows = ops::exact_block_rows;
        const std::size_t step = ceil_div(bytes, lines * ceil_div(to - from, most_rows));
        for_row_tiles<ops::exact_block_rows>(from, to, [&](auto rows, std::size_t row) QNT_INLINE_LAMBDA {
            exact_block_tile<rows()>(runs, count, values, x + row * a.x_stride, a.x_stride, chains + (row - from) * 64, acc + (row - from) * 16,
                                     next + (row - from) / most_rows * lines * step, step);
            if (is_last)
                for (std::size_t i = row; i < row + std::size_t(rows()); ++i) {
                    ops::f32 sums[ops::parts];
                    QNT_EACH (part, ops::parts) sums[part] = ops::load(acc + (i - from) * 16 + part * ops::lanes);
                    finish_row(a, panel, i, sums);
                }
        });
        x += filled * 4 * steps;
    }
}

template <operand_family Family, bool Zero>
QNT_NOINLINE void exact_gemm(const kernels::gemm_args& a, std::size_t panel_begin, std::size_t panel_end, std::size_t row_begin,
                             std::size_t row_end) noexcept {
    const std::size_t block = rows_of_block(row_end - row_begin, 98304 / a.x_stride, 32, most_exact_rows, 8);
    for (std::size_t from = row_begin; from < row_end; from += block) {
        const std::size_t to = row_end - from < block ? row_end : from + block;
        for (std::size_t panel = panel_begin; panel < panel_end; ++panel) {
            if (to - from >= 2 * std::size_t(ops::exact_block_rows)) exact_block<Family, Zero>(a, panel, from, to);
            else
                for_row_tiles<ops::exact_rows>(from, to, [&](auto r, std::size_t row) QNT_INLINE_LAMBDA {
                    alignas(64) float space[r() * panel_rows];
                    exact_tile<r(), Family, Zero>(a, panel, row, space);
                    finish_rows(a, panel, row, std::size_t(r()), space);
                });
        }
    }
}

}  // namespace qnt::isa::inline QNT_BASELINE::QNT_ISA
