// y[M, N] = x[M, K] * w[N, K]^T with int8 activations and integer dot products.
//
// Normative, per output: for the segments s of K in ascending order (activations.hpp), with d = the exact int32 dot product of the
// operands less zero point times sum of codes,
//     grouped weights:         acc = fma(f32(d) * 2^-e[s], scale of the weight group, acc), from +0;   y = acc * (row_scale * unit)
//     one scale for all of K:  acc = fma(f32(d), scale[s], acc), from +0;                              y = (acc * weight scale) * unit
// with the unit of the operands (code/code.hpp). Nothing depends on lanes, tiles, threads or M, since d is exact.
//
// A tile is one panel (16 outputs), or a few, by R rows of x with all integer sums in registers; x is read as 4-byte broadcasts. Few
// rows of x run through all of K tile by tile (int8_tile). Many rows (int8_block) take K in chunks of segments, so that what is done to
// the codes before they are operands is done once for all of them; their float sums wait in memory from chunk to chunk.
namespace qnt::isa::inline QNT_BASELINE::QNT_ISA {

// Are the codes of a block's segment made into operands beforehand? Then they lie as those of bytes: 4 columns in a line.
template <operand_family Family>
inline constexpr bool expands = Family == operand_family::byte_table || Family == operand_family::nibble_table || ops::expands_codes;

constexpr int chains_for(int sums, int most) {
    int chains = 1;
    while (chains < most && 2 * chains * sums <= ops::chains) chains *= 2;
    return chains;
}

// Operands of the codes at `lines` lines from w on; asks for what is `ahead` bytes behind.
template <operand_family Family>
QNT_INLINE void expand(const std::uint8_t* w, std::size_t lines, std::size_t ahead, const ops::codebook& book, const code_tables& tables,
                       std::uint8_t* out) {
    constexpr int size = 4 * ops::lanes;
    for (std::size_t i = 0; i < lines; ++i, w += 64, out += is_nibble(Family) ? 128 : 64) {
        prefetch(w, ahead);
        if constexpr (Family == operand_family::byte_table)
            for (int j = 0; j < 64; ++j) out[j] = std::uint8_t(tables.operands[w[j]]);
        QNT_EACH (part, ops::parts) {
            if constexpr (Family == operand_family::byte_table) {
                ops::store_bytes(out + part * size, ops::operands(ops::load_bytes(out + part * size)));
            } else {
                const ops::bytes raw = ops::load_bytes(w + part * size);
                if constexpr (Family == operand_family::byte_value) {
                    ops::store_bytes(out + part * size, ops::operands(raw));
                } else {
                    const ops::bytes low = ops::low(raw), high = ops::high(raw);
                    constexpr bool table = Family == operand_family::nibble_table;
                    ops::store_bytes(out + part * size, table ? ops::lookup(book, low) : low);
                    ops::store_bytes(out + 64 + part * size, table ? ops::lookup(book, high) : high);
                }
            }
        }
    }
}

// Where a register's share of the line at w begins: Parts registers may span panels that are panel_step bytes apart.
QNT_INLINE const std::uint8_t* part_at(const std::uint8_t* w, std::size_t panel_step, int part) {
    return w + std::size_t(part / ops::parts) * panel_step + part % ops::parts * 4 * ops::lanes;
}

// The int32 sums of one segment of one tile, Parts registers for each row: those of one panel or of several. Expanded: the lines hold operands.
template <int R, int Parts, operand_family Family, bool Expanded> struct segment_sums {
    static constexpr int chains = chains_for(R * Parts, 4);
    ops::i32 sum[chains][R][Parts];

    QNT_INLINE void start(int r, int part, ops::i32 seed) {
        sum[0][r][part] = seed;
        QNT_UNROLL
        for (int c = 1; c < chains; ++c) sum[c][r][part] = ops::set1_i(0);
    }
    QNT_INLINE ops::i32 total(int r, int part) const {
        ops::i32 t = sum[0][r][part];
        QNT_UNROLL
        for (int c = 1; c < chains; ++c) t = ops::add_i(t, sum[c][r][part]);
        return t;
    }
    // One line at `w`, and those of the following panels, against columns k.. of R rows at x.
    QNT_INLINE void add_line(int line, const std::uint8_t* w, std::size_t panel_step, const std::int8_t* x, std::size_t stride,
                             const ops::codebook& book, const code_tables& tables) {
        auto& acc = sum[line % chains];
        if constexpr (Parts > ops::parts) {  // x is broadcast once for all panels
            static_assert(Expanded);
            decltype(ops::prepare(ops::bytes{})) prepared[Parts];
            QNT_EACH (part, Parts) prepared[part] = ops::prepare(ops::load_bytes(part_at(w, panel_step, part)));
            QNT_EACH (r, R) {
                const ops::bytes four = ops::broadcast4(x + std::size_t(r) * stride);
                QNT_EACH (part, Parts) acc[r][part] = ops::dot(acc[r][part], prepared[part], four);
            }
            return;
        }
        QNT_EACH (part, Parts) {
            if constexpr (Family == operand_family::nibble_table && !Expanded) {
                const ops::bytes raw = ops::load_bytes(w + part * 4 * ops::lanes);
                const auto low = ops::prepare(ops::lookup(book, ops::low(raw)));
                QNT_EACH (r, R) acc[r][part] = ops::dot(acc[r][part], low, ops::broadcast4(x + std::size_t(r) * stride));
                const auto high = ops::prepare(ops::lookup(book, ops::high(raw)));
                QNT_EACH (r, R) acc[r][part] = ops::dot(acc[r][part], high, ops::broadcast4(x + std::size_t(r) * stride + 4));
            } else {
                ops::bytes operands = ops::load_bytes(w + part * 4 * ops::lanes);
                if constexpr (Family == operand_family::byte_table && !Expanded) {
                    alignas(64) std::uint8_t looked_up[4 * ops::lanes];
                    for (int i = 0; i < 4 * ops::lanes; ++i) looked_up[i] = std::uint8_t(tables.operands[w[part * 4 * ops::lanes + i]]);
                    operands = ops::load_bytes(looked_up);
                }
                const auto prepared = ops::prepare(Expanded ? operands : ops::operands(operands));
                QNT_EACH (r, R) acc[r][part] = ops::dot(acc[r][part], prepared, ops::broadcast4(x + std::size_t(r) * stride));
            }
        }
    }
    QNT_INLINE void fold() {}
};

template <int R, int Parts> struct segment_sums<R, Parts, operand_family::nibble_affine, false> {
    static constexpr int chains = chains_for(2 * R * Parts, 2);
    ops::nibble_acc sum[chains][R][Parts];

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
    QNT_INLINE void add_line(int line, const std::uint8_t* w, std::size_t panel_step, const std::int8_t* x, std::size_t stride, const ops::codebook&,
                             const code_tables&) {
        QNT_EACH (part, Parts) {
            const ops::bytes raw = ops::load_bytes(part_at(w, panel_step, part));
            QNT_EACH (r, R)
                sum[line % chains][r][part].add(raw, ops::broadcast4(x + std::size_t(r) * stride), ops::broadcast4(x + std::size_t(r) * stride + 4));
        }
    }
    QNT_INLINE void fold() {
        QNT_EACH (c, chains)
            QNT_EACH (r, R)
                QNT_EACH (part, Parts) sum[c][r][part].fold();
    }
};

// The segments of a panel in ascending order: visit(codes, lines, meta) with the scales and zero points of the group at meta.
template <operand_family Family, class Visit> QNT_INLINE void for_segments(const kernels::gemm_args& a, std::size_t panel, const Visit& visit) {
    constexpr std::size_t k_per_line = is_nibble(Family) ? 8 : 4;
    const std::uint8_t* group = a.panels + panel * a.panel_bytes;
    const std::size_t group_size = a.group_size, group_bytes = a.group_bytes;
    if (group_size <= segment_columns) {  // a segment is a group: a loop of its own, for it decides the speed of small groups
        for (std::size_t left = a.k; left > 0; group += group_bytes) {
            const std::size_t columns = left < group_size ? left : group_size, lines = (columns + k_per_line - 1) / k_per_line;
            visit(group, columns, lines, group + lines * 64);
            left -= columns;
        }
        return;
    }
    for (std::size_t left = a.k; left > 0; group += group_bytes) {
        std::size_t length = left < group_size ? left : group_size;
        left -= length;
        const std::uint8_t *w = group, *const meta = w + (length + k_per_line - 1) / k_per_line * 64;
        while (length > 0) {
            const std::size_t columns = length < segment_columns ? length : segment_columns, lines = (columns + k_per_line - 1) / k_per_line;
            visit(w, columns, lines, meta);
            length -= columns;
            w += lines * 64;
        }
    }
}

// What the sums of a segment start from, for the row r of a tile: bits of magic, less what the bias of the operands and the zero
// points of the weights add.
template <bool Zero> struct seed_source {
    const std::int32_t *seeds, *minus_sums;
    const std::uint8_t* zeros;  // of the first panel
    std::size_t panel_bytes;

    // at: segment and row, as in gemm_args
    QNT_INLINE seed_source(const kernels::gemm_args& a, const std::uint8_t* meta, std::size_t at)
        : seeds(a.seeds + at), minus_sums(a.minus_sums + at), zeros(meta + a.zero_offset), panel_bytes(a.panel_bytes) {}
    QNT_INLINE ops::i32 seed(int r, int part) const {
        const ops::i32 seed = ops::set1_i(seeds[r]);
        if constexpr (!Zero) return seed;
        else
            return ops::mul_add(seed, ops::load_u8(zeros + std::size_t(part / ops::parts) * panel_bytes + part % ops::parts * ops::lanes),
                                ops::set1_i(minus_sums[r]));
    }
};

// Adds the sums of a segment, total(r, part), to R rows of float sums in the normative order: add(r, part, d, by) is to add d * by.
// factors: those of the segment, one for each row; scales: those of the group.
template <int R, int Parts, class Total, class Add>
QNT_INLINE void add_segment(const Total& total, const float* factors, bool grouped, const ops::f32* scales, const Add& add) {
    if (grouped) {
        QNT_EACH (r, R) {
            const ops::f32 magic = ops::set1(factors[r]);
            QNT_EACH (part, Parts) add(r, part, ops::sub(ops::as_f32(total(r, part)), magic), scales[part]);
        }
    } else {
        const ops::f32 magic = ops::set1(0x1.8p23f);
        QNT_EACH (r, R) {
            const ops::f32 factor = ops::set1(factors[r]);
            QNT_EACH (part, Parts) add(r, part, ops::sub(ops::as_f32(total(r, part)), magic), factor);
        }
    }
}

// The outputs of a row, before an epilogue, from its float sums; scales: those of the weights' rows, for one scale for all of K.
QNT_INLINE void scale_int8_row(const kernels::gemm_args& a, std::size_t row, ops::f32 (&acc)[ops::parts], const ops::f32 (&scales)[ops::parts]) {
    const ops::f32 row_scale = ops::set1(a.row_scales[row]);
    QNT_EACH (part, ops::parts) acc[part] = ops::mul(a.grouped ? acc[part] : ops::mul(acc[part], scales[part]), row_scale);
}
// The outputs of `count` rows whose float sums are at `sums`, `step` apart.
QNT_INLINE void finish_int8_rows(const kernels::gemm_args& a, std::size_t panel, std::size_t row, std::size_t count, const float* sums,
                                 std::size_t step, const ops::f32 (&scales)[ops::parts]) {
    for (std::size_t i = 0; i < count; ++i, sums += step) {
        ops::f32 acc[ops::parts];
        QNT_EACH (part, ops::parts) acc[part] = ops::load(sums + part * ops::lanes);
        scale_int8_row(a, row + i, acc, scales);
        finish_row(a, panel, row + i, acc);
    }
}

inline constexpr int lines_at_once = 4;  // of the loops of a tile

// Weights from memory: a core alone asks for too little at once when it decodes between its loads.
struct weights_ahead {
    QNT_INLINE void ask(const std::uint8_t* w) const {
        QNT_EACH (u, lines_at_once) prefetch(w + u * 64, prefetch_bytes);
    }
    QNT_INLINE weights_ahead next_tile() const { return {}; }
};
// For one row of x where the processor reads weights ahead by itself. Between two panels that outgrow the first-level cache the row leaves it,
// and every miss beside the stream of weights costs about the latency of the second level. Asked for once, two lines ahead: one line is too
// late, of three and four ahead some are gone again, and to ask for a line twice takes part of it back (docs/performance.md).
struct row_ahead {
    QNT_INLINE void ask(const std::uint8_t*) const {}
    // x: where a segment begins
    QNT_INLINE void ask_for_row(const std::int8_t* x) const {
        if (reinterpret_cast<std::uintptr_t>(x) % line_bytes == 0) prefetch(x, 2 * line_bytes);
    }
};

// The integer sums of a segment for the R rows from x on; before each run of lines `ahead` asks for what will be needed. Expanded: whole runs.
// w and x move on to the next segment, where it follows.
template <int R, int Parts, operand_family Family, bool Zero, bool Expanded, class Ahead>
QNT_INLINE void sum_segment(segment_sums<R, Parts, Family, Expanded>& sums, const kernels::gemm_args& a, const std::uint8_t*& w,
                            std::size_t panel_step, std::size_t lines, const seed_source<Zero>& from, const std::int8_t*& x,
                            const ops::codebook& book, Ahead& ahead) {
    constexpr std::size_t k_per_line = is_nibble(Family) && !Expanded ? 8 : 4;
    constexpr std::size_t unroll = lines_at_once;
    const std::size_t stride = a.codes_stride;
    QNT_EACH (r, R)
        QNT_EACH (part, Parts) sums.start(r, part, from.seed(r, part));
    const std::size_t rest = Expanded ? 0 : lines % unroll;
    for (std::size_t left = lines - rest; left > 0; left -= unroll) {
        ahead.ask(w);
        QNT_EACH (u, lines_at_once) sums.add_line(u, w + u * 64, panel_step, x + std::size_t(u) * k_per_line, stride, book, *a.tables);
        sums.fold();
        w += 64 * unroll;
        x += k_per_line * unroll;
        moves_on(w);
    }
    if (rest > 0) {
        for (std::size_t i = 0; i < rest; ++i, w += 64, x += k_per_line) sums.add_line(0, w, panel_step, x, stride, book, *a.tables);
        sums.fold();
    }
}

template <int R, operand_family Family, bool Zero, class Ahead>
QNT_NOINLINE void int8_tile(const kernels::gemm_args& a, std::size_t panel, std::size_t row, Ahead ahead, float* space) noexcept {
    const auto book = ops::make_codebook(a.tables->operands);
    const std::int8_t* x = a.codes + row * a.codes_stride;
    const std::uint8_t* end = nullptr;
    const std::size_t m = a.m;
    const bool grouped = a.grouped;
    const scalar_type scale_type = a.scale;
    std::size_t at = row;
    ops::f32 acc[R][ops::parts], scales[ops::parts];
    QNT_EACH (r, R)
        QNT_EACH (part, ops::parts) acc[r][part] = ops::set1(0.0f);
    QNT_EACH (part, ops::parts) scales[part] = ops::set1(1.0f);
    for_segments<Family>(a, panel, [&](const std::uint8_t* w, std::size_t, std::size_t lines, const std::uint8_t* meta) QNT_INLINE_LAMBDA {
        segment_sums<R, ops::parts, Family, false> sums;
        if (grouped) load_scales(meta, scale_type, scales);
        end = meta;
        if constexpr (std::is_same_v<Ahead, row_ahead>) ahead.ask_for_row(x);
        sum_segment<R, ops::parts, Family, Zero, false>(sums, a, w, 0, lines, seed_source<Zero>(a, meta, at), x, book, ahead);
        add_segment<R, ops::parts>([&](int r, int part) QNT_INLINE_LAMBDA { return sums.total(r, part); }, a.factors + at, grouped, scales,
                                   [&](int r, int part, ops::f32 d, ops::f32 by) QNT_INLINE_LAMBDA { acc[r][part] = ops::fma(d, by, acc[r][part]); });
        at += m;
    });
    if (!grouped) load_scales(end, scale_type, scales);
    const tile_rows rows(a, panel, row, space);
    QNT_EACH (r, R) {
        scale_int8_row(a, row + std::size_t(r), acc[r], scales);
        rows.store(r, acc[r]);
    }
}

// A run of segments of some panels, ready for the rows of a block: their operands, where the codes were made into such, and scales as floats.
struct block_chunk {
    // Three panels of 384 columns fit the first-level cache beside x. With few rows the codes are what takes time: the less of them is asked
    // for at once, the more is there in time.
    static constexpr std::size_t most_columns = 384, few_columns = 128, few_rows = 32, most_segments = 32;
    static constexpr std::size_t operand_bytes = most_columns * panel_rows;  // from the operands of a panel to those of the next
    struct segment {
        const std::uint8_t *codes, *meta;  // of the first panel
        std::size_t columns, lines;
    };
    segment segments[most_segments];
    std::size_t count = 0, columns = 0;         // so far
    std::size_t first_segment = 0, column = 0;  // of the product
    float* scales = nullptr;                    // [segments, panels, 16], or of one scale for all of K [panels, 16]

