// Matrices that other systems store as several tensors of a safetensors file, each as one tensor of a checkpoint.
//
//     const auto config = qnt::detail::find_quantization_config("models/llama-gptq").value();         // what its files say, if they do
//     auto t = qnt::detail::compose_tensor(shards, file, "fc.qweight", config, pool).value();         // "fc.weight" [out, in], of GPTQ or AWQ
//     auto u = qnt::detail::compose_tensor(shards, file, "fc.weight", config, pool).value();          // of bitsandbytes; nothing: a plain one
//
// GPTQ or AWQ: what config.json ("quantization_config"), quantize_config.json (AutoGPTQ) or quant_config.json (AutoAWQ) in the folder says,
// the first that is there. If none does, the shapes do: X.scales is as wide as X.qweight with GPTQ, eight times as wide with AWQ.
#pragma once
#include <memory>

#include "../io/awq.hpp"
#include "../io/bitsandbytes.hpp"
#include "../io/gptq.hpp"
#include "../io/safetensors_shards.hpp"
#include "quantize_model.hpp"

namespace qnt::detail {

enum class word_packing : std::uint8_t { gptq, awq, other };

struct quantization_config {
    std::string path;                     // empty: there is none
    std::string folder;                   // where it was looked for
    std::optional<word_packing> packing;  // nothing: it does not say
    result<gptq_options> gptq = gptq_options{};
    result<awq_options> awq = awq_options{};
};

inline namespace QNT_BASELINE {

constexpr std::size_t max_config_bytes = 10'000'000;

inline result<quantization_config> parse_quantization_config(std::string_view text, const std::string& default_method) {
    std::string method = default_method;
    QNT_TRY(read_quantization_config(
        text, [&](json_reader& in, std::string_view key) { return key == "quant_method" ? assign(method, in.string()) : in.skip(); }));
    method = lower_case(method);
    quantization_config c;
    if (!method.empty()) c.packing = method == "gptq" ? word_packing::gptq : method == "awq" ? word_packing::awq : word_packing::other;
    if (c.packing != word_packing::awq) c.gptq = parse_gptq_config(text);
    if (c.packing != word_packing::gptq) c.awq = parse_awq_config(text);
    return c;
}

// Errors: io, corrupt, naming the file; of a method that cannot be read none, unless a tensor asks.
inline result<quantization_config> find_quantization_config(const std::string& folder) {
    const std::string prefix = folder.empty() || folder.ends_with('/') ? folder : folder + '/';
    for (const auto& [name, method] : {std::pair{"config.json", ""}, {"quantize_config.json", "gptq"}, {"quant_config.json", "awq"}}) {
        const std::string path = prefix + name;
        if (!exists(path, false)) continue;
        const auto bytes = read_file(path, max_config_bytes);
        if (!bytes) return bytes.error();
        const std::string_view text(reinterpret_cast<const char*>(bytes->data()), bytes->size());
        const auto named = [&](const error& e) { return error{e.code, printable(path, 4096) + ": " + e.message}; };
        bool has_member = *method != '\0';
        json_reader look(text);
        const auto looked = look.object([&](std::string_view key) {
            has_member = has_member || (key == "quantization_config" && look.next() == json_kind::object);
            return look.skip();
        });
        if (!looked) return named(looked.error());
        if (!has_member) continue;  // the config.json of a model says nothing of it
        auto c = parse_quantization_config(text, method);
        if (!c) return named(c.error());
        c->path = path;
        c->folder = folder;
        if (!c->gptq) c->gptq = named(c->gptq.error());
        if (!c->awq) c->awq = named(c->awq.error());
        return c;
    }
    quantization_config none;
    none.folder = folder;
    return none;
}

// The codes of a matrix, if they come in the format that its description promises.
inline result<any_matrix> expect_format(result<any_matrix> w, const any_format& f) {
    if (w && !(w->format() == f)) return error{errc::unsupported, "its codes are " + w->format().name() + ", not " + f.name()};
    return w;
}

// Nothing, if `name` is not bitsandbytes' weights.
template <class Keep>
result<std::optional<checkpoint_tensor>> compose_bitsandbytes(const Keep& keep, const safetensors_file& file, const std::string& name,
                                                              executor_ref executor) {
    const auto found = find_bitsandbytes(file, name);
    if (!found) return found.error();
    if (!*found) return std::optional<checkpoint_tensor>();
    const bitsandbytes_tensor& t = **found;
    checkpoint_tensor c{.name = name, .shape = t.shape};
    c.parts = t.parts;
    c.stored_as = "bitsandbytes " + std::string(name_of(t.kind));
    c.read = [keep, &file, name, executor] { return read_bitsandbytes_f32(file, name, executor); };
    if (t.kind == bitsandbytes_kind::llm_int8 || t.shape.size() != 2) return std::optional(std::move(c));  // our int8 rounds its scale otherwise
    const std::size_t group = group_of_blocks(t.shape[0], t.shape[1], t.blocksize);
    if (group == 0) return std::optional(std::move(c));
    const any_format f = format_of_blocks(t.kind, t.nested, group);
    c.packed_format = f;
    c.read_packed = [keep, &file, name, f, executor] { return expect_format(read_bitsandbytes(file, name, executor), f); };
    return std::optional(std::move(c));
}

inline std::string group_text(std::size_t group) { return group ? " g" + std::to_string(group) : " in unlike groups"; }

// For people: "GPTQ 4-bit g128 (v1 by its zero points, act-order)".
inline std::string describe(const gptq_tensor& t) {
    const bool is_v1 = t.convention == gptq_convention::v1;
    std::string text = "GPTQ " + std::to_string(t.bits) + "-bit" + group_text(t.group) + (is_v1 ? " (v1 by " : " (v2 by ");
    text += t.evidence == gptq_evidence::values ? "its zero points" : t.evidence == gptq_evidence::config ? "its config" : "the caller";
    if (t.mislabelled) text += is_v1 ? ", its config says v2" : ", its config says v1";
    return text + (t.act_order ? ", act-order)" : ")");
}

// As the shapes of X.qweight and X.scales have it; nothing: neither.
inline std::optional<word_packing> packing_by_shape(const safetensors_tensor& words, const safetensors_tensor& scales) {
    if (words.shape.size() != 2 || scales.shape.size() != 2) return std::nullopt;
    const std::size_t n = words.shape[1], out = scales.shape[1];
    return n == out ? std::optional(word_packing::gptq) : out % 8 == 0 && out / 8 == n ? std::optional(word_packing::awq) : std::nullopt;
}

// All that X.qweight needs lies in its file, and X.weight is not there as well.
inline result<void> check_parts(const safetensors_shards& shards, const safetensors_file& file, const std::string& prefix) {
    for (const char* part : {".qweight", ".qzeros", ".scales", ".g_idx"}) {
        const std::string name = prefix + part;
        if (has_tensor(file, name)) continue;
        for (const safetensors_file& other : shards.files())
            if (has_tensor(other, name))
                return bad_tensor(file, prefix + (part == std::string_view(".qweight") ? ".qzeros" : ".qweight"),
                                  in_quotes(name) + " is in another shard, " + printable(other.path(), 4096) +
                                      ": a matrix that is spread over several cannot be read",
                                  errc::unsupported);
        if (part != std::string_view(".g_idx"))
            return bad_tensor(file, name, "is missing: a matrix of GPTQ or AWQ has .qweight, .qzeros and .scales", errc::not_found);
    }
    if (shards.find(prefix + ".weight"))
        return bad_tensor(file, prefix + ".weight", "is there twice: as it is and as " + in_quotes(prefix + ".qweight"));
    return {};
}

// GPTQ or AWQ. Errors: corrupt, unsupported, naming what contradicts or is missing.
inline result<word_packing> settle_packing(const safetensors_file& file, const std::string& prefix, const quantization_config& config) {
    const std::string name = prefix + ".qweight";
    const safetensors_tensor &words = **file.find(name), &scales = **file.find(prefix + ".scales");
    const auto by_shape = packing_by_shape(words, scales);
    const std::string shapes = "shape " + shape_text(words.shape) + " with scales " + shape_text(scales.shape);
    if (config.packing && by_shape && config.packing != by_shape) {
        const auto text = [](word_packing p) { return p == word_packing::gptq ? "GPTQ" : "AWQ"; };
        return bad_tensor(file, name,
                          shapes + " is one of " + text(*by_shape) + ", " + printable(config.path, 4096) + ": field \"quant_method\" says " +
                              text(*config.packing));
    }
    if (config.packing) return *config.packing;
    if (by_shape) return *by_shape;
    return bad_tensor(file, name,
                      shapes + " is neither of GPTQ, [in * bits / 32, out] with [groups, out], nor of AWQ, [in, out / 8] with [groups, out]");
}

template <class Keep>
result<checkpoint_tensor> compose_gptq(const Keep& keep, const safetensors_file& file, const std::string& prefix, const quantization_config& config,
                                       executor_ref executor) {
    if (!config.gptq) return config.gptq.error();
    const gptq_options options = *config.gptq;
    auto t = find_gptq(file, prefix, options);
    if (!t && t.error().code == errc::unsupported && config.path.empty())
        return error{t.error().code, t.error().message + "; there is no quantize_config.json and no config.json with \"quantization_config\" in " +
                                         in_quotes(config.folder.empty() ? "." : config.folder)};
    if (!t) return t.error();
    if (options.group_size && ceil_div(t->cols, options.group_size) != t->groups)
        return bad_tensor(file, prefix + ".qzeros",
                          std::to_string(t->groups) + " groups for " + std::to_string(t->cols) + " inputs, " + printable(config.path, 4096) +
                              ": field \"group_size\" says groups of " + std::to_string(options.group_size));
    checkpoint_tensor c{.name = prefix + ".weight", .shape = {t->rows, t->cols}};
    c.stored_as = describe(*t);
    c.parts = std::move(t->parts);
    c.read = [keep, &file, prefix, options, executor]() -> result<std::vector<float>> {
        auto values = read_gptq_f32(file, prefix, options, executor);
        if (!values) return values.error();
        return std::move(values->weights);
    };
    if (!t->packed_format) return c;
    c.packed_format = t->packed_format;
    c.packed_transform = t->act_order ? input_transform::permutation : input_transform::none;
    c.read_packed = [keep, &file, prefix, options, executor, f = *t->packed_format]() -> result<any_matrix> {
        auto w = read_gptq(file, prefix, options, executor);
        if (!w) return w.error();
        return expect_format(std::move(w->weights), f);
    };
    return c;
}

template <class Keep>
result<checkpoint_tensor> compose_awq(const Keep& keep, const safetensors_file& file, const std::string& prefix, const quantization_config& config,
                                      executor_ref executor) {
    if (!config.awq) return config.awq.error();
    auto t = find_awq(file, prefix, *config.awq);
    if (!t) return t.error();
    checkpoint_tensor c{.name = prefix + ".weight", .shape = {t->rows, t->cols}};
    c.stored_as = "AWQ 4-bit" + group_text(t->group);
    c.parts = std::move(t->parts);
    c.read = [keep, &file, prefix, executor]() -> result<std::vector<float>> {
        auto values = read_awq_f32(file, prefix, executor);
        if (!values) return values.error();
        return std::move(values->weights);
    };
    if (!t->packed_format) return c;
    c.packed_format = t->packed_format;
    c.read_packed = [keep, &file, prefix, executor, f = *t->packed_format]() -> result<any_matrix> {
        auto w = read_awq(file, prefix, executor);
        if (!w) return w.error();
        return expect_format(std::move(w->weights), f);
    };
    return c;
}

// Nothing, if `name` is a tensor like any other, or a part that is told with another. `keep` holds `file`.
inline result<std::optional<checkpoint_tensor>> compose_tensor(const std::shared_ptr<const safetensors_shards>& keep, const safetensors_file& file,
                                                               const std::string& name, const quantization_config& config, executor_ref executor) {
    const std::size_t dot = std::min(name.rfind('.'), name.size());
    const std::string prefix = name.substr(0, dot), last = name.substr(dot);
    const bool is_words = (last == ".qweight" || last == ".qzeros") && config.packing != word_packing::other &&
                          (config.packing || (*file.find(name))->dtype == safetensors_dtype::i32);
    if (!is_words) return compose_bitsandbytes(keep, file, name, executor);
    QNT_TRY(check_parts(*keep, file, prefix));
    if (last == ".qzeros") return std::optional<checkpoint_tensor>();
    const auto packing = settle_packing(file, prefix, config);
    if (!packing) return packing.error();
    auto t = *packing == word_packing::gptq ? compose_gptq(keep, file, prefix, config, executor) : compose_awq(keep, file, prefix, config, executor);
    if (!t) return t.error();
    std::erase(t->parts, prefix + ".bias");  // a tensor of its own
    return std::optional(std::move(*t));
}

}  // namespace QNT_BASELINE
}  // namespace qnt::detail
