// Checkpoints of AWQ (AutoAWQ), version "gemm", 4 bits, in safetensors files.
//
//     auto file = qnt::safetensors_file::open("model.safetensors").value();
//     qnt::check_awq_config(text_of_config_json).value();                       // refuses gemv, gemv_fast, marlin, .. by name
//     auto q    = qnt::read_awq(file, "model.layers.0.self_attn.q_proj", pool).value();
//     gemm(y, x, q.weights.view());   q.bias;
//
// X.qweight i32 [in, out / 8], X.qzeros i32 [groups, out / 8], X.scales f16 [groups, out], X.bias. Nibble n of word c, lowest bits first,
// belongs to output 8 c + {0, 2, 4, 6, 1, 3, 5, 7}[n]. Weight [o, i] = (q - z) * scales[i / G, o]. A matrix keeps its codes: uint4:G, or
// int4:G where all zero points are 8.
#pragma once
#include "grouped_integers.hpp"

namespace qnt {

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
inline result<void> check_awq_config(std::string_view text) {
    return detail::read_quantization_config(text, [&](json_reader& in, std::string_view key) -> result<void> {
        const auto refused = [](const std::string& value, const char* known) {
            return error{errc::unsupported, value + " cannot be read, " + known + " can"};
        };
        if (key == "bits" || key == "w_bit") {
            const auto bits = in.uint64();
            if (!bits) return bits.error();
            return *bits == 4 ? result<void>() : refused(std::to_string(*bits), "4");
        }
        if (key != "quant_method" && key != "version") return in.skip();
        const auto value = in.string();
        if (!value) return value.error();
        std::string lower = *value;
        for (char& c : lower) c = c >= 'A' && c <= 'Z' ? char(c + ('a' - 'A')) : c;
        const char* const known = key == "version" ? "gemm" : "awq";
        return lower == known ? result<void>() : refused(in_quotes(*value), known);
    });
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