    bool is_full(std::size_t rows) const {
        const bool is_short = rows < few_rows && 2 * segments[0].columns >= segment_columns;
        return count == most_segments || columns + segment_columns > (is_short ? few_columns : most_columns);
    }
};

// Codes that will be needed next, which tiles ask for while they multiply, each for its share, up to Lines lines in every step of their loops: more
// at once than a core can wait for would hold a tile up, and to read them when they are needed is a tenth of the time of a product of 128 rows.
template <int Lines> class codes_ahead {
public:
    struct stream {
        std::uintptr_t at;  // may be anybody's
        std::size_t step;
        QNT_INLINE void ask(const std::uint8_t*) {
            QNT_EACH (i, Lines) prefetch_second_level(at + std::size_t(i) * step);
            at += Lines * step;
            moves_on(at);
        }
    };
    // bytes: from `begin` on, and as many in each of the following panels. tiles: for each panel; 0: nothing is asked for. steps: of the
    // loops of a tile.
    QNT_INLINE codes_ahead(const std::uint8_t* begin, std::size_t bytes, std::size_t panel_bytes, std::size_t panels, std::size_t tiles,
                           std::size_t steps)
        : panel_(reinterpret_cast<std::uintptr_t>(begin)), bytes_(bytes), panel_bytes_(panel_bytes), panels_(tiles > 0 ? panels : 0), tiles_(tiles) {
        if (tiles == 0) return;
        const std::size_t step = ceil_div(bytes, tiles * steps * Lines);
        step_ = step < line_bytes ? step : line_bytes;
        tile_bytes_ = steps * step_ * Lines;
    }
    // Asks at once for what the steps of the tiles do not reach; before the first tile of a panel.
    QNT_INLINE void ask_for_rest() const {
        if (panels_ == 0) return;
        for (std::size_t i = tiles_ * tile_bytes_; i < bytes_; i += line_bytes) prefetch_second_level(panel_ + i);
    }
    QNT_INLINE stream next_tile() {
        if (panels_ == 0) return {panel_, 0};
        const stream s{panel_ + tile_ * tile_bytes_, step_};
        if (++tile_ == tiles_) {
            tile_ = 0;
            panel_ += --panels_ > 0 ? panel_bytes_ : 0;
        }
        return s;
    }

private:
    std::uintptr_t panel_;
    std::size_t bytes_, panel_bytes_, panels_, tiles_, tile_ = 0, step_ = 0, tile_bytes_ = 0;
};

// What a tile asks for while it multiplies: codes, and the lines of y that it will write.
template <class Codes, class Outputs> struct tile_ahead {
    Codes codes;
    Outputs& outputs;
    QNT_INLINE void ask(const std::uint8_t* w) {
        codes.ask(w);
        outputs.ask();
    }
};

// Tiles of R rows of x, rows [begin, end), against a chunk, their float sums in registers; what is unfinished waits at `sums`, [R, Panels * 16]
// for each. One call for all of them: what is done before and after a tile takes the time of its products.
template <int R, int Panels, operand_family Family, bool Zero, class Codes>
QNT_NOINLINE void block_tiles(const kernels::gemm_args& a, const block_chunk& chunk, std::size_t panel, std::size_t begin, std::size_t end,
                              float* sums, Codes& codes) noexcept {
    constexpr int parts = Panels * ops::parts;
    const bool is_first = chunk.first_segment == 0, is_last = chunk.first_segment + chunk.count == a.segments;
    const bool is_output = is_last && is_plain(a, panel + Panels - 1);
    constexpr std::size_t k_per_line = is_nibble(Family) && !expands<Family> ? 8 : 4;
    using outputs_type = outputs_ahead<R, Panels, int(block_chunk::most_columns) / (4 * lines_at_once)>;
    outputs_type outputs = is_last ? outputs_type(a, panel * panel_rows, Panels * panel_rows, begin, chunk.columns / (k_per_line * lines_at_once))
                                   : outputs_type(&chunk);
    const auto book = ops::make_codebook(a.tables->operands);
    // the compiler would read them again for every tile
    const std::size_t m = a.m, stride = a.codes_stride, y_stride = a.y_stride, first_at = chunk.first_segment * m;
    const std::size_t panel_step = expands<Family> ? block_chunk::operand_bytes : a.panel_bytes;
    const bool grouped = a.grouped;
    const float *const factors = a.factors, *const row_scales = a.row_scales;
    const std::int8_t* tile_x = a.codes + begin * stride + chunk.column;
    float* tile_y = is_output ? static_cast<float*>(a.y) + begin * y_stride + panel * panel_rows : nullptr;
    for (std::size_t row = begin; row < end; row += R, tile_x += R * stride, sums += R * parts * ops::lanes) {
        outputs.begin_tile();
        tile_ahead<decltype(codes.next_tile()), outputs_type> ahead{codes.next_tile(), outputs};
        ops::f32 acc[R][parts];
        QNT_EACH (r, R)
            QNT_EACH (part, parts) acc[r][part] = is_first ? ops::set1(0) : ops::load(sums + (r * parts + part) * ops::lanes);
        const std::int8_t* x = tile_x;
        const std::uint8_t* w = chunk.segments[0].codes;
        const float* scales = chunk.scales;
        std::size_t at = first_at + row;
        for (const block_chunk::segment *s = chunk.segments, *const last = s + chunk.count; s != last; ++s) {
            segment_sums<R, parts, Family, expands<Family>> dots;
            if (!expands<Family>) w = s->codes;  // operands lie one behind the other
            sum_segment<R, parts, Family, Zero, expands<Family>>(dots, a, w, panel_step, s->lines, seed_source<Zero>(a, s->meta, at), x, book, ahead);
            const auto total = [&](int r, int part) QNT_INLINE_LAMBDA { return dots.total(r, part); };
            const auto add = [&](int r, int part, ops::f32 d, ops::f32 by) QNT_INLINE_LAMBDA { acc[r][part] = ops::fma(d, by, acc[r][part]); };
            ops::f32 scale[parts];
            QNT_EACH (part, parts) scale[part] = ops::load(scales + part * ops::lanes);
            add_segment<R, parts>(total, factors + at, grouped, scale, add);
            if (grouped) scales += parts * ops::lanes;
            at += m;
        }
        outputs.end_tile();
        if (is_output) {
            if (!grouped)
                QNT_EACH (part, parts) {
                    const ops::f32 scale = ops::load(scales + part * ops::lanes);
                    QNT_EACH (r, R) acc[r][part] = ops::mul(acc[r][part], scale);
                }
            QNT_EACH (r, R) {
                const ops::f32 row_scale = ops::set1(row_scales[row + std::size_t(r)]);
                QNT_EACH (part, parts) ops::store(tile_y + part * ops::lanes, ops::mul(acc[r][part], row_scale));
                tile_y += y_stride;
            }
        } else {
            QNT_EACH (r, R)
                QNT_EACH (part, parts) ops::store(sums + (r * parts + part) * ops::lanes, acc[r][part]);
        }
    }
}

// Adds to float sums, [rows, 16], that wait in memory: the `add` of add_segment().
struct add_to_memory {
    float* sums;
    QNT_INLINE void operator()(int r, int part, ops::f32 d, ops::f32 by) const {
        float* const sum = sums + (r * ops::parts + part) * ops::lanes;
        ops::store(sum, ops::fma(d, by, ops::load(sum)));
    }
};

// Do the tiles of an instruction set multiply the codes of a panel as they lie, as signed bytes? Their products need no correction then,
// which that of the zero points brings along.
template <operand_family Family, bool Zero> inline constexpr bool is_direct = Family == operand_family::byte_value && !Zero;

// What 16 rows get from a segment whose products are at `products`, for ops::tiles; the rest as for block_tiles.
template <operand_family Family, bool Zero>
QNT_INLINE void add_tile(const kernels::gemm_args& a, const std::int32_t* products, const std::uint8_t* meta, const ops::f32* scales, std::size_t at,
                         float* acc) {
    const float* const factors = a.factors + at;
    const bool grouped = a.grouped;
    const seed_source<Zero> from(a, meta, at);
    const auto total = [&](int r, int part) QNT_INLINE_LAMBDA {
        const ops::i32 product = ops::as_i32(ops::load(reinterpret_cast<const float*>(products) + r * 16 + part * ops::lanes));
        if constexpr (is_direct<Family, Zero>) return ops::add_i(product, ops::as_i32(ops::set1(grouped ? factors[r] : 0x1.8p23f)));
        else return ops::add_i(product, from.seed(r, part));
    };
    ops::f32 scale[ops::parts];
    QNT_EACH (part, ops::parts) scale[part] = scales[part];
    add_segment<16, ops::parts>(total, factors, grouped, scale, add_to_memory{acc});
}

// A block has at most so many rows, a multiple of 16.
inline constexpr std::size_t most_block_rows = 256;

// Rows [from, to) against `Panels` panels.
template <int Panels, operand_family Family, bool Zero>
QNT_NOINLINE void int8_block(const kernels::gemm_args& a, std::size_t panel, std::size_t from, std::size_t to) noexcept {
    constexpr std::size_t operand_bytes = block_chunk::operand_bytes, row_sums = Panels * panel_rows;
    alignas(64) float sums[most_block_rows * row_sums];
    alignas(64) std::uint8_t operands[expands<Family> ? Panels * operand_bytes : 64];
    alignas(64) float scales[block_chunk::most_segments * row_sums];
    const auto book = ops::make_codebook(a.tables->operands);
    const std::uint8_t* const panel_at = a.panels + panel * a.panel_bytes;
    block_chunk chunk;
    chunk.scales = scales;
    constexpr std::size_t k_per_line = is_nibble(Family) ? 8 : 4;
    // Are there tiles enough to ask for most of what the next chunk needs?
    const std::size_t panel_tiles = ceil_div(to - from, std::size_t(ops::block_rows)) / Panels;
    constexpr std::size_t step_columns = 4 * lines_at_once, step_codes = step_columns / k_per_line * line_bytes;
    const bool tiles_ask = expands<Family> && 4 * panel_tiles * 2 * line_bytes >= 3 * step_codes;
    const std::uint8_t* chunk_at = panel_at;
    for_segments<Family>(a, panel, [&](const std::uint8_t* w, std::size_t columns, std::size_t lines, const std::uint8_t* meta) QNT_INLINE_LAMBDA {
        const std::uint8_t* codes = w;
        std::size_t operand_lines = lines;
        if constexpr (expands<Family>) {
            std::uint8_t* const to_operands = operands + chunk.columns * panel_rows;
            const bool is_near_end = std::size_t(w - panel_at) + prefetch_bytes >= a.panel_bytes;  // the other panels of the block are read already
            const std::size_t ahead = tiles_ask ? 0 : prefetch_bytes + (is_near_end ? (Panels - 1) * a.panel_bytes : 0);
            for (std::size_t p = 0; p < Panels; ++p)
                expand<Family>(w + p * a.panel_bytes, lines, ahead, book, *a.tables, to_operands + p * operand_bytes);
            codes = to_operands;
            const std::size_t made = is_nibble(Family) ? 2 * lines : lines;
            operand_lines = round_up(made, std::size_t(lines_at_once));  // of zeros, as x is there
            for (std::size_t p = 0; p < Panels && made < operand_lines; ++p)
                std::memset(to_operands + p * operand_bytes + made * 64, 0, (operand_lines - made) * 64);
        }
        if (a.grouped || chunk.first_segment + chunk.count == 0)
            for (std::size_t p = 0; p < Panels; ++p) {
                ops::f32 scale[ops::parts];
                load_scales(meta + p * a.panel_bytes, a.scale, scale);
                QNT_EACH (part, ops::parts)
                    ops::store(scales + (chunk.count * Panels + p) * panel_rows + std::size_t(part * ops::lanes), scale[part]);
            }
        chunk.segments[chunk.count++] = {codes, meta, columns, operand_lines};
        chunk.columns += round_up(columns, k_per_line);
        if (!chunk.is_full(to - from) && chunk.first_segment + chunk.count < a.segments) return;
        const std::uint8_t* const chunk_end = w + lines * 64;
        const bool is_last = chunk.first_segment + chunk.count == a.segments;
        const auto bytes = std::size_t(chunk_end - chunk_at);
        chunk_at = is_last ? panel_at + Panels * a.panel_bytes : chunk_end;
        auto ahead = [&] {
            if constexpr (!expands<Family>) return weights_ahead();
            else return codes_ahead<2>(chunk_at, bytes, a.panel_bytes, Panels, tiles_ask ? panel_tiles : 0, ceil_div(chunk.columns, step_columns));
        }();
        const auto multiply = [&](auto rows, std::size_t begin, std::size_t end) QNT_INLINE_LAMBDA {
            block_tiles<rows(), Panels, Family, Zero>(a, chunk, panel, begin, end, sums + (begin - from) * row_sums, ahead);
        };
        const std::size_t whole = to - (to - from) % std::size_t(ops::block_rows);
        multiply(std::integral_constant<int, ops::block_rows>{}, from, whole);
        if constexpr (ops::block_rows > 1)
            for_row_tiles<ops::block_rows / 2>(whole, to, [&](auto rows, std::size_t row) QNT_INLINE_LAMBDA { multiply(rows, row, row + rows()); });
        if (is_last && !is_plain(a, panel + Panels - 1))
            for (std::size_t p = 0; p < Panels; ++p) {
                ops::f32 scale[ops::parts];  // of grouped weights read, not used
                QNT_EACH (part, ops::parts) scale[part] = ops::load(scales + p * panel_rows + std::size_t(part * ops::lanes));
                finish_int8_rows(a, panel + p, from, to - from, sums + p * panel_rows, row_sums, scale);
            }
        for (std::size_t i = 0; i < chunk.count; ++i) chunk.column += chunk.segments[i].columns;
        chunk.first_segment += chunk.count;
        chunk.count = chunk.columns = 0;
    });
}

// The same for ops::tiles, 16 rows or more: tile t has the rows from 16 t on. The last one begins earlier where rows are missing; those
// it shares with the one before are computed again, into sums of its own, and not written twice (y may be its own residual).
template <operand_family Family, bool Zero, class Tiles>
QNT_NOINLINE void int8_tiled_block(const kernels::gemm_args& a, std::size_t panel, std::size_t from, std::size_t to, Tiles& tiles) noexcept {
    alignas(64) float acc[most_block_rows * panel_rows];
    alignas(64) std::uint8_t operands[segment_columns * panel_rows];
    alignas(64) std::int32_t products[2][16 * panel_rows];
    const auto book = ops::make_codebook(a.tables->operands);
    const std::size_t count = ceil_div(to - from, 16);
    ops::f32 scales[ops::parts];
    const std::uint8_t* end = nullptr;
    std::size_t segment = 0, column = 0;
    std::memset(acc, 0, count * 16 * panel_rows * sizeof(float));
    for_segments<Family>(a, panel, [&](const std::uint8_t* w, std::size_t columns, std::size_t lines, const std::uint8_t* meta) QNT_INLINE_LAMBDA {
        const bool is_last = segment + 1 == a.segments, is_last_but_one = segment + 2 == a.segments;
        if (meta != end) load_scales(meta, a.scale, scales);
        end = meta;
        tiles.shape(is_nibble(Family) ? 2 * lines : lines);
        if constexpr (is_direct<Family, Zero>) {
            for (std::size_t i = 0; i < lines * 64; i += 64) prefetch(w + i, prefetch_bytes);
            tiles.operands(w);
        } else {
            expand<Family>(w, lines, prefetch_bytes, book, *a.tables, operands);
            tiles.operands(operands);
        }
        for (std::size_t t = 0; t <= count; ++t) {  // one ahead: what a tile stores is not at hand at once
            const auto first_row = [&](std::size_t tile) QNT_INLINE_LAMBDA { return tile + 1 < count ? from + 16 * tile : to - 16; };
            if (t < count) {
                const std::int8_t* const x = a.codes + first_row(t) * a.codes_stride + column;
                if (t % 2) tiles.template multiply<true, is_direct<Family, Zero>>(products[1], x, a.codes_stride);
                else tiles.template multiply<false, is_direct<Family, Zero>>(products[0], x, a.codes_stride);
            }
            if (t == 0) continue;
            const std::size_t row = first_row(t - 1), begin = from + 16 * (t - 1);
            float* const sums = acc + 16 * (t - 1) * panel_rows;
            if (is_last_but_one) prefetch_outputs(a, panel * panel_rows, panel_rows, begin, row + 16);
            add_tile<Family, Zero>(a, products[(t - 1) % 2], meta, scales, segment * a.m + row, sums);
            if (is_last) finish_int8_rows(a, panel, begin, row + 16 - begin, sums + (begin - row) * panel_rows, panel_rows, scales);
        }
        ++segment;
        column += columns;
    });
}

template <operand_family Family, bool Zero, class Tiles>
QNT_INLINE void int8_tiled_panels(const kernels::gemm_args& a, std::size_t begin, std::size_t end, std::size_t from, std::size_t to) {
    Tiles tiles;
    for (std::size_t panel = begin; panel < end; ++panel) int8_tiled_block<Family, Zero>(a, panel, from, to, tiles);
}

// Bytes of x that a block may have. Three panels at once take 3 bytes of x in a cycle, which the third-level cache gives, while to read the
// weights once more for every 64 rows takes as much from memory; single panels and tiles need x from the second level.
inline constexpr std::size_t codes_in_cache = ops::block_panels > 1 && std::is_void_v<ops::tiles> ? 4u << 20 : 256u << 10;

template <operand_family Family, bool Zero>
QNT_NOINLINE void int8_gemm(const kernels::gemm_args& a, std::size_t panel_begin, std::size_t panel_end, std::size_t row_begin,
                            std::size_t row_end) noexcept {
    const std::size_t block = rows_of_block(row_end - row_begin, codes_in_cache / a.codes_stride, 64, most_block_rows, 16);
    for (std::size_t from = row_begin; from < row_end; from += block) {
        const std::size_t to = row_end - from < block ? row_end : from + block;
#if defined(QNT_ISA_OF_FEW_ROWS)
        if (to - from >= 16) int8_tiled_panels<Family, Zero, ops::tiles>(a, panel_begin, panel_end, from, to);
        else QNT_ISA_OF_FEW_ROWS::int8_gemm<Family, Zero>(a, panel_begin, panel_end, from, to);
#else
        constexpr int most = Family == operand_family::byte_table ? 1 : ops::int_rows;  // looking up bytes one by one is the bound there
        // Beside the products of eight rows there is room for decoding, one to five operations, and for asking for the whole next panel.
        constexpr bool is_wide = most >= 8;
        // What makes operands of bytes is one operation: to repeat it for each tile costs less than to keep them, where there are few tiles.
        constexpr int least = ops::expands_codes && (is_wide || Family == operand_family::byte_value) ? int(block_chunk::few_rows)
                              : ops::block_rows > most                                                ? ops::block_rows
                                                                                                      : most;
        std::size_t panel = panel_begin;
        if (to - from >= std::size_t(least)) {
            for (; panel + ops::block_panels <= panel_end; panel += ops::block_panels)
                int8_block<ops::block_panels, Family, Zero>(a, panel, from, to);
            if constexpr (ops::block_panels > 1)
                for (; panel < panel_end; ++panel) int8_block<1, Family, Zero>(a, panel, from, to);
        }
        if (panel == panel_end) continue;
        const std::size_t wide_tiles = is_wide ? (to - from) / std::size_t(most) : 0;
        codes_ahead<4> next_panel(a.panels + (panel + 1) * a.panel_bytes, a.panel_bytes, a.panel_bytes, panel_end - panel - 1, wide_tiles,
                                  ceil_div(a.k, std::size_t(is_nibble(Family) ? 8 : 4) * lines_at_once));
        for (; panel < panel_end; ++panel)
            for_row_tiles<most>(from, to, [&](auto r, std::size_t row) QNT_INLINE_LAMBDA {
                alignas(64) float space[r() * panel_rows];
                if constexpr (is_wide && r() == most) {
                    if (row == from) next_panel.ask_for_rest();  // scales: to wait for two lines of a panel of 12 KiB costs a tenth
                    int8_tile<r(), Family, Zero>(a, panel, row, next_panel.next_tile(), space);
                } else if (r() == 1 && a.reads_ahead) {
                    int8_tile<1, Family, Zero>(a, panel, row, row_ahead(), space);
                } else {
                    int8_tile<r(), Family, Zero>(a, panel, row, weights_ahead(), space);
                }
                finish_rows(a, panel, row, std::size_t(r()), space);
            });
#endif
    }
}

}  // namespace qnt::isa::inline QNT_BASELINE::QNT_ISA
