// What both product kernels share: loading scales, and finishing a tile.
namespace qnt::isa::inline QNT_BASELINE::QNT_ISA {

// How far ahead of their use weights are asked for. Measured on Sapphire Rapids, cold int4:32: 10.5 GB/s without, 13.8 at 2 KiB, 14.4 from
// 4 KiB on, of 17 that plain reading reaches.
inline constexpr std::size_t prefetch_bytes = 4096;

// A register of the n floats that are left at p, or of a whole one.
QNT_INLINE ops::f32 load_up_to(const float* p, std::size_t n) { return n >= std::size_t(ops::lanes) ? ops::load(p) : ops::load_n(p, n); }
QNT_INLINE void store_up_to(float* p, ops::f32 a, std::size_t n) { n >= std::size_t(ops::lanes) ? ops::store(p, a) : ops::store_n(p, a, n); }

// A register as f16 or bf16, and back.
QNT_INLINE void store_half(std::uint16_t* to, ops::f32 v, scalar_type type) {
    if (type == scalar_type::f16) return ops::store_f16(to, v);
    float t[ops::lanes];
    ops::store(t, v);
    for (int i = 0; i < ops::lanes; ++i) to[i] = bf16(t[i]).bits;
}
QNT_INLINE ops::f32 load_half(const std::uint16_t* from, scalar_type type) {
    return type == scalar_type::f16 ? ops::load_f16(from) : ops::load_bf16(from);
}

// Sixteen scales as f32.
QNT_INLINE void load_scales(const std::uint8_t* p, scalar_type type, ops::f32 (&out)[ops::parts]) {
    QNT_EACH (part, ops::parts) {
        const std::uint8_t* at = p + std::size_t(part * ops::lanes) * size_of(type);
        if (type == scalar_type::f32) out[part] = ops::load(reinterpret_cast<const float*>(at));
        else out[part] = load_half(reinterpret_cast<const std::uint16_t*>(at), type);
    }
}

// Asks for the lines of y that a block of rows will write, long before it does: each row of y is a page of its own, and to wait for
// them one by one would be a fifth of the time of a product with few columns.
QNT_INLINE void prefetch_outputs(const kernels::gemm_args& a, std::size_t column, std::size_t columns, std::size_t row_begin, std::size_t row_end) {
    const std::size_t size = size_of(a.y_type), last = column + columns < a.n ? column + columns : a.n;
    for (std::size_t row = row_begin; row < row_end; ++row) {
        const char* const from = static_cast<const char*>(a.y) + (row * a.y_stride + column) * size;
        for (std::size_t i = 0; i < (last - column) * size; i += line_bytes) __builtin_prefetch(from + i, 1);
    }
}

// The same for tiles of R rows, a line with each step of their loops: more at once than a core can wait for would hold up what computes them.
// Where the lines lie is listed once for all tiles: to compute it takes more instructions than there is room for between the products.
template <int R, int Panels, int MostSteps> class outputs_ahead {
public:
    // Nothing to ask for; `readable` is asked for again and again.
    QNT_INLINE explicit outputs_ahead(const void* readable) : at_(reinterpret_cast<std::uintptr_t>(readable)) { lines_[0] = 0; }
    // Of `columns` columns, at most those of Panels panels. steps: of a tile, at most MostSteps.
    QNT_INLINE outputs_ahead(const kernels::gemm_args& a, std::size_t column, std::size_t columns, std::size_t row, std::size_t steps)
        : row_step_(a.y_stride * size_of(a.y_type)), stride_(1), steps_(steps) {
        const std::size_t size = size_of(a.y_type), last = column + columns < a.n ? column + columns : a.n;
        at_ = reinterpret_cast<std::uintptr_t>(a.y) + (row * a.y_stride + column) * size;
        const std::size_t is_askew = (at_ | row_step_) % line_bytes != 0, lines = ceil_div((last - column) * size, line_bytes) + is_askew;
        count_ = lines * R;
        for (std::size_t i = 0; i < most; ++i) lines_[i] = i < count_ ? i % R * row_step_ + i / R * line_bytes : 0;
    }
    // Before a tile. Asks at once for what its steps do not reach.
    QNT_INLINE void begin_tile() {
        next_ = 0;
        for (std::size_t i = steps_; i < count_; ++i) ask_for(lines_[i]);
    }
    QNT_INLINE void ask() {
        ask_for(lines_[next_]);
        next_ += stride_;
        moves_on(next_);
    }
    QNT_INLINE void end_tile() { at_ += R * row_step_; }

private:
    static constexpr std::size_t most_lines = R * (Panels * panel_rows * sizeof(float) / line_bytes + 1),
                                 most = most_lines > MostSteps ? most_lines : MostSteps;
    QNT_INLINE void ask_for(std::size_t line) const { __builtin_prefetch(reinterpret_cast<const void*>(at_ + line), 1); }

    std::uintptr_t at_;  // of the first row of a tile
    std::size_t row_step_ = 0, stride_ = 0, next_ = 0, steps_ = 0, count_ = 0;
    std::size_t lines_[most];
};

// Are all outputs of a panel stored as they are, as f32?
QNT_INLINE bool is_plain(const kernels::gemm_args& a, std::size_t panel) {
    return !a.epilogue.bias && a.epilogue.activation == activation::none && !a.epilogue.residual && a.y_type == scalar_type::f32 &&
           (panel + 1) * panel_rows <= a.n;
}

// y[row, panel * 16 ..] = epilogue(v[16]), without a write beyond column n. A function of its own: in every tile, once for each row, it
// would be most of the code of a program.
QNT_NOINLINE inline void finish_row_with_epilogue(const kernels::gemm_args& a, std::size_t panel, std::size_t row, const float* v) noexcept {
    for (int part = 0; part < ops::parts; ++part) {
        const std::size_t column = panel * panel_rows + std::size_t(part * ops::lanes);
        if (column >= a.n) return;
        const std::size_t left = a.n - column, count = left < std::size_t(ops::lanes) ? left : std::size_t(ops::lanes);
        ops::f32 r = ops::load(v + part * ops::lanes);
        if (a.epilogue.bias) r = ops::add(r, load_up_to(a.epilogue.bias + column, left));
        if (a.epilogue.activation == activation::gelu_tanh) r = gelu_tanh(r);
        if (a.epilogue.residual) {
            const float* from = a.epilogue.residual + row * a.epilogue.residual_stride + column;
            r = ops::add(r, load_up_to(from, left));
        }
        if (a.y_type == scalar_type::f32) {
            store_up_to(static_cast<float*>(a.y) + row * a.y_stride + column, r, left);
        } else {
            std::uint16_t t[ops::lanes];
            store_half(t, r, a.y_type);
            std::memcpy(static_cast<std::uint16_t*>(a.y) + row * a.y_stride + column, t, count * sizeof t[0]);
        }
    }
}

// Where a tile stores its rows: in y, if they are plain, else in `space`, [rows, 16], for finish_rows(). A tile calls nothing itself: its
// loops would lose registers to the call.
class tile_rows {
public:
    QNT_INLINE tile_rows(const kernels::gemm_args& a, std::size_t panel, std::size_t row, float* space) : to_(space), step_(panel_rows) {
        if (!is_plain(a, panel)) return;
        to_ = static_cast<float*>(a.y) + row * a.y_stride + panel * panel_rows;
        step_ = a.y_stride;
    }
    QNT_INLINE void store(int r, const ops::f32 (&v)[ops::parts]) const {
        QNT_EACH (part, ops::parts) ops::store(to_ + std::size_t(r) * step_ + part * ops::lanes, v[part]);
    }

private:
    float* to_;
    std::size_t step_;
};
// Of the rows that a tile left in `space`, if it did.
QNT_INLINE void finish_rows(const kernels::gemm_args& a, std::size_t panel, std::size_t row, std::size_t count, const float* space) {
    if (is_plain(a, panel)) return;
    for (std::size_t r = 0; r < count; ++r) finish_row_with_epilogue(a, panel, row + r, space + r * panel_rows);
}
// Both at once, for a row outside of such loops.
QNT_INLINE void finish_row(const kernels::gemm_args& a, std::size_t panel, std::size_t row, const ops::f32 (&v)[ops::parts]) {
    alignas(64) float space[panel_rows];
    tile_rows(a, panel, row, space).store(0, v);
    finish_rows(a, panel, row, 1, space);
}

// Rows of x are taken in blocks of equal size that stay in a cache while the panels pass by. in_cache: how many fit; a block
// is a multiple of `step`, at most `most`.
QNT_INLINE std::size_t rows_of_block(std::size_t rows, std::size_t in_cache, std::size_t least, std::size_t most, std::size_t step) {
    const std::size_t limit = in_cache < least ? least : in_cache < most ? in_cache : most;
    return round_up(ceil_div(rows, ceil_div(rows, limit)), step);
}

// Rows [begin, end) in steps of Most, then of the powers of two below it, so that any M runs: tile(std::integral_constant<int, R>, row).
template <int Most, class Tile> QNT_INLINE void for_row_tiles(std::size_t begin, std::size_t end, const Tile& tile) {
    for (; begin + Most <= end; begin += Most) tile(std::integral_constant<int, Most>{}, begin);
    if constexpr (Most > 1)
        if (begin < end) for_row_tiles<int(std::bit_floor(unsigned(Most - 1)))>(begin, end, tile);
}

}  // namespace qnt::isa::inline QNT_BASELINE::QNT_ISA
