// Weights (q - z) * scale with a zero point and a scale per group of columns and output: what GPTQ and AWQ share once their words are
// unpacked. Two ways out: panels with the same codes, or f32.
#pragma once
#include "checkpoint.hpp"

namespace qnt::detail {

struct grouped_integers {
    std::string name;  // of the tensor with the codes, for messages
    std::size_t rows = 0, cols = 0, groups = 0;
    int bits = 4;
    scalar_type scale_type = scalar_type::f16;
    std::vector<float> scales;            // [groups, rows]
    std::vector<std::uint16_t> zeros;     // [groups, rows]
    std::vector<std::uint32_t> group_of;  // [cols], each < groups
};

// Columns in the order of their groups, and how many go to a scale of ours.
struct group_order {
    std::vector<std::uint32_t> columns;  // empty: they are in order
    std::size_t group = 0;               // 0: the groups are not alike
};

inline namespace QNT_BASELINE {

inline bool has_zero_everywhere(const grouped_integers& w, unsigned z) {
    return std::all_of(w.zeros.begin(), w.zeros.end(), [=](std::uint16_t v) { return v == z; });
}

inline result<std::vector<float>> read_group_scales(const safetensors_file& file, std::string_view name, grouped_integers& w) {
    const std::size_t shape[] = {w.groups, w.rows};
    auto scales = read_part_f32(file, name, shape);
    if (!scales) return scales;
    const safetensors_dtype d = (*file.find(name).value()).dtype;
    w.scale_type = d == safetensors_dtype::f16 ? scalar_type::f16 : d == safetensors_dtype::bf16 ? scalar_type::bf16 : scalar_type::f32;
    return scales;
}

// Stable, so that columns of a group keep their order.
inline group_order order_of_groups(const grouped_integers& w) {
    std::vector<std::size_t> begin(w.groups + 1);
    for (const std::uint32_t g : w.group_of) ++begin[g + 1];
    group_order order;
    order.group = w.groups == 1 ? round_up(w.cols, 16) : begin[1];
    for (std::size_t g = 0; g < w.groups; ++g) {
        const std::size_t length = begin[g + 1];
        const bool is_last = g + 1 == w.groups;
        if (length == 0 || length > order.group || (!is_last && length != order.group)) order.group = 0;
        begin[g + 1] += begin[g];
        if (order.group == 0) return order;
    }
    if (std::is_sorted(w.group_of.begin(), w.group_of.end())) return order;
    order.columns.resize(w.cols);
    for (std::size_t k = 0; k < w.cols; ++k) order.columns[begin[w.group_of[k]]++] = std::uint32_t(k);
    return order;
}

inline error no_panels(const safetensors_file& file, const grouped_integers& w, const std::string& why) {
    return bad_tensor(file, w.name, why + "; decoded to f32 it can be read", errc::unsupported);
}

// What holds the codes as they are: of 8 bits only if they fit, see fits_int8(). Errors: unsupported, saying what our formats cannot hold.
inline result<any_format> panel_format(const safetensors_file& file, const grouped_integers& w, const group_order& order) {
    const auto refused = [&](const std::string& why) { return no_panels(file, w, why); };
    if (w.cols > std::uint32_t(-1)) return refused(std::to_string(w.cols) + " columns are too many");
    if (order.group == 0) return refused("its groups have different numbers of columns");
    if (order.group % 16 != 0) return refused("groups of " + std::to_string(order.group) + " columns are no multiple of 16");

    const bool is_symmetric = w.bits == 4 && has_zero_everywhere(w, 8);
    any_format format{w.bits == 8    ? info_of<int8_group<dynamic_group>>
                      : is_symmetric ? info_of<int4<dynamic_group>>
                                     : info_of<uint4<dynamic_group>>,
                      order.group};
    format.info.scale = w.scale_type;
    if (format.info.has_zero()) {
        const auto large = std::find_if(w.zeros.begin(), w.zeros.end(), [](std::uint16_t z) { return z > uint4_code::max_zero; });
        const std::size_t at = std::size_t(large - w.zeros.begin());
        if (large != w.zeros.end())
            return refused("the zero point of output " + std::to_string(at % w.rows) + ", group " + std::to_string(at / w.rows) + " is " +
                           std::to_string(*large) + ", uint4 has 0 to 15");
    }
    return format;
}

template <class Code> bool fits_int8(const grouped_integers& w, const Code& code) {
    for (std::size_t row = 0; row < w.rows; ++row)
        for (std::size_t k = 0; k < w.cols; ++k) {
            const int level = int(code(row, k)) - int(w.zeros[w.group_of[k] * w.rows + row]);
            if (level < -127 || level > 127) return false;
        }
    return true;
}

// code(row, k): of the user's column k. Errors: unsupported, saying what our formats cannot hold.
template <class Code>
result<any_matrix> pack_integers(const safetensors_file& file, const grouped_integers& w, const Code& code, executor_ref executor) {
    const group_order order = order_of_groups(w);
    const auto format = panel_format(file, w, order);
    if (!format) return format.error();
    const std::uint32_t* columns = order.columns.empty() ? nullptr : order.columns.data();
    const auto read_row = [&](std::size_t row, const unpacked_row& out) -> result<void> {
        for (std::size_t g = 0, k = 0; g < w.groups; ++g) {
            const unsigned zero = w.zeros[g * w.rows + row];
            out.scales[g] = w.scales[g * w.rows + row];
            out.zeros[g] = std::uint8_t(zero);
            for (const std::size_t end = std::min(k + order.group, w.cols); k < end; ++k) {
                const std::size_t column = columns ? columns[k] : k;
                const unsigned q = code(row, column);
                if (w.bits < 8) {
                    out.codes[k] = std::uint8_t(q);
                    continue;
                }
                const int level = int(q) - int(zero);
                if (level < -127 || level > 127)
                    return no_panels(file, w,
                                     "output " + std::to_string(row) + ", column " + std::to_string(column) + ": code " + std::to_string(q) +
                                         " less its zero point is " + std::to_string(level) + ", int8 panels have -127 to 127");
                out.codes[k] = std::uint8_t(std::int8_t(level));
            }
        }
        return {};
    };
    return pack_matrix(*format, w.rows, w.cols, read_row, executor, order.columns);
}

// [rows, cols]: (q - z) * scale, rounded once.
template <class Code> std::vector<float> decode_integers(const grouped_integers& w, const Code& code, executor_ref executor) {
    std::vector<float> out(w.rows * w.cols);
    executor.parallel_for(w.rows, 16, [&](std::size_t begin, std::size_t end) {
        const fp_env env;
        for (std::size_t row = begin; row < end; ++row)
            for (std::size_t k = 0; k < w.cols; ++k) {
                const std::size_t at = w.group_of[k] * w.rows + row;
                out[row * w.cols + k] = mul(float(int(code(row, k)) - int(w.zeros[at])), w.scales[at]);
            }
    });
    return out;
}

// X.bias [rows], nothing if there is none.
inline result<std::vector<float>> read_bias(const safetensors_file& file, const std::string& name, std::size_t rows) {
    if (!has_tensor(file, name)) return std::vector<float>();
    return read_part_f32(file, name, std::span(&rows, 1));
}

}  // namespace QNT_BASELINE
}  // namespace qnt::detail
