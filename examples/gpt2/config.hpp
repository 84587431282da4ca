// What a GPT-2 is: the sizes of config.json, checked.
//
//   gpt2::config c = gpt2::read_config("examples/models/qnt-gpt2-5m/config.json");
//   std::string text = gpt2::to_json(c);                                   // a config.json that reads back to the same
#pragma once
#include <cmath>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>

#include <qnt/io/file.hpp>
#include <qnt/io/json.hpp>

namespace gpt2 {

// Of config.json; names as there.
struct config {
    std::size_t n_layer = 0, n_embd = 0, n_head = 0, n_ctx = 0, vocab_size = 0, n_inner = 0;
    float layer_norm_epsilon = 1e-5f;
    std::optional<std::size_t> bos_token_id, eos_token_id;

    std::size_t head_size() const { return n_embd / n_head; }
};

// Bounds far beyond any GPT-2 (XL: 48 layers of 1600), so that no product of them overflows and nothing absurd is allocated.
struct size_bound {
    std::size_t config::*size;
    const char* name;
    std::size_t most;
};
inline constexpr size_bound size_bounds[] = {
    {&config::n_layer, "n_layer", 1024},      {&config::n_embd, "n_embd", 1 << 16},         {&config::n_head, "n_head", 1024},
    {&config::n_ctx, "n_positions", 1 << 20}, {&config::vocab_size, "vocab_size", 1 << 22}, {&config::n_inner, "n_inner", 1 << 18},
};

[[noreturn]] inline void refuse(const std::string& file, const std::string& why) {
    throw std::runtime_error(qnt::printable(file, 4096) + ": " + why);
}

// The bytes of a text file; throws when it has more than `most`.
inline std::string read_text(const std::string& path, std::size_t most = std::size_t{64} << 20) {
    const auto file = qnt::mapped_file::open(path).value();
    if (file.bytes().size() > most) refuse(path, "has " + std::to_string(file.bytes().size()) + " bytes, more than " + std::to_string(most));
    return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

// Of the MLP, where nothing else is said; 0, which check_config refuses, beyond all bounds.
inline std::size_t default_n_inner(std::size_t n_embd) { return n_embd <= std::size_t{1} << 16 ? 4 * n_embd : 0; }
// 0, which check_config refuses, for what is none.
inline float to_epsilon(double value) { return value > 0 && value < 1 && float(value) < 1 ? float(value) : 0.0f; }

// What must hold among the fields; `name_of(bound)` is how the source calls a size.
template <class NameOf> void check_config(const config& c, const std::string& file, const NameOf& name_of) {
    for (const size_bound& b : size_bounds)
        if (c.*b.size == 0 || c.*b.size > b.most)
            refuse(file, "'" + name_of(b) + "' is " + std::to_string(c.*b.size) + ", it should be from 1 to " + std::to_string(b.most));
    if (c.n_embd % c.n_head != 0)
        refuse(file, "'" + name_of(size_bounds[1]) + "' (" + std::to_string(c.n_embd) + ") is not a multiple of '" + name_of(size_bounds[2]) + "' (" +
                         std::to_string(c.n_head) + ")");
    if (!(c.layer_norm_epsilon > 0)) refuse(file, "'layer_norm_epsilon' is not a number between 0 and 1");
    for (const auto& [name, id] : {std::pair{"bos_token_id", c.bos_token_id}, {"eos_token_id", c.eos_token_id}})
        if (id && *id >= c.vocab_size)
            refuse(file, "'" + std::string(name) + "' is " + std::to_string(*id) + ", 'vocab_size' is " + std::to_string(c.vocab_size));
}

// The text of a config.json; `file` is for messages. Throws std::runtime_error naming the file and the field.
inline config parse_config(std::string_view text, const std::string& file) {
    const auto json = qnt::parse_json(text);
    if (!json) refuse(file, json.error().message);
    if (json->kind() != qnt::json_kind::object) refuse(file, json->unexpected("an object").message);

    // The field, if it is there and not null.
    const auto find = [&](const char* field) {
        const qnt::json_value* v = json->find(field);
        return v && v->kind() != qnt::json_kind::null ? v : nullptr;
    };
    const auto get = [&](const char* field, auto r) {
        if (!r) refuse(file, "'" + std::string(field) + "': " + r.error().message);
        return *r;
    };
    const auto size = [&](const char* field) {
        const qnt::json_value* v = json->find(field);
        if (!v) refuse(file, "'" + std::string(field) + "' is missing");
        return std::size_t(get(field, v->as_uint64()));
    };
    const auto only = [&](const char* field, std::initializer_list<std::string_view> allowed) {
        const qnt::json_value* v = find(field);
        if (!v) return;
        const std::string_view value = get(field, v->as_string());
        for (const std::string_view a : allowed)
            if (value == a) return;
        refuse(file, "'" + std::string(field) + "' is " + qnt::in_quotes(value) + ", only \"" + std::string(*allowed.begin()) + "\" is supported");
    };
    const auto only_bool = [&](const char* field, bool allowed) {
        const qnt::json_value* v = find(field);
        if (v && get(field, v->as_bool()) != allowed) refuse(file, "'" + std::string(field) + "' is not supported");
    };
    only("model_type", {"gpt2"});
    only("activation_function", {"gelu_new", "gelu_pytorch_tanh"});
    only_bool("scale_attn_weights", true);
    only_bool("scale_attn_by_inverse_layer_idx", false);
    only_bool("add_cross_attention", false);

    config c;
    c.n_layer = size("n_layer");
    c.n_embd = size("n_embd");
    c.n_head = size("n_head");
    c.n_ctx = size(json->find("n_positions") ? "n_positions" : "n_ctx");
    c.vocab_size = size("vocab_size");
    c.n_inner = find("n_inner") ? size("n_inner") : default_n_inner(c.n_embd);
    if (const auto* v = find("layer_norm_epsilon")) c.layer_norm_epsilon = to_epsilon(get("layer_norm_epsilon", v->as_double()));
    for (const auto& [field, id] : {std::pair{"bos_token_id", &c.bos_token_id}, {"eos_token_id", &c.eos_token_id}})
        if (const auto* v = find(field)) *id = std::size_t(get(field, v->as_uint64()));
    check_config(c, file, [](const size_bound& b) { return std::string(b.name); });
    return c;
}

inline config read_config(const std::string& path) { return parse_config(read_text(path, std::size_t{16} << 20), path); }

inline std::string to_json(const config& c) {
    char epsilon[32];
    *std::to_chars(epsilon, epsilon + sizeof epsilon - 1, c.layer_norm_epsilon).ptr = '\0';
    std::string text = "{\n  \"architectures\": [\"GPT2LMHeadModel\"],\n  \"model_type\": \"gpt2\",\n  \"activation_function\": \"gelu_new\",\n";
    for (const size_bound& b : size_bounds) text += "  \"" + std::string(b.name) + "\": " + std::to_string(c.*b.size) + ",\n";
    for (const auto& [name, id] : {std::pair{"bos_token_id", c.bos_token_id}, {"eos_token_id", c.eos_token_id}})
        if (id) text += "  \"" + std::string(name) + "\": " + std::to_string(*id) + ",\n";
    return text + "  \"layer_norm_epsilon\": " + epsilon + "\n}\n";
}

}  // namespace gpt2
