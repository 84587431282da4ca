// Weights in, packed matrices out, and back.
//
//     auto packed = qnt::quantize<qnt::nf4<64>>(w, {}, pool).value();       // packed_matrix<nf4<64>> in panels
//     qnt::dequantize(out, packed);                                         // out[rows, cols] as f32
//     auto stats = qnt::compare(w, packed, qnt::int8_activations);          // what a product in this mode loses
//
// The rules (scale, zero point, rounding, ties) stand in the files of the codes and scalings. Scales are rounded to their type first
// and codes computed with the rounded scale; results are the same bytes for every instruction set, number of threads and compiler flag.
// Errors: not_finite (names row and column), scale_range (names row, group and what would work), invalid_argument, out_of_memory.
#pragma once
#include <algorithm>
#include <atomic>
#include <charconv>

#include "core/executor.hpp"
#include "core/fp_env.hpp"
#include "core/matrix_view.hpp"
#include "core/modes.hpp"
#include "kernels/quantize_table.hpp"
#include "report.hpp"

namespace qnt {

// Byte-for-byte agreement with encoders whose rule differs from ours; refused for formats and shapes that the other system does not
// have. NaN, infinities and f16 scales that overflow are errors here too.
enum class compatibility : std::uint8_t {
    none,
    // bitsandbytes 0.50 on a CPU, blocks of 32, 64, .. 4096. nf4 and fp4_bnb: codes of x * (1 / absmax), of x / absmax in a last block that is
    // shorter, absmax >= 1e-38; nested: with the unquantized absmax, whose codes are looked up in 65,536 bins. int8_channel: rne(x * ((1 / absmax) * 127))
    bitsandbytes,
    // int8_group<32, f16>: codes of x * (1 / (absmax / 127)) with the unrounded scale, halves away from zero
    ggml,
};

struct quantize_options {
    compatibility compat = compatibility::none;
    bool strict = false;                           // a scale that underflows its type is an error instead of a group of zeros
    quantization_report* report = nullptr;         // filled in the same pass
    std::span<const std::uint32_t> outliers = {};  // columns to keep as f16 beside the codes, ascending: see packed/outliers.hpp
};

namespace detail {

// The first row that failed, over all threads: the same error whatever their number.
class first_failure {
public:
    void note(std::size_t row) {
        std::size_t seen = row_.load(std::memory_order_relaxed);
        while (row < seen && !row_.compare_exchange_weak(seen, row, std::memory_order_relaxed)) {
        }
    }
    bool any() const { return row() != std::size_t(-1); }
    std::size_t row() const { return row_.load(std::memory_order_relaxed); }

private:
    std::atomic<std::size_t> row_{std::size_t(-1)};
};

inline namespace QNT_BASELINE {

// Rows [first, first + count) as dense f32, whatever the strides and type: out[count][cols].
template <class T> void load_block(const matrix_view<T>& w, std::size_t first, std::size_t count, float* out) {
    if (w.col_stride == 1) {
        for (std::size_t r = 0; r < count; ++r) {
            const T* from = w.row(first + r);
            for (std::size_t c = 0; c < w.cols; ++c) out[r * w.cols + c] = float(from[c]);
        }
        return;
    }
    // A transposed view: neighbours in memory are rows. Turned in squares, so that whole lines are read and written.
    constexpr std::size_t side = panel_rows;
    float square[side][side];
    for (std::size_t r0 = 0; r0 < count; r0 += side)
        for (std::size_t c0 = 0; c0 < w.cols; c0 += side) {
            const std::size_t rows = count - r0 < side ? count - r0 : side, cols = w.cols - c0 < side ? w.cols - c0 : side;
            for (std::size_t c = 0; c < cols; ++c) {
                const std::size_t ahead = c0 + c + 2 * side < w.cols ? c0 + c + 2 * side : w.cols - 1;  // a page away: no hardware fetches it
                __builtin_prefetch(&w(first + r0, ahead));
                __builtin_prefetch(&w(first + r0 + rows - 1, ahead));
                for (std::size_t r = 0; r < rows; ++r) square[r][c] = float(w(first + r0 + r, c0 + c));
            }
            for (std::size_t r = 0; r < rows; ++r) std::memcpy(out + (r0 + r) * w.cols + c0, square[r], cols * sizeof(float));
        }
}

// Rows [first, first + count) as dense f32, zeros in the columns of `without`: where they lie, if they do, else in `space`, which is made
// large enough.
template <class T>
matrix_view<const float> dense_block(const matrix_view<T>& w, std::size_t first, std::size_t count, std::vector<float>& space,
                                     std::span<const std::uint32_t> without = {}) {
    if constexpr (std::same_as<std::remove_const_t<T>, float>)
        if (w.col_stride == 1 && without.empty()) return w.rows_from(first, count);
    space.resize(count * w.cols);
    load_block(w, first, count, space.data());
    for (std::size_t r = 0; r < count; ++r)
        for (const std::uint32_t c : without) space[r * w.cols + c] = 0;
    return {space.data(), count, w.cols};
}

using kernels::group_range;
inline group_range range_of(const float* x, std::size_t n) {
    group_range g;
    if (n > 0) kernels::group_ranges<true>[std::size_t(isa::active())](x, n, n, &g);
    return g;
}

// The work of quantize() for one code; format and group size are values, so that one instantiation serves all scale types.
template <quantized_code Code> class quantizer {
public:
    quantizer(const format_info& format, const packed_shape& shape, const quantize_options& options) : f_(format), s_(shape), options_(options) {}

    // Scales (as stored, widened to f32) and zero points of a row; false when the row cannot be quantized. ranges: space for the groups.
    bool scale_row(const float* x, group_range* ranges, float* scales, std::uint8_t* zeros, row_errors& count) const {
        bool good = true;
        const std::size_t groups = s_.groups();
        (f_.has_zero() ? kernels::group_ranges<true> : kernels::group_ranges<false>)[isa_](x, s_.cols, s_.group_size(), ranges);
        for (std::size_t g = 0; g < groups; ++g) {
            const group_range& range = ranges[g];
            scales[g] = f_.has_zero() ? (range.high - range.low) / Code::absmax : range.absmax() / Code::absmax;
            if (is_short_block(g) && scales[g] < bitsandbytes_least) scales[g] = bitsandbytes_least;
        }
        round_row(scales, groups);
        for (std::size_t g = 0; g < groups; ++g) {
            const group_range& range = ranges[g];
            zeros[g] = 0;
            good = good && range.finite() && is_finite(scales[g]);
            const bool is_zero = range.absmax() == 0;
            count.zero_groups += is_zero;
            if (scales[g] == 0 && !is_zero) {
                ++count.underflowed;
                good = good && !(options_.strict && f_.kind != granularity::tensor);  // there the other rows have a say
            }
            if constexpr (requires { Code::max_zero; })
                if (f_.has_zero() && range.finite() && scales[g] > 0) {
                    const float z = round_even(-range.low / scales[g]);
                    zeros[g] = std::uint8_t(z > float(Code::max_zero) ? float(Code::max_zero) : z);
                }
        }
        return good;
    }

    // Codes of a row, with room for 16 more behind them. `scales` is what the reader will multiply by.
    void encode_row(const float* x, const float* scales, const std::uint8_t* zeros, std::uint8_t* codes, row_errors& count) const {
        constexpr rounding rule = rounding_of<Code>;
        if (options_.compat != compatibility::none) {
            for (std::size_t g = 0; g < s_.groups(); ++g)
                encode_like(x + s_.group_begin(g), s_.group_length(g), is_short_block(g), codes + s_.group_begin(g));
        } else if constexpr (rule == rounding::own) {
            for (std::size_t g = 0; g < s_.groups(); ++g)
                encode_group(x + s_.group_begin(g), s_.group_length(g), scales[g], zeros[g], codes + s_.group_begin(g), count);
        } else {
            count.clipped += kernel<false>()(row_args(scales, zeros), x, codes, nullptr);
        }
    }
    // The same and what was lost, with decoded[cols] as space. False, and nothing done, where no kernel knows the rounding or outlier columns lie
    // beside x.
    bool encode_and_measure_row(const float* x, const unpacked_row& out, float* decoded, row_errors& count, float& largest) const {
        if constexpr (rounding_of<Code> == rounding::own) {
            return false;
        } else {
            if (options_.compat != compatibility::none || !options_.outliers.empty()) return false;
            // In pieces that stay in the first-level cache until they are measured: parts of one group, or whole groups.
            constexpr std::size_t most = 512;
            const std::size_t group = s_.group_size(), piece = group < most ? most / group * group : most;
            row_measure row(count, largest);
            for (std::size_t begin = 0, n = 0; begin < s_.cols; begin += n) {
                const std::size_t g = begin / group, end = group < most ? s_.cols : s_.group_begin(g) + s_.group_length(g);
                n = end - begin < piece ? end - begin : piece;
                kernels::encode_args a = row_args(out.scales + g, out.zeros + g);
                a.cols = n;
                count.clipped += kernel<true>()(a, x + begin, out.codes + begin, decoded);
                row.add(x + begin, decoded, n);
            }
            row.finish();
            return true;
        }
    }

private:
    // To the type of scales.
    void round_row(float* x, std::size_t n) const {
        if (f_.scale == scalar_type::f32) return;
        constexpr std::size_t most = 256;
        std::uint16_t narrow[most];
        for (std::size_t i = 0; i < n; i += most) {
            const std::size_t part = n - i < most ? n - i : most;
            kernels::narrow_row[isa_](x + i, part, f_.scale, narrow);
            kernels::widen_row[isa_](narrow, part, f_.scale, x + i);
        }
    }
    static constexpr float lowest = Code::decode(Code::encode(-0x1p20f)), highest = Code::decode(Code::encode(0x1p20f));
    static std::uint8_t encode(float x, int zero) {
        if constexpr (requires { Code::max_zero; }) return Code::encode_level(x, zero);
        else return static_cast<void>(zero), Code::encode(x);
    }
    // For the kernels; not for codes with a rounding of their own.
    template <bool Errors> auto kernel() const { return kernels::encode_row<rounding_of<Code> == rounding::nearest_integer, Errors>[isa_]; }
    kernels::encode_args row_args(const float* scales, const std::uint8_t* zeros) const {
        return encode_args(s_.cols, s_.group_size(), scales, f_.has_zero() ? zeros : nullptr);
    }
    static kernels::encode_args encode_args(std::size_t cols, std::size_t group, const float* scales, const std::uint8_t* zeros) {
        kernels::encode_args a{cols, group, cols, scales, zeros, lowest, highest, 0, nullptr, nullptr};
        if constexpr (rounding_of<Code> == rounding::nearest_integer) {
            constexpr int offset = std::int8_t(Code::encode(0));
            constexpr auto fits = [](float v) { return std::int8_t(Code::encode(v)) == int(v) + offset; };
            static_assert(fits(lowest) && fits(highest), "nearest_integer: codes are signed bytes, value plus a constant");
            a.offset = offset;
        } else {
            static_assert(levels<Code> <= 16, "nearest_value: at most 16 values");
            a.values = tables_of<Code>.values;
            a.middles = middles_of<Code>.data();
        }
        return a;
    }
    static void encode_group(const float* x, std::size_t n, float scale, int zero, std::uint8_t* codes, row_errors& count) {
        if (scale == 0) {
            std::memset(codes, encode(0, zero), n);
            return;
        }
        const float too_low = lowest - float(zero) - 0.5f, too_high = highest - float(zero) + 0.5f;
        for (std::size_t i = 0; i < n; ++i) {
            const float v = x[i] / scale;
            codes[i] = encode(v, zero);
            count.clipped += v < too_low || v > too_high;
        }
    }
    // By the other system's rule, which starts from absmax, not from a stored scale.
    void encode_like(const float* x, std::size_t n, bool is_short, std::uint8_t* codes) const {
        const float absmax = range_of(x, n).absmax();
        if (options_.compat == compatibility::ggml) {
            const float inverse = finite_or_zero(1.0f / (absmax / Code::absmax));
            for (std::size_t i = 0; i < n; ++i) {
                const float v = mul(x[i], inverse);
                const float away = v < 0 ? -std::floor(-v + 0.5f) : std::floor(v + 0.5f);
                codes[i] = Code::encode(std::fabs(v) < 0.5f ? 0.0f : away);
            }
        } else if (f_.is_grouped()) {
            const float top = absmax < bitsandbytes_least ? bitsandbytes_least : absmax, inverse = 1.0f / top;
            encode_scaled(
                x, n, [&](float v) { return is_short ? v / top : mul(v, inverse); }, codes);
        } else {
            const float inverse = finite_or_zero(mul(1.0f / absmax, Code::absmax));  // 127.0 / t of PyTorch is this
            encode_scaled(
                x, n, [&](float v) { return mul(v, inverse); }, codes);
        }
    }
    // Codes of scaled(x[n]).
    template <class Scaled> void encode_scaled(const float* x, std::size_t n, const Scaled& scaled, std::uint8_t* codes) const {
        constexpr rounding rule = rounding_of<Code>;
        if constexpr (rule != rounding::own) {
            constexpr std::size_t most = 64;
            constexpr float one = 1;
            float v[most] = {};
            for (std::size_t i = 0; i < n; i += most) {
                const std::size_t part = n - i < most ? n - i : most;
                for (std::size_t k = 0; k < part; ++k) v[k] = scaled(x[i + k]);
                kernel<false>()(encode_args(part, part, &one, nullptr), v, codes + i, nullptr);
            }
        } else {
            for (std::size_t i = 0; i < n; ++i) codes[i] = Code::encode(scaled(x[i]));
        }
    }
    // Where 1 / absmax overflows, the others convert infinities and NaN to integers: 0 on x86.
    static float finite_or_zero(float x) { return is_finite(x) ? x : 0.0f; }
    static constexpr float bitsandbytes_least = 1e-38f;
    bool is_short_block(std::size_t g) const {
        return options_.compat == compatibility::bitsandbytes && f_.is_grouped() && s_.group_length(g) < s_.group;
    }

    format_info f_;
    packed_shape s_;
    quantize_options options_;
    std::size_t isa_ = std::size_t(isa::active());
};

inline std::string number_text(float x) {
    char text[32];
    return std::string(text, std::to_chars(text, text + sizeof text, x, std::chars_format::general, 6).ptr);
}

// Why a row could not be quantized, found again with all its details.
inline error explain_row(const float* x, std::size_t row, const format_info& f, const packed_shape& s, float code_absmax) {
    const std::string where = "qnt::quantize: row " + std::to_string(row);
    for (std::size_t c = 0; c < s.cols; ++c)
        if (!is_finite(x[c])) return {errc::not_finite, where + ", column " + std::to_string(c) + " is not a finite number"};
    for (std::size_t g = 0; g < s.groups(); ++g) {
        const group_range range = range_of(x + s.group_begin(g), s.group_length(g));
        const float wanted = (f.has_zero() ? range.high - range.low : range.absmax()) / code_absmax, rounded = round_to(f.scale, wanted);
        const std::string group =
            where + ", group " + std::to_string(g) + " (columns from " + std::to_string(s.group_begin(g)) + "): scale " + number_text(wanted);
        if (!is_finite(wanted)) return {errc::scale_range, group + " overflows; scale the weights down"};
        if (!is_finite(rounded)) return {errc::scale_range, group + " overflows " + name_of(f.scale) + "; use bf16 or f32 scales"};
        if (rounded == 0 && range.absmax() != 0)
            return {errc::scale_range,
                    group + " underflows " + name_of(f.scale) + "; use bf16 or f32 scales, or let it become zeros (strict = false)"};
    }
    return {errc::invalid_argument, where + " cannot be quantized"};
}

inline result<void> check_compatibility(const format_info& f, const packed_shape& s, compatibility c) {
    const std::string_view code = f.code_name;
    const auto refused = [](const std::string& why) { return error{errc::unsupported, "qnt::quantize: " + why}; };
    if (c == compatibility::bitsandbytes) {
        const bool is_4bit =
            (code == "nf4" || code == "fp4_bnb") && f.is_grouped() && s.group >= 32 && s.group <= 4096 && (s.group & (s.group - 1)) == 0;
        if (f.scale != scalar_type::f32 || !(is_4bit || (code == "int8" && f.kind == granularity::channel)))
            return refused(
                "bitsandbytes has no such format; compatible are nf4 and fp4_bnb in groups of 32, 64, .. 4096 with f32 or nested scales, and "
                "int8_channel");
        if (is_4bit && s.rows > 1 && s.cols % s.group != 0)
            return refused("bitsandbytes cuts the flattened matrix into blocks of " + std::to_string(s.group) + ", which rows of " +
                           std::to_string(s.cols) + " columns are no multiple of; use another group or compat = none");
    }
    if (c == compatibility::ggml) {
        if (!(code == "int8" && f.is_grouped() && s.group == 32 && f.scale == scalar_type::f16))
            return refused("of ggml's formats only Q8_0 is encoded so far: int8 groups of 32 with f16 scales");
        if (s.cols % 32 != 0) return refused("ggml's rows are whole blocks of 32, " + std::to_string(s.cols) + " columns are not; use compat = none");
    }
    return {};
}

// The codes of up to 16 rows that begin with row `first`, a multiple of 16: see pack_panel().
template <class Layout>
void place_rows(std::byte* data, const format_info& f, const packed_shape& s, std::size_t first, unpacked_row in, std::size_t code_step,
                std::size_t count) {
    if constexpr (std::same_as<Layout, layout::panels>) return pack_panel(data, f, s, first / panel_rows, in, code_step, count);
    const rows_layout at(f, s);
    for (std::size_t row = first; row < first + count; ++row, in.codes += code_step, in.scales += s.groups(), in.zeros += s.groups()) {
        if (f.is_dense()) {
            std::memcpy(data + at.codes.begin + row * at.row_bytes, in.codes, at.row_bytes);
            continue;
        }
        for (std::size_t k = 0; k < s.cols; ++k) set_bits(data + at.codes.begin + row * at.row_bytes, k, f.bits, in.codes[k]);
        for (std::size_t g = 0; g < s.groups(); ++g) {
            if (!f.is_nested && (f.kind != granularity::tensor || row == 0))
                store_scalar(data + at.scales.begin + (row * s.groups() + g) * size_of(f.scale), f.scale, in.scales[g]);
            if (f.has_zero()) set_bits(data + at.zeros.begin + row * at.zero_row_bytes, g, 4, in.zeros[g]);
        }
    }
}

// Double quantization of all scales in place: returns codes, block absmax and offset; `scales` becomes what readers will expand.
struct nested_scales {
    std::vector<std::uint8_t> codes;
    std::vector<float> absmax;
    float offset = 0;
};
inline nested_scales quantize_scales(std::vector<float>& scales, compatibility compat) {
    const auto encode = [compat](float x, float top) {
        if (compat == compatibility::none) return dynamic_u8::encode(top == 0 ? 0.0f : x / top);
        if (top == 0) return std::uint8_t{0};
        const float inverse = 1.0f / top, v = is_finite(inverse) ? mul(x, inverse) : 0.0f;
        const float bin = float(int(fma(((v < -1 ? -1 : v > 1 ? 1 : v) + 1) * 0.5f, 65535.0f, 0.5f)));
        return dynamic_u8::encode(-1.0f + 2.0f * bin / 65535.0f);
    };
    nested_scales n;
    double sum = 0;
    for (const float s : scales) sum += double(s);
    n.offset = scales.empty() ? 0.0f : float(sum / double(scales.size()));
    n.codes.resize(scales.size());
    for (std::size_t begin = 0; begin < scales.size(); begin += nested_block) {
        const std::size_t end = begin + nested_block < scales.size() ? begin + nested_block : scales.size();
        float top = 0;
        for (std::size_t i = begin; i < end; ++i) top = magnitude(scales[i] - n.offset) > top ? magnitude(scales[i] - n.offset) : top;
        n.absmax.push_back(top);
        for (std::size_t i = begin; i < end; ++i) {
            n.codes[i] = encode(scales[i] - n.offset, top);
            scales[i] = mul(dynamic_u8::values[n.codes[i]], top) + n.offset;
        }
    }
    return n;
}

inline void finish_report(quantization_report* report, const format_info& f, const packed_shape& s, const std::vector<row_errors>& rows,
                          std::size_t outliers = 0) {
    if (!report) return;
    *report = {};
    summarize(*report, s.cols, rows);
    report->bytes = stored_bytes(f, s, outliers);
    report->bits = bits_per_weight(f, s, outliers);
    report->outliers = outliers;
    report->groups = rows_layout::scale_count(f, s);
    for (const row_errors& e : rows) {
        report->zero_groups += e.zero_groups;
        report->clipped += e.clipped;
        report->underflowed += e.underflowed;
    }
}

// Rows of codes to what they stand for. values[256]: of the codes.
class row_decoder {
public:
    row_decoder(const format_info& f, const packed_shape& s, const float* values) : shape_(s), has_zero_(f.has_zero()), values_(values) {
        using kernels::code_values;
        bool themselves = f.bits == 8;
        for (std::size_t q = 0; q < 256; ++q) themselves = themselves && values[q] == float(std::int8_t(q));
        const std::size_t isa = std::size_t(isa::active());
        kernel_ = themselves    ? kernels::decode_row<code_values::signed_bytes>[isa]
                  : f.bits <= 4 ? kernels::decode_row<code_values::sixteen>[isa]
                                : kernels::decode_row<code_values::any>[isa];
    }
    void decode(const unpacked_row& in, float* out) const {
        kernel_({shape_.cols, shape_.group_size(), in.scales, has_zero_ ? in.zeros : nullptr, values_}, in.codes, out);
    }

private:
    packed_shape shape_;
    bool has_zero_;
    const float* values_;
    void (*kernel_)(const kernels::decode_args&, const std::uint8_t*, float*) noexcept;
};

// What a thread needs for the rows of a panel, kept from panel to panel.
struct panel_space {
    std::size_t groups, code_step;
    std::vector<float> block, scales, decoded;
    std::vector<std::uint8_t> codes, zeros;
    std::vector<group_range> ranges;
    float largest_error = 0;  // of all rows so far

    panel_space(const format_info& f, const packed_shape& s, std::size_t rows = panel_rows)
        : groups(s.groups()),
          code_step(round_up(s.cols * (f.is_dense() ? std::size_t(f.bits) / 8 : 1), 4) + 16),  // encode_row() may write 16 behind the last code
          scales(rows * groups),
          decoded(s.cols),
          codes(rows * code_step),
          zeros(rows * groups),
          ranges(groups) {}
    unpacked_row row(std::size_t r) { return {&codes[r * code_step], &scales[r * groups], &zeros[r * groups]}; }
};

// The outlier columns of w as f16. Errors: invalid_argument (no columns of w, or not in order), unsupported (of such formats),
// not_finite, scale_range (beyond f16), naming row and column.
template <class Layout, class T>
result<outlier_columns> keep_outliers(const matrix_view<T>& w, const format_info& f, const quantize_options& options) {
    outlier_columns kept{{options.outliers.begin(), options.outliers.end()}, {}};
    const std::size_t count = kept.columns.size();
    if (count == 0) return kept;
    if (f.is_dense()) return error{errc::unsupported, std::string("qnt::quantize: ") + f.code_name + " has no codes to keep outlier columns beside"};
    if (options.compat != compatibility::none)
        return error{errc::unsupported, "qnt::quantize: other systems store no outlier columns; use compat = none"};
    if (!is_ascending(kept.columns, w.cols))
        return error{errc::invalid_argument, "qnt::quantize: the outlier columns must be ascending and among the matrix's " + std::to_string(w.cols)};
    kept.values.resize(outlier_values<Layout>(w.rows, count));
    for (std::size_t r = 0; r < w.rows; ++r)
        for (std::size_t i = 0; i < count; ++i) {
            const float v = float(w(r, kept.columns[i]));
            const f16 narrow(v);
            kept.values[outlier_at<Layout>(r, i, count)] = narrow;
            if (is_finite(float(narrow))) continue;
            const std::string where = "qnt::quantize: row " + std::to_string(r) + ", column " + std::to_string(kept.columns[i]);
            if (!is_finite(v)) return error{errc::not_finite, where + " is not a finite number"};
            return error{errc::scale_range, where + ": " + number_text(v) + " overflows the f16 of an outlier column; scale the weights down"};
        }
    return kept;
}

// w[rows, cols] into a zeroed buffer of the layout.
template <quantized_code Code, class Layout, class T>
result<aligned_buffer> quantize_into(const matrix_view<T>& w, const format_info& f, const packed_shape& s, const quantize_options& options,
                                     executor_ref executor) {
    QNT_TRY(check_compatibility(f, s, options.compat));
    auto allocated = aligned_buffer::allocate(buffer_bytes_of<Layout>(f, s));
    if (!allocated) return allocated.error();
    aligned_buffer buffer = std::move(*allocated);
    const quantizer<Code> q(f, s, options);
    const row_decoder decoder(f, s, f.tables->values);
    const std::size_t groups = s.groups(), blocks = ceil_div(s.rows, panel_rows);
    // Scales that depend on the whole matrix are settled first, in a pass of their own.
    const bool global = f.kind == granularity::tensor || f.is_nested;
    std::vector<float> all_scales(global ? s.rows * groups : 0);
    std::vector<row_errors> errors(s.rows);
    first_failure failed;

    const auto for_blocks = [&](auto&& work) {
        executor.parallel_for(blocks, 1, [&](std::size_t begin, std::size_t end) {
            const fp_env env;
            panel_space space(f, s);
            for (std::size_t b = begin; b < end; ++b) {
                const std::size_t first = b * panel_rows, count = s.rows - first < panel_rows ? s.rows - first : panel_rows;
                work(first, dense_block(w, first, count, space.block, options.outliers), space);
            }
        });
    };
    nested_scales nested;
    if (global) {
        for_blocks([&](std::size_t first, const matrix_view<const float>& x, panel_space& space) {
            for (std::size_t r = 0; r < x.rows; ++r)
                if (!q.scale_row(x.row(r), space.ranges.data(), &all_scales[(first + r) * groups], space.zeros.data(), errors[first + r]))
                    failed.note(first + r);
        });
        if (!failed.any() && f.kind == granularity::tensor) {
            float top = 0;  // of the rows' own scales: rounding is monotonic, so this is the scale of the matrix
            for (const float v : all_scales) top = v > top ? v : top;
            std::fill(all_scales.begin(), all_scales.end(), top);
            std::size_t lost = s.rows;  // the first row whose own scale underflows
            for (std::size_t r = s.rows; r-- > 0;) {
                if (errors[r].underflowed) lost = r;
                errors[r].zero_groups = errors[r].underflowed = 0;
            }
            if (top == 0 && lost == s.rows) errors[0].zero_groups = 1;
            if (top == 0 && lost < s.rows) {
                errors[lost].underflowed = 1;
                if (options.strict) failed.note(lost);
            }
        } else if (!failed.any()) {
            nested = quantize_scales(all_scales, options.compat);
        }
    }
    if (!failed.any())
        for_blocks([&](std::size_t first, const matrix_view<const float>& x, panel_space& space) {
            for (std::size_t r = 0; r < x.rows; ++r) {
                const std::size_t row = first + r;
                const unpacked_row out = space.row(r);
                if (global) std::copy_n(&all_scales[row * groups], groups, out.scales);
                else if (!q.scale_row(x.row(r), space.ranges.data(), out.scales, out.zeros, errors[row])) failed.note(row);
                if (failed.row() <= row) return;  // rows before a failed one are still looked at: the first one is named
                if (options.report && q.encode_and_measure_row(x.row(r), out, space.decoded.data(), errors[row], space.largest_error)) continue;
                q.encode_row(x.row(r), out.scales, out.zeros, out.codes, errors[row]);
                if (options.report) {
                    decoder.decode(out, space.decoded.data());
                    for (const std::uint32_t c : options.outliers) {
                        const float v = space.block[r * s.cols + c] = float(w(row, c));
                        space.decoded[c] = float(f16(v));
                    }
                    set_errors(errors[row], x.row(r), space.decoded.data(), s.cols, space.largest_error);
                }
            }
            place_rows<Layout>(buffer.data(), f, s, first, space.row(0), space.code_step, x.rows);
        });
    if (failed.any()) {
        std::vector<float> x;
        return explain_row(dense_block(w, failed.row(), 1, x, options.outliers).data, failed.row(), f, s, Code::absmax);
    }
    if constexpr (std::same_as<Layout, layout::rows>)
        if (f.is_nested) {
            const rows_layout at(f, s);
            std::memcpy(buffer.data() + at.scales.begin, nested.codes.data(), nested.codes.size());
            std::memcpy(buffer.data() + at.outer.begin, nested.absmax.data(), nested.absmax.size() * sizeof(float));
            std::memcpy(buffer.data() + at.outer.end() - sizeof(float), &nested.offset, sizeof(float));
        }
    finish_report(options.report, f, s, errors, options.outliers.size());
    return buffer;
}

constexpr scalar_type dense_type(const format_info& f) {
    return f.family == operand_family::dense_f32 ? scalar_type::f32 : f.family == operand_family::dense_f16 ? scalar_type::f16 : scalar_type::bf16;
}

// n numbers of a dense type at `bytes`, which is aligned for them, as f32, and the reverse.
inline void to_f32(const std::uint8_t* bytes, std::size_t n, scalar_type type, float* out) {
    if (type == scalar_type::f32) std::memcpy(out, bytes, n * sizeof(float));
    else kernels::widen_row[std::size_t(isa::active())](reinterpret_cast<const std::uint16_t*>(bytes), n, type, out);
}
inline void from_f32(const float* x, std::size_t n, scalar_type type, std::uint8_t* bytes) {
    if (type == scalar_type::f32) std::memcpy(bytes, x, n * sizeof(float));
    else kernels::narrow_row[std::size_t(isa::active())](x, n, type, reinterpret_cast<std::uint16_t*>(bytes));
}

// Dense formats: numbers narrowed to their type.
template <class Layout, class T>
result<aligned_buffer> narrow_into(const matrix_view<T>& w, const format_info& f, const packed_shape& s, const quantize_options& options,
                                   executor_ref executor) {
    if (options.compat != compatibility::none) return error{errc::unsupported, "qnt::quantize: dense formats have no compatibility rules"};
    auto allocated = aligned_buffer::allocate(buffer_bytes_of<Layout>(f, s));
    if (!allocated) return allocated.error();
    aligned_buffer buffer = std::move(*allocated);
    const scalar_type type = dense_type(f);
    std::vector<row_errors> errors(s.rows);
    first_failure failed;
    executor.parallel_for(ceil_div(s.rows, panel_rows), 1, [&](std::size_t begin, std::size_t end) {
        const fp_env env;
        panel_space space(f, s);
        for (std::size_t first = begin * panel_rows; first < end * panel_rows && first < s.rows; first += panel_rows) {
            const matrix_view<const float> x = dense_block(w, first, s.rows - first < panel_rows ? s.rows - first : panel_rows, space.block);
            for (std::size_t r = 0; r < x.rows; ++r) {
                std::uint8_t* const narrow = space.row(r).codes;
                from_f32(x.row(r), s.cols, type, narrow);
                to_f32(narrow, s.cols, type, space.decoded.data());
                if (!range_of(space.decoded.data(), s.cols).finite()) failed.note(first + r);
                if (options.report) set_errors(errors[first + r], x.row(r), space.decoded.data(), s.cols, space.largest_error);
            }
            place_rows<Layout>(buffer.data(), f, s, first, space.row(0), space.code_step, x.rows);
        }
    });
    if (failed.any()) {
        std::vector<float> x(s.cols);
        load_block(w, failed.row(), 1, x.data());
        std::size_t c = 0;
        while (is_finite(round_to(type, x[c]))) ++c;
        const std::string where = "qnt::quantize: row " + std::to_string(failed.row()) + ", column " + std::to_string(c);
        if (!is_finite(x[c])) return error{errc::not_finite, where + " is not a finite number"};
        return error{errc::scale_range, where + ": " + number_text(x[c]) + " overflows " + name_of(type) + "; use bf16 or f32"};
    }
    finish_report(options.report, f, s, errors);
    return buffer;
}

// The bytes of a matrix, and what is kept beside them.
struct quantized_bytes {
    aligned_buffer codes;
    outlier_columns outliers;
};

template <code Code, class Layout, class T>
result<quantized_bytes> quantize_as(const matrix_view<T>& w, const format_info& f, const packed_shape& s, const quantize_options& options,
                                    executor_ref executor) {
    const fp_env env;
    if (f.is_grouped() != (s.group != 0) || s.group % 16 != 0)
        return error{errc::invalid_argument, f.is_grouped()
                                                 ? "qnt::quantize: group size " + std::to_string(s.group) + " is not a positive multiple of 16"
                                                 : std::string("qnt::quantize: this format has no groups")};
    if (s.rows == 0 || s.cols == 0)
        return error{errc::invalid_argument,
                     "qnt::quantize: a [" + std::to_string(s.rows) + ", " + std::to_string(s.cols) + "] matrix has no weights"};
    auto outliers = keep_outliers<Layout>(w, f, options);
    if (!outliers) return outliers.error();
    auto codes = [&] {
        if constexpr (dense<Code>) return narrow_into<Layout>(w, f, s, options, executor);
        else return quantize_into<Code, Layout>(w, f, s, options, executor);
    }();
    if (!codes) return codes.error();
    return quantized_bytes{std::move(*codes), std::move(*outliers)};
}

// Rows of any packed matrix as f32: the exact values, or those that the integer operands stand for.
template <class Layout> class row_reader {
public:
    explicit row_reader(const any_view<Layout>& w, compute_mode mode = exact, std::size_t most_rows = panel_rows)
        : w_(w),
          values_(values_of(*w.format.tables, mode)),
          decoder_(w.format, w.shape, values_.data()),
          space_(w.format, w.shape, most_rows),
          in_order_(w.columns ? w.shape.cols : 0) {}
    row_reader(const row_reader&) = delete;
    row_reader& operator=(const row_reader&) = delete;

    // Rows [first, first + count), all of one panel and at most most_rows, to out, `step` apart.
    void read(std::size_t first, std::size_t count, float* out, std::size_t step) {
        unpack_rows(w_, first, count, space_.row(0), space_.code_step);
        for (std::size_t r = 0; r < count; ++r, out += step) {
            decode(space_.row(r), w_.columns ? in_order_.data() : out);
            for (std::size_t k = 0; k < in_order_.size(); ++k) out[w_.columns[k]] = in_order_[k];
            const outlier_view& kept = w_.outliers;
            for (std::size_t i = 0; i < kept.count(); ++i) out[kept.columns[i]] = float(kept.values[outlier_at<Layout>(first + r, i, kept.count())]);
        }
    }

private:
    void decode(const unpacked_row& row, float* out) const {
        if (w_.format.is_dense()) to_f32(row.codes, w_.shape.cols, dense_type(w_.format), out);
        else decoder_.decode(row, out);
    }
    static std::array<float, 256> values_of(const code_tables& t, compute_mode mode) {
        std::array<float, 256> values;
        for (std::size_t q = 0; q < 256; ++q) values[q] = mode == int8_activations ? mul(float(t.operands[q]), t.unit) : t.values[q];
        return values;
    }

    any_view<Layout> w_;
    std::array<float, 256> values_;
    row_decoder decoder_;
    panel_space space_;
    std::vector<float> in_order_;
};

template <class Layout> void dequantize_rows(const matrix_view<float>& out, const any_view<Layout>& w, executor_ref executor) {
    if (out.rows != w.shape.rows || out.cols != w.shape.cols)
        contract_violation("qnt::dequantize: out[" + std::to_string(out.rows) + ", " + std::to_string(out.cols) + "] must have the shape of w[" +
                           std::to_string(w.shape.rows) + ", " + std::to_string(w.shape.cols) + "]");
    executor.parallel_for(ceil_div(w.shape.rows, panel_rows), 1, [&](std::size_t begin, std::size_t end) {
        const fp_env env;
        row_reader<Layout> reader(w);
        std::vector<float> values(out.col_stride == 1 ? 0 : panel_rows * out.cols);
        for (std::size_t first = begin * panel_rows; first < end * panel_rows && first < out.rows; first += panel_rows) {
            const std::size_t count = out.rows - first < panel_rows ? out.rows - first : panel_rows;
            if (out.col_stride == 1) {
                reader.read(first, count, out.row(first), out.row_stride);
                continue;
            }
            reader.read(first, count, values.data(), out.cols);
            for (std::size_t r = 0; r < count; ++r)
                for (std::size_t c = 0; c < out.cols; ++c) out(first + r, c) = values[r * out.cols + c];
        }
    });
}

template <class T, class Layout>
error_stats compare_rows(const matrix_view<T>& w, const any_view<Layout>& packed, compute_mode mode, executor_ref executor) {
    if (w.rows != packed.shape.rows || w.cols != packed.shape.cols)
        contract_violation("qnt::compare: w[" + std::to_string(w.rows) + ", " + std::to_string(w.cols) +
                           "] must have the shape of the packed matrix [" + std::to_string(packed.shape.rows) + ", " +
                           std::to_string(packed.shape.cols) + "]");
    if (mode == automatic) mode = packed.format.is_dense() ? exact : int8_activations;  // as a product does
    if (mode == int8_activations && packed.format.is_dense())
        contract_violation(std::string("qnt::compare: ") + packed.format.code_name +
                           " weights have no int8_activations mode; use exact or automatic");
    const fp_env caller_env;
    std::vector<row_errors> errors(w.rows);
    executor.parallel_for(ceil_div(w.rows, panel_rows), 1, [&](std::size_t begin, std::size_t end) {
        const fp_env env;
        row_reader<Layout> reader(packed, mode);
        std::vector<float> block, v(panel_rows * w.cols);
        float largest = 0;
        for (std::size_t first = begin * panel_rows; first < end * panel_rows && first < w.rows; first += panel_rows) {
            const matrix_view<const float> x = dense_block(w, first, w.rows - first < panel_rows ? w.rows - first : panel_rows, block);
            reader.read(first, x.rows, v.data(), w.cols);
            for (std::size_t r = 0; r < x.rows; ++r) set_errors(errors[first + r], x.row(r), &v[r * w.cols], w.cols, largest);
        }
    });
    error_stats s;
    summarize(s, w.cols, errors);
    return s;
}

template <class To, class From> outlier_columns repack_outliers(const outlier_view& from, std::size_t rows) {
    outlier_columns out{{from.columns.begin(), from.columns.end()}, {}};
    const std::size_t count = from.count();
    out.values.resize(outlier_values<To>(rows, count));
    for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t i = 0; i < count; ++i) out.values[outlier_at<To>(r, i, count)] = from.values[outlier_at<From>(r, i, count)];
    return out;
}

// The same codes and scales in the other layout.
template <class To, class From> result<aligned_buffer> repack_into(const any_view<From>& w) {
    const fp_env env;
    auto allocated = aligned_buffer::allocate(buffer_bytes_of<To>(w.format, w.shape));
    if (!allocated) return allocated.error();
    aligned_buffer buffer = std::move(*allocated);
    panel_space space(w.format, w.shape);
    for (std::size_t first = 0; first < w.shape.rows; first += panel_rows) {
        const std::size_t count = w.shape.rows - first < panel_rows ? w.shape.rows - first : panel_rows;
        unpack_rows(w, first, count, space.row(0), space.code_step);
        place_rows<To>(buffer.data(), w.format, w.shape, first, space.row(0), space.code_step, count);
    }
    return buffer;
}

}  // namespace QNT_BASELINE
}  // namespace detail

