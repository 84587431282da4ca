// Checkpoints of AWQ (AutoAWQ), version "gemm", 4 bits, in safetensors files.
//
//     auto file = qnt::safetensors_file::open("model.safetensors").value();
//     qnt::parse_awq_config(text_of_config_json).value();                       // refuses gemv, gemv_fast, marlin, .. by name
//     auto q    = qnt::read_awq(file, "model.layers.0.self_attn.q_proj", pool).value();
//     gemm(y, x, q.weights.view());   q.bias;
//
// X.qweight i32 [in, out / 8], X.qzeros i32 [groups, out / 8], X.scales f16 [groups, out], X.bias. Nibble n of word c, lowest bits first,
// belongs to output 8 c + {0, 2, 4, 6, 1, 3, 5, 7}[n]. Weight [o, i] = (q - z) * scales[i / G, o]. A matrix keeps its codes: uint4:G, or
// int4:G where all zero points are 8.
#pragma once
#include "grouped_integers.hpp"

namespace qnt {

struct awq_options {
    std::size_t group_size = 0;  // as a config says; 0: as the shapes say
};

struct awq_tensor {
    std::size_t rows = 0, cols = 0;  // [out, in]
    std::size_t groups = 0, group = 0;
    bool symmetric = false;                   // all zero points are 8
    std::optional<any_format> packed_format;  // of read_awq(), if it can
    std::vector<std::string> parts;           // the tensors' names, qweight first
};
struct awq_matrix {
    any_matrix weights;       // [out, in]
    std::vector<float> bias;  // [out], or none
};
struct awq_values {
    std::vector<float> weights;  // [out, in]
    std::vector<float> bias;
    std::size_t rows = 0, cols = 0;
};

namespace detail {
inline namespace QNT_BASELINE {

// Of words [.., outputs / 8]: the nibble of output `row` in line `line`.
inline unsigned awq_nibble(const std::byte* words, std::size_t words_per_line, std::size_t line, std::size_t row) {
    constexpr unsigned nibble_of[8] = {0, 4, 1, 5, 2, 6, 3, 7};
    return load_u32(words + (line * words_per_line + row / 8) * 4) >> 4 * nibble_of[row % 8] & 15;
}

struct awq_source {
    grouped_integers integers;
    const std::byte* words = nullptr;

    unsigned operator()(std::size_t row, std::size_t k) const { return awq_nibble(words, integers.rows / 8, k, row); }
};

inline result<awq_source> open_awq(const safetensors_file& file, std::string_view prefix) {
    const std::string name(prefix);
    awq_source s;
    grouped_integers& w = s.integers;
    w.name = name + ".qweight";
    const auto weight = find_words(file, w.name), zeros = find_words(file, name + ".qzeros");
    if (!weight) return weight.error();
    if (!zeros) return zeros.error();
    w.cols = (*weight)->shape[0];
    w.rows = (*weight)->shape[1] * 8;  // of a tensor with elements: no overflow
    w.groups = (*zeros)->shape[0];
    if ((*zeros)->shape[1] != (*weight)->shape[1] || w.cols % w.groups != 0)
        return bad_tensor(file, name + ".qzeros",
                          "shape " + shape_text((*zeros)->shape) + " does not fit qweight " + shape_text((*weight)->shape) +
                              ", [in, out / 8] in version \"gemm\": [groups, out / 8] with equal groups; other versions cannot be read");
    auto scales = read_group_scales(file, name + ".scales", w);
    if (!scales) return scales.error();
    w.scales = std::move(*scales);
    w.group_of.resize(w.cols);
    for (std::size_t k = 0; k < w.cols; ++k) w.group_of[k] = std::uint32_t(k / (w.cols / w.groups));
    w.zeros.resize(w.groups * w.rows);
    for (std::size_t i = 0; i < w.zeros.size(); ++i)
        w.zeros[i] = std::uint16_t(awq_nibble((*zeros)->data.data(), w.rows / 8, i / w.rows, i % w.rows));
    s.words = (*weight)->data.data();
    return s;
}

}  // namespace QNT_BASELINE
}  // namespace detail

inline namespace QNT_BASELINE {

// Of quant_config.json, or of config.json, where it is the member "quantization_config". Errors: corrupt, unsupported (by name).
inline result<awq_options> parse_awq_config(std::string_view text) {
    awq_options o;
    QNT_TRY(detail::read_quantization_config(text, [&](json_reader& in, std::string_view key) -> result<void> {
        const auto refused = [](const std::string& value, const char* known) {
            return error{errc::unsupported, value + " cannot be read, " + known + " can"};
        };
        if (key == "bits" || key == "w_bit") {
            const auto bits = in.uint64();
            if (!bits) return bits.error();
            return *bits == 4 ? result<void>() : refused(std::to_string(*bits), "4");
        }
        if (key == "group_size" || key == "q_group_size") return detail::assign(o.group_size, detail::read_group_size(in));
        if (key != "quant_method" && key != "version") return in.skip();
        const auto value = in.string();
        if (!value) return value.error();
        const char* const known = key == "version" ? "gemm" : "awq";
        return detail::lower_case(*value) == known ? result<void>() : refused(in_quotes(*value), known);
    }));
    return o;
}
inline result<void> check_awq_config(std::string_view text) {
    const auto o = parse_awq_config(text);
    return o ? result<void>() : o.error();
}

// What the matrix "X" of X.qweight is, without a look at its codes. Errors: not_found, corrupt, not_finite, unsupported.
inline result<awq_tensor> find_awq(const safetensors_file& file, std::string_view name, const awq_options& options = {}) {
    const auto source = detail::open_awq(file, name);
    if (!source) return source.error();
    const detail::grouped_integers& w = source->integers;
    awq_tensor t{w.rows, w.cols, w.groups, w.cols / w.groups, detail::has_zero_everywhere(w, 8), {}, {}};
    const std::string prefix(name);
    if (options.group_size && ceil_div(t.cols, options.group_size) != t.groups)
        return detail::bad_tensor(file, prefix + ".qzeros",
                                  std::to_string(t.groups) + " groups for " + std::to_string(t.cols) +
                                      " inputs: not those of field \"group_size\", " + std::to_string(options.group_size));
    if (const auto format = detail::panel_format(file, w, detail::order_of_groups(w))) t.packed_format = *format;
    for (const char* part : {".qweight", ".qzeros", ".scales", ".bias"})
        if (detail::has_tensor(file, prefix + part)) t.parts.push_back(prefix + part);
    return t;
}

// The matrix "X" of X.qweight: the same codes in panels. Errors: not_found, corrupt, not_finite, out_of_memory, unsupported (another word
// type, or groups that our formats do not have: the message says which).
inline result<awq_matrix> read_awq(const safetensors_file& file, std::string_view name, executor_ref executor = {}) {
    const auto source = detail::open_awq(file, name);
    if (!source) return source.error();
    auto bias = detail::read_bias(file, std::string(name) + ".bias", source->integers.rows);
    if (!bias) return bias.error();
    auto weights = detail::pack_integers(file, source->integers, *source, executor);
    if (!weights) return weights.error();
    return awq_matrix{std::move(*weights), std::move(*bias)};
}

// The weights as f32: (q - z) * scale, rounded once.
inline result<awq_values> read_awq_f32(const safetensors_file& file, std::string_view name, executor_ref executor = {}) {
    const auto source = detail::open_awq(file, name);
    if (!source) return source.error();
    auto bias = detail::read_bias(file, std::string(name) + ".bias", source->integers.rows);
    if (!bias) return bias.error();
    return awq_values{detail::decode_integers(source->integers, *source, executor), std::move(*bias), source->integers.rows, source->integers.cols};
}

}  // namespace QNT_BASELINE
}  // namespace qnt
