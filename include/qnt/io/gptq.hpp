// Checkpoints of GPTQ (GPTQModel, AutoGPTQ: "gptq" and "gptq_v2") of 2, 3, 4 and 8 bits in safetensors files.
//
//     auto file   = qnt::safetensors_file::open("model.safetensors").value();
//     auto config = qnt::parse_gptq_config(text_of_quantize_config).value();               // or {}: nothing is known
//     auto q      = qnt::read_gptq(file, "model.layers.0.self_attn.q_proj", config, pool).value();
//     gemm(y, x, q.weights.view());   q.bias;   q.info.convention;                          // v1 or v2, and q.info.evidence says why
//
// X.qweight i32 [ceil(in * bits / 32), out], down the inputs, lowest bits first; X.qzeros i32 [groups, ceil(out * bits / 32)], along the
// outputs; X.scales f16 [groups, out]; X.g_idx i32 [in], the group of each input; X.bias. Weight [o, i] = (q - z) * scales[g_idx[i], o],
// z = stored + 1 (v1) or stored (v2).
//
// Files are mislabelled, so where all stored zero points are 2^(bits - 1) - 1 or 2^(bits - 1), as they are in symmetric matrices, they decide:
// v1 or v2. Matrices keep their codes: int4:G (4 bits, all zero points 8; q = 0 is -8), uint4:G (2 to 4 bits, zero points to 15), int8:G
// (8 bits, q - z from -127 to 127). Columns that are not in the order of their groups (desc_act) become a permutation. What does not fit
// is an error; read_gptq_f32() decodes everything. So with v1's zero point 2^bits, stored as 2^bits - 1: f32 takes it at its word, as most
// kernels do; some of AutoGPTQ wrap it to 0, which is what a writer that subtracts 1 from 0 may have meant.
#pragma once
#include "grouped_integers.hpp"