inline namespace QNT_BASELINE {

// w[rows, cols] of f32, f16 or bf16, any strides.
template <format_type F, class Layout = layout::panels, class T>
    requires is_static_group<F> && scalar<std::remove_const_t<T>>
result<packed_matrix<F, Layout>> quantize(const matrix_view<T>& w, const quantize_options& options = {}, executor_ref executor = {}) {
    const packed_shape shape = shape_of<F>(w.rows, w.cols);
    auto bytes = detail::quantize_as<typename F::code, Layout>(w, info_of<F>, shape, options, executor);
    if (!bytes) return bytes.error();
    return packed_matrix<F, Layout>(shape, std::move(bytes->codes), std::move(bytes->outliers));
}

// out[rows, cols] = decoded weights: (value(q) - z) * scale, rounded once.
template <format_type F, class Layout> void dequantize(const matrix_view<float>& out, const packed_view<F, Layout>& w, executor_ref executor = {}) {
    detail::dequantize_rows<Layout>(out, w, executor);
}
template <format_type F, class Layout> void dequantize(const matrix_view<float>& out, const packed_matrix<F, Layout>& w, executor_ref executor = {}) {
    dequantize(out, w.view(), executor);
}

// What was lost: `exact` measures the decoded weights, `int8_activations` the integer operands that mode multiplies by, `automatic`
// what a product in that mode would.
template <class T, format_type F, class Layout>
error_stats compare(const matrix_view<T>& w, const packed_view<F, Layout>& packed, compute_mode mode = exact, executor_ref executor = {}) {
    return detail::compare_rows<T, Layout>(w, packed, mode, executor);
}
template <class T, format_type F, class Layout>
error_stats compare(const matrix_view<T>& w, const packed_matrix<F, Layout>& packed, compute_mode mode = exact, executor_ref executor = {}) {
    return compare(w, packed.view(), mode, executor);
}

// The same matrix in layout To. Panels hold nested scales expanded: from there is no way back to the nested ones.
template <class To, format_type F, class From>
    requires(std::same_as<To, layout::panels> || !F::scaling::is_nested)
result<packed_matrix<F, To>> repack(const packed_view<F, From>& w) {
    auto buffer = detail::repack_into<To, From>(w);
    if (!buffer) return buffer.error();
    return packed_matrix<F, To>(w.shape, std::move(*buffer), detail::repack_outliers<To, From>(w.outliers, w.rows()));
}
template <class To, format_type F, class From>
    requires(std::same_as<To, layout::panels> || !F::scaling::is_nested)
result<packed_matrix<F, To>> repack(const packed_matrix<F, From>& w) {
    return repack<To>(w.view());
}

}  // namespace QNT_BASELINE
}  // namespace qnt
