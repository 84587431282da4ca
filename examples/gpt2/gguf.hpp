// GPT-2 in GGUF files, as llama.cpp has it (gguf-py, constants.py and conversion scripts): names, metadata, both ways.
//
//   std::string name = gpt2::gguf_name("h.0.attn.c_attn.weight");          // "blk.0.attn_qkv.weight"
//   gpt2::set_gguf_metadata(writer, config, tokenizer_data);               // all that llama.cpp asks for
//
// Matrices lie as [out, in] there, not as Conv1D has them.
#pragma once
#include "tokenizer_data.hpp"

namespace gpt2 {

// By Hugging Face's name without "transformer."; "" for what has no place in such a file.
inline std::string gguf_name(std::string_view name) {
    constexpr std::pair<std::string_view, std::string_view> outer[] = {
        {"wte.weight", "token_embd.weight"}, {"wpe.weight", "position_embd.weight"}, {"ln_f.weight", "output_norm.weight"},
        {"ln_f.bias", "output_norm.bias"},   {"lm_head.weight", "output.weight"},
    };
    constexpr std::pair<std::string_view, std::string_view> inner[] = {
        {"ln_1", "attn_norm"}, {"attn.c_attn", "attn_qkv"}, {"attn.c_proj", "attn_output"},
        {"ln_2", "ffn_norm"},  {"mlp.c_fc", "ffn_up"},      {"mlp.c_proj", "ffn_down"},
    };
    for (const auto& [ours, theirs] : outer)
        if (name == ours) return std::string(theirs);
    if (!name.starts_with("h.")) return "";
    const std::size_t dot = name.find('.', 2), end = name.rfind('.');
    std::uint64_t block = 0;
    if (dot == name.npos || end <= dot || !qnt::parse_number(name.substr(2, dot - 2), block)) return "";
    for (const auto& [ours, theirs] : inner)
        if (name.substr(dot + 1, end - dot - 1) == ours && (name.substr(end) == ".weight" || name.substr(end) == ".bias"))
            return "blk." + std::to_string(block) + '.' + std::string(theirs) + std::string(name.substr(end));
    return "";
}

// How the metadata call the sizes of a configuration; the vocabulary is as large as its embedding.
inline std::string gguf_key(const size_bound& b) {
    if (b.size == &config::n_layer) return "gpt2.block_count";
    if (b.size == &config::n_embd) return "gpt2.embedding_length";
    if (b.size == &config::n_head) return "gpt2.attention.head_count";
    if (b.size == &config::n_ctx) return "gpt2.context_length";
    if (b.size == &config::n_inner) return "gpt2.feed_forward_length";
    return "rows of token_embd.weight";
}

// Throws std::runtime_error naming the file and the key.
inline config config_of(const qnt::gguf_file& file, const std::string& path) {
    const auto get = [&](auto r) {
        if (!r) refuse(path, r.error().message);
        return *r;
    };
    const auto need = [&](const std::string& key) {
        const qnt::gguf_value* v = file.find_value(key);
        if (!v) refuse(path, "there is no \"" + key + "\" in its metadata");
        return v;
    };
    const std::string_view architecture = get(need("general.architecture")->as_string());
    if (architecture != "gpt2") refuse(path, "\"general.architecture\" is " + qnt::in_quotes(architecture) + ", only \"gpt2\" is supported");
    const qnt::gguf_tensor& wte = *get(file.find("token_embd.weight"));
    if (wte.shape.size() != 2)
        refuse(path, "tensor \"token_embd.weight\" has shape " + qnt::detail::shape_text(wte.shape) + ", it should be a matrix");
    config c;
    for (const size_bound& b : size_bounds) {
        const std::string key = gguf_key(b);
        if (b.size == &config::vocab_size) c.vocab_size = wte.shape[0];
        else if (b.size == &config::n_inner && !file.find_value(key)) c.n_inner = default_n_inner(c.n_embd);
        else c.*b.size = get(need(key)->as_uint64());
    }
    if (const auto* v = file.find_value("gpt2.attention.layer_norm_epsilon")) c.layer_norm_epsilon = to_epsilon(get(v->as_f32()));
    for (const auto& [key, id] : {std::pair{"tokenizer.ggml.bos_token_id", &c.bos_token_id}, {"tokenizer.ggml.eos_token_id", &c.eos_token_id}})
        if (const auto* v = file.find_value(key)) *id = get(v->as_uint64());
    check_config(c, path, gguf_key);
    return c;
}

// All metadata of a GPT-2, the tokenizer with it. Throws qnt::exception.
inline void set_gguf_metadata(qnt::gguf_writer& out, const config& c, const tokenizer_data& t) {
    out.set("general.architecture", "gpt2").value();
    for (const size_bound& b : size_bounds)
        if (b.size != &config::vocab_size) out.set(gguf_key(b), static_cast<std::uint32_t>(c.*b.size)).value();
    out.set("gpt2.attention.layer_norm_epsilon", c.layer_norm_epsilon).value();

    constexpr std::int32_t normal = 1, control = 3;
    std::vector<std::int32_t> types(t.tokens.size(), normal);
    for (const std::int32_t id : t.specials) types[std::size_t(id)] = control;
    std::vector<std::string> merges;
    for (const merge_rule& m : t.merges) merges.push_back(m.left + ' ' + m.right);
    out.set("tokenizer.ggml.model", "gpt2").value();
    out.set("tokenizer.ggml.pre", "gpt-2").value();
    out.set("tokenizer.ggml.tokens", t.tokens).value();
    out.set("tokenizer.ggml.token_type", types).value();
    out.set("tokenizer.ggml.merges", merges).value();
    if (c.bos_token_id) out.set("tokenizer.ggml.bos_token_id", static_cast<std::uint32_t>(*c.bos_token_id)).value();
    if (c.eos_token_id) out.set("tokenizer.ggml.eos_token_id", static_cast<std::uint32_t>(*c.eos_token_id)).value();
}

}  // namespace gpt2