namespace qnt {

enum class gptq_convention : std::uint8_t { v1, v2 };
enum class gptq_evidence : std::uint8_t {
    caller,  // said so
    values,  // zero points of a symmetric matrix
    config,  // of the checkpoint
};

struct gptq_options {
    std::optional<gptq_convention> convention;
    bool is_label = false;       // convention is what a config says: the zero points of a symmetric matrix know better
    bool asymmetric = false;     // zero points say nothing about the convention
    int bits = 0;                // 0: as the shapes say
    std::size_t group_size = 0;  // of files without g_idx; 0: as the shapes say
};

struct gptq_tensor {
    std::size_t rows = 0, cols = 0;  // [out, in]
    int bits = 0;
    std::size_t groups = 0;
    bool symmetric = false;  // all zero points are 2^(bits - 1)
    bool act_order = false;  // columns are not in the order of their groups
    gptq_convention convention = gptq_convention::v1;
    gptq_evidence evidence = gptq_evidence::caller;
    bool mislabelled = false;                 // the values say otherwise than the config
    std::size_t group = 0;                    // columns of each but the last; 0: they are not alike
    std::optional<any_format> packed_format;  // of read_gptq(), if it can; 8 bits without act_order may turn out not to fit
    std::vector<std::string> parts;           // the tensors' names, qweight first
};
struct gptq_matrix {
    any_matrix weights;
    gptq_tensor info;
    std::vector<float> bias;  // [out], or none
};
struct gptq_values {
    std::vector<float> weights;  // [out, in]
    gptq_tensor info;
    std::vector<float> bias;
};

namespace detail {
inline namespace QNT_BASELINE {

// Value i of a stream of `bits`-bit values in words that lie `stride` words apart.
inline unsigned stream_value(const std::byte* words, std::size_t stride, std::size_t i, int bits) {
    const std::size_t bit = i * std::size_t(bits), word = bit / 32, shift = bit % 32;
    unsigned v = load_u32(words + word * stride * 4) >> shift;
    if (shift + std::size_t(bits) > 32) v |= load_u32(words + (word + 1) * stride * 4) << (32 - shift);
    return v & ((1u << bits) - 1);
}

struct gptq_source {
    grouped_integers integers;
    gptq_tensor info;
    const std::byte* words = nullptr;

    unsigned operator()(std::size_t row, std::size_t k) const { return stream_value(words + row * 4, info.rows, k, info.bits); }
};

// Bits and inputs, from shapes that must agree.
inline result<void> fit_gptq_shapes(const safetensors_file& file, const std::string& name, const gptq_options& o, gptq_tensor& t) {
    const auto weight = find_words(file, name + ".qweight"), zeros = find_words(file, name + ".qzeros");
    if (!weight) return weight.error();
    if (!zeros) return zeros.error();
    t.rows = (*weight)->shape[1];
    t.groups = (*zeros)->shape[0];
    const std::size_t words = (*weight)->shape[0], zero_words = (*zeros)->shape[1];
    std::optional<std::size_t> inputs;
    const std::string index_name = name + ".g_idx";
    if (const auto index = file.find(index_name)) {
        if ((*index)->shape.size() != 1 || (*index)->elements == 0)
            return bad_tensor(file, index_name, "shape " + shape_text((*index)->shape) + ", must be [in]");
        inputs = (*index)->shape[0];
    }
    std::vector<int> fitting;
    for (const int bits : {2, 3, 4, 8}) {
        const auto words_of = [&](std::size_t n) {  // of n values; none: too many
            std::size_t all = 0;
            return __builtin_mul_overflow(n, std::size_t(bits), &all) ? std::size_t(0) : ceil_div(all, 32);
        };
        if (words_of(t.rows) == zero_words && (!inputs || words_of(*inputs) == words) && (o.bits == 0 || o.bits == bits)) fitting.push_back(bits);
    }
    const std::string shapes = "shape " + shape_text((*weight)->shape) + " with qzeros " + shape_text((*zeros)->shape) +
                               (inputs ? " and g_idx [" + std::to_string(*inputs) + "]" : "");
    if (fitting.empty())
        return bad_tensor(file, name + ".qweight",
                          shapes + " fits " + (o.bits ? "no " + std::to_string(o.bits) + " bits" : "none of 2, 3, 4 and 8 bits"));
    if (fitting.size() > 1) return bad_tensor(file, name + ".qweight", shapes + " fits several numbers of bits: say how many", errc::unsupported);
    t.bits = fitting[0];
    t.cols = inputs ? *inputs : words * 32 / std::size_t(t.bits);
    return {};
}

inline result<std::vector<std::uint32_t>> read_group_index(const safetensors_file& file, const std::string& name, const gptq_options& o,
                                                           const gptq_tensor& t) {
    std::vector<std::uint32_t> group_of(t.cols);
    if (!has_tensor(file, name + ".g_idx")) {
        const std::size_t size = o.group_size ? o.group_size : t.cols % t.groups == 0 ? t.cols / t.groups : 0;
        if (size == 0 || ceil_div(t.cols, size) != t.groups)
            return bad_tensor(file, name + ".qzeros",
                              std::to_string(t.groups) + " groups for " + std::to_string(t.cols) +
                                  " inputs without g_idx: " + (size ? "not those of group size " + std::to_string(size) : "say the group size"));
        for (std::size_t k = 0; k < t.cols; ++k) group_of[k] = std::uint32_t(k / size);
        return group_of;
    }
    const auto index = find_part(file, name + ".g_idx", safetensors_dtype::i32, std::span(&t.cols, 1));
    if (!index) return index.error();
    for (std::size_t k = 0; k < t.cols; ++k) {
        group_of[k] = load_u32(index->data() + 4 * k);
        if (group_of[k] >= t.groups)
            return bad_tensor(
                file, name + ".g_idx",
                "element " + std::to_string(k) + ": group " + std::to_string(std::int32_t(group_of[k])) + ", there are " + std::to_string(t.groups));
    }
    return group_of;
}

// Which convention the stored zero points follow.
inline result<void> settle_convention(const safetensors_file& file, const std::string& name, const gptq_options& o, unsigned first, bool all_equal,
                                      gptq_tensor& t) {
    const unsigned middle = 1u << (t.bits - 1);
    if (o.convention && !o.is_label) {
        t.convention = *o.convention;
        t.evidence = gptq_evidence::caller;
    } else if (!o.asymmetric && all_equal && (first == middle || first == middle - 1)) {
        t.convention = first == middle ? gptq_convention::v2 : gptq_convention::v1;
        t.evidence = gptq_evidence::values;
        t.mislabelled = o.convention && *o.convention != t.convention;
    } else if (o.convention) {
        t.convention = *o.convention;
        t.evidence = gptq_evidence::config;
    } else {
        return bad_tensor(file, name + ".qzeros",
                          "these are not the zero points of a symmetric matrix, so that they do not tell \"gptq\" (v1) from \"gptq_v2\": say which, "
                          "or pass the config of the checkpoint",
                          errc::unsupported);
    }
    return {};
}

inline result<gptq_source> open_gptq(const safetensors_file& file, std::string_view prefix, const gptq_options& o) {
    const std::string name(prefix);
    gptq_source s;
    gptq_tensor& t = s.info;
    QNT_TRY(fit_gptq_shapes(file, name, o, t));
    grouped_integers& w = s.integers;
    w.name = name + ".qweight";
    w.rows = t.rows;
    w.cols = t.cols;
    w.groups = t.groups;
    w.bits = t.bits;
    auto scales = read_group_scales(file, name + ".scales", w);
    if (!scales) return scales.error();
    w.scales = std::move(*scales);
    auto group_of = read_group_index(file, name, o, t);
    if (!group_of) return group_of.error();
    w.group_of = std::move(*group_of);
    t.act_order = !std::is_sorted(w.group_of.begin(), w.group_of.end());

    const safetensors_tensor& zeros = *file.find(name + ".qzeros").value();
    w.zeros.resize(w.groups * w.rows);
    for (std::size_t g = 0; g < w.groups; ++g)
        for (std::size_t row = 0; row < w.rows; ++row)
            w.zeros[g * w.rows + row] = std::uint16_t(stream_value(zeros.data.data() + g * zeros.shape[1] * 4, 1, row, w.bits));
    QNT_TRY(settle_convention(file, name, o, w.zeros[0], has_zero_everywhere(w, w.zeros[0]), t));
    if (t.convention == gptq_convention::v1)
        for (std::uint16_t& z : w.zeros) ++z;
    t.symmetric = has_zero_everywhere(w, 1u << (t.bits - 1));
    s.words = file.find(w.name).value()->data.data();
    const group_order order = order_of_groups(w);
    t.group = w.groups == 1 ? w.cols : order.group;
    if (const auto format = panel_format(file, w, order)) t.packed_format = *format;
    for (const char* part : {".qweight", ".qzeros", ".scales", ".g_idx", ".bias"})
        if (has_tensor(file, name + part)) t.parts.push_back(name + part);
    return s;
}

}  // namespace QNT_BASELINE
}  // namespace detail

inline namespace QNT_BASELINE {

// Of quantize_config.json, or of config.json, where it is the member "quantization_config". Without a format it is v1, as all once were.
// Errors: corrupt, unsupported (another method, format or word size, by name).
inline result<gptq_options> parse_gptq_config(std::string_view text) {
    std::string method = "gptq", word = "int32", checkpoint_format = "gptq", format;
    bool symmetric = true, is_dynamic = false;
    std::uint64_t bits = 0, group_size = 0;
    QNT_TRY(detail::read_quantization_config(text, [&](json_reader& in, std::string_view key) -> result<void> {
        if (key == "quant_method") return detail::assign(method, in.string());
        if (key == "pack_dtype") return detail::assign(word, in.string());
        if (key == "checkpoint_format") return detail::assign(checkpoint_format, in.string());
        if (key == "format") return detail::assign(format, in.string());
        if (key == "sym") return detail::assign(symmetric, in.boolean());
        if (key == "bits") return detail::assign(bits, in.uint64());
        if (key == "group_size") return detail::assign(group_size, detail::read_group_size(in));
        if (key != "dynamic") return in.skip();
        return in.object([&](std::string_view) { return is_dynamic = true, in.skip(); });  // bits and groups of single modules
    }));
    if (format.empty()) format = checkpoint_format;
    const auto refused = [](const char* key, const std::string& value, const char* known) {
        return error{errc::unsupported, std::string("field \"") + key + "\": " + value + " cannot be read, " + known + " can"};
    };
    if (method != "gptq") return refused("quant_method", in_quotes(method), "\"gptq\"");
    if (word != "int32") return refused("pack_dtype", in_quotes(word), "\"int32\"");
    if (format != "gptq" && format != "gptq_v2") return refused("format", in_quotes(format), "\"gptq\" and \"gptq_v2\"");
    if (bits != 0 && bits != 2 && bits != 3 && bits != 4 && bits != 8) return refused("bits", std::to_string(bits), "2, 3, 4 and 8");
    gptq_options o{format == "gptq" ? gptq_convention::v1 : gptq_convention::v2, true, !symmetric, 0, 0};
    if (!is_dynamic) o.bits = int(bits), o.group_size = group_size;
    return o;
}

// What the matrix "X" of X.qweight is: codes are looked at only if they have 8 bits and permuted columns, a format for which must be known
// before a file with them can be begun. Errors: not_found, corrupt, not_finite, unsupported.
inline result<gptq_tensor> find_gptq(const safetensors_file& file, std::string_view name, const gptq_options& options = {}) {
    auto source = detail::open_gptq(file, name, options);
    if (!source) return source.error();
    gptq_tensor& t = source->info;
    if (t.bits == 8 && t.act_order && !detail::fits_int8(source->integers, *source)) t.packed_format.reset();
    return std::move(t);
}

// The same codes in panels, [out, in]. Errors: also out_of_memory; unsupported says what our formats cannot hold.
inline result<gptq_matrix> read_gptq(const safetensors_file& file, std::string_view name, const gptq_options& options = {},
                                     executor_ref executor = {}) {
    auto source = detail::open_gptq(file, name, options);
    if (!source) return source.error();
    auto bias = detail::read_bias(file, std::string(name) + ".bias", source->info.rows);
    if (!bias) return bias.error();
    auto weights = detail::pack_integers(file, source->integers, *source, executor);
    if (!weights) return weights.error();
    return gptq_matrix{std::move(*weights), std::move(source->info), std::move(*bias)};
}

// The weights as f32: (q - z) * scale, rounded once.
inline result<gptq_values> read_gptq_f32(const safetensors_file& file, std::string_view name, const gptq_options& options = {},
                                         executor_ref executor = {}) {
    auto source = detail::open_gptq(file, name, options);
    if (!source) return source.error();
    auto bias = detail::read_bias(file, std::string(name) + ".bias", source->info.rows);
    if (!bias) return bias.error();
    return gptq_values{detail::decode_integers(source->integers, *source, executor), std::move(source->info), std::move(*bias)};
}

}  // namespace QNT_BASELINE
}  // namespace qnt
