// y[M, N] = x[M, K] * w[N, K]^T with float activations: no approximation beyond f32 roundings in a fixed order.
//
// Normative, per output and weight group (one group where one scale spans K; K padded with zeros to a multiple of 8): four chains,
//     a_c = fma(x_k, v_k, a_c) over k with (k - group start) mod 4 = c, ascending, from +0, v_k the decoded code less zero point, unscaled
//     t = (a_0 + a_1) + (a_2 + a_3);   acc = fma(scale, t, acc), groups ascending, from +0;   y = acc        (dense: scale = 1)
// Lanes are (row of w, k mod 4): the four chains of an output are four lanes, so no instruction set changes the order.
namespace qnt::isa::inline QNT_BASELINE::QNT_ISA {

// Tables of the nibble families, and the zero points of a group spread to lanes.
template <operand_family Family> struct exact_decoder {
    using family = operand_family;
    ops::float_table table;
    ops::f32 offset;
    const code_tables* tables;

    QNT_INLINE explicit exact_decoder(const code_tables& t)
        : table(ops::make_float_table(t.values)), offset(ops::set1(float(t.offset))), tables(&t) {}

    // fma of the codes at lanes [q * lanes, ..) of a line, columns k.. of x, into `c`.
    template <int R, bool Zero>
    QNT_INLINE void step(const std::uint8_t* line, int q, const float* zeros, const float* x, std::size_t stride, ops::f32* c,
                         int chain_stride) const {
        if constexpr (Family == family::nibble_affine || Family == family::nibble_table) {
            const ops::i32 both = ops::load_u8(line + q * ops::lanes);
            const ops::f32 low = value<Zero>(ops::and_i(both, ops::set1_i(15)), zeros, q),
                           high = value<Zero>(ops::template shift_right<4>(both), zeros, q);
            QNT_EACH (r, R) {
                const float* xr = x + std::size_t(r) * stride;
                ops::f32& acc = c[r * chain_stride];
                acc = ops::fma(ops::broadcast_x4(xr), low, acc);
                acc = ops::fma(ops::broadcast_x4(xr + 4), high, acc);
            }
        } else {
            ops::f32 v;
            if constexpr (Family == family::byte_value) v = ops::load_i8(line + q * ops::lanes);
            else if constexpr (Family == family::dense_f32) v = ops::load(reinterpret_cast<const float*>(line) + q * ops::lanes);
            else if constexpr (Family == family::dense_f16) v = ops::load_f16(reinterpret_cast<const std::uint16_t*>(line) + q * ops::lanes);
            else if constexpr (Family == family::dense_bf16) v = ops::load_bf16(reinterpret_cast<const std::uint16_t*>(line) + q * ops::lanes);
            else {
                float t[ops::lanes];
                for (int i = 0; i < ops::lanes; ++i) t[i] = tables->values[line[q * ops::lanes + i]];
                v = ops::load(t);
            }
            if constexpr (Zero) v = ops::sub(v, ops::load(zeros + q * ops::lanes));
            QNT_EACH (r, R) c[r * chain_stride] = ops::fma(ops::broadcast_x4(x + std::size_t(r) * stride), v, c[r * chain_stride]);
        }
    }

private:
    template <bool Zero> QNT_INLINE ops::f32 value(ops::i32 code, const float* zeros, int q) const {
        if constexpr (Family == family::nibble_table) return ops::lookup(table, code);
        else if constexpr (Zero) return ops::sub(ops::to_f32(code), ops::load(zeros + q * ops::lanes));  // zeros include the offset
        else return ops::sub(ops::to_f32(code), offset);
    }
};

// Parts: how many of the panel's registers are summed in one pass over a group (all for one row, one by one for several).
template <int R, int Parts, operand_family Family, bool Zero>
QNT_INLINE void exact_group(const exact_decoder<Family>& decoder, const std::uint8_t* w, std::size_t lines, int first_part, const float* zeros,
                            const float* x, std::size_t stride, ops::f32 (&t)[R][Parts]) {
    constexpr std::size_t k_per_line = Family == operand_family::nibble_affine || Family == operand_family::nibble_table ? 8 : 4;
    constexpr std::size_t line_size = Family == operand_family::dense_f32                                           ? 256
                                      : Family == operand_family::dense_f16 || Family == operand_family::dense_bf16 ? 128
                                                                                                                    : 64;
    ops::f32 c[R][Parts][4];
    QNT_EACH (r, R)
        QNT_EACH (p, Parts)
            QNT_EACH (j, 4) c[r][p][j] = ops::set1(0.0f);
    for (std::size_t i = 0; i < lines; ++i, w += line_size, x += k_per_line)
        QNT_EACH (p, Parts)
            QNT_EACH (j, 4) decoder.template step<R, Zero>(w, (first_part + p) * 4 + j, zeros, x, stride, &c[0][p][j], Parts * 4);
    QNT_EACH (r, R)
        QNT_EACH (p, Parts) t[r][p] = ops::sum_chains(c[r][p][0], c[r][p][1], c[r][p][2], c[r][p][3]);
}

template <int R, operand_family Family, bool Zero> QNT_INLINE void exact_tile(const kernels::gemm_args& a, std::size_t panel, std::size_t row) {
    constexpr bool nibbles = Family == operand_family::nibble_affine || Family == operand_family::nibble_table;
    constexpr bool is_dense = Family == operand_family::dense_f32 || Family == operand_family::dense_f16 || Family == operand_family::dense_bf16;
    constexpr std::size_t k_per_line = nibbles ? 8 : 4;
    constexpr int parts_at_once = R == 1 ? ops::parts : 1;
    const exact_decoder<Family> decoder(*a.tables);
    const std::uint8_t* const base = a.panels + panel * a.panel_bytes;
    const float* x = a.x + row * a.x_stride;

    ops::f32 acc[R][ops::parts];
    QNT_EACH (r, R)
        QNT_EACH (part, ops::parts) acc[r][part] = ops::set1(0.0f);
    std::size_t left = a.k;
    for (std::size_t g = 0; g < a.groups; ++g, x += a.group_size) {
        const std::uint8_t* w = base + g * a.group_bytes;
        const std::size_t length = left < a.group_size ? left : a.group_size, lines = (length + k_per_line - 1) / k_per_line;
        left -= length;
        const std::uint8_t* const meta = w + lines * 64;
        ops::f32 scales[ops::parts];
        alignas(64) float zeros[64];
        if constexpr (!is_dense) {
            load_scales(meta, a.scale, scales);
            if constexpr (Family == operand_family::byte_value)  // operands are values / unit, a power of two
                QNT_EACH (part, ops::parts) scales[part] = ops::mul(scales[part], ops::set1(a.tables->unit));
            if constexpr (Zero)
                for (int i = 0; i < 64; ++i) zeros[i] = float(meta[a.zero_offset + std::size_t(i / 4)] + a.tables->offset);
        }
        QNT_UNROLL
        for (int part = 0; part < ops::parts; part += parts_at_once) {
            ops::f32 t[R][parts_at_once];
            exact_group<R, parts_at_once, Family, Zero>(decoder, w, lines, part, zeros, x, a.x_stride, t);
            QNT_EACH (r, R)
                QNT_EACH (p, parts_at_once) acc[r][part + p] = ops::fma(is_dense ? ops::set1(1.0f) : scales[part + p], t[r][p], acc[r][part + p]);
        }
    }
    QNT_EACH (r, R) finish_row(a, panel, row + std::size_t(r), acc[r]);
}

template <operand_family Family, bool Zero>
QNT_NOINLINE void exact_gemm(const kernels::gemm_args& a, std::size_t panel_begin, std::size_t panel_end, std::size_t row_begin,
                             std::size_t row_end) noexcept {
    const std::size_t block = std::size_t(ops::exact_rows) * (1 + 65536 / (a.x_stride * std::size_t(ops::exact_rows)));
    for (std::size_t from = row_begin; from < row_end; from += block) {
        const std::size_t to = row_end - from < block ? row_end : from + block;
        for (std::size_t panel = panel_begin; panel < panel_end; ++panel)
            for_row_tiles<ops::exact_rows>(from, to, [&](auto rows, std::size_t row) { exact_tile<rows(), Family, Zero>(a, panel, row); });
    }
}

}  // namespace qnt::isa::inline QNT_BASELINE::QNT_ISA
