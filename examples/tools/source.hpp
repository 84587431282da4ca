// What is converted: the tensors of a checkpoint and the texts that go with them.
//
// GPT-2 (its config.json or the metadata of a .gguf say so) comes under the names of Hugging Face without prefix, its matrices [out, in]
// whatever the file says; of any other model names and matrices stay as they are stored.
#pragma once
#include <filesystem>
#include <optional>

#include <gpt2/gguf.hpp>
#include <gpt2/load.hpp>

#include "contents.hpp"

namespace tools {

struct source {
    std::string path, format;        // "safetensors", "gguf", "qnt"
    std::vector<std::string> files;  // that are read
    qnt::checkpoint tensors;
    std::optional<gpt2::config> gpt2;
    std::optional<gpt2::tokenizer_data> tokenizer;  // of GPT-2
    std::shared_ptr<const qnt::gguf_file> gguf;     // if it is one

    static std::uint64_t elements_of(const qnt::checkpoint_tensor& t) {  // readers have checked that they fit into 64 bits
        std::uint64_t n = 1;
        for (const std::size_t d : t.shape) n *= d;
        return n;
    }
};

// Does a config.json say GPT-2? One that is broken is taken for it, so that its reader says what is wrong.
inline bool is_gpt2(const std::string& config) {
    const auto json = qnt::parse_json(config);
    const qnt::json_value* type = json ? json->find("model_type") : nullptr;
    const auto name = type ? type->as_string() : qnt::result<std::string_view>("gpt2");
    return !json || !name || *name == "gpt2";
}
inline bool is_gpt2(const qnt::checkpoint_file& file) {
    if (const auto& archive = file.as_archive()) {
        const std::string* config = gpt2::metadata_of(*archive, "config.json");
        return config && is_gpt2(*config);
    }
    if (const auto& gguf = file.as_gguf()) {
        const qnt::gguf_value* architecture = gguf->find_value("general.architecture");
        const auto name = architecture ? architecture->as_string() : qnt::result<std::string_view>("");
        return name && *name == "gpt2";
    }
    const std::string config = gpt2::beside(file, "config.json");
    std::error_code ignored;
    return std::filesystem::exists(config, ignored) && is_gpt2(gpt2::read_text(config));
}

inline bool has_tokenizer(const qnt::checkpoint_file& file) {
    if (const auto& archive = file.as_archive()) return gpt2::metadata_of(*archive, "vocab.json") != nullptr;
    if (const auto& gguf = file.as_gguf()) return gguf->find_value("tokenizer.ggml.tokens") != nullptr;
    std::error_code ignored;
    return std::filesystem::exists(gpt2::beside(file, "vocab.json"), ignored) ||
           std::filesystem::exists(gpt2::beside(file, "tokenizer.json"), ignored);
}

// Throws std::runtime_error when it does not fit the model.
inline gpt2::tokenizer_data tokenizer_of(const qnt::checkpoint_file& file, const gpt2::config& config) {
    gpt2::tokenizer_data data = gpt2::read_tokenizer(file.path());
    if (data.tokens.size() != config.vocab_size)
        throw std::runtime_error(data.vocabulary_source + ": has " + std::to_string(data.tokens.size()) + " tokens, the model has " +
                                 std::to_string(config.vocab_size));
    return data;
}

// What the file calls a tensor of ours.
inline std::string stored_name(const qnt::checkpoint_file& file, const std::string& name) {
    for (const std::string& stored : {name, "transformer." + name, gpt2::gguf_name(name)})
        if (file.find(stored)) return stored;
    return name;
}

// Throws for a tensor that holds no numbers that can be read as f32, before any work.
inline void check_readable(const qnt::checkpoint_file& file, const qnt::checkpoint_tensor& t, const std::string& name) {
    const auto refuse = [&] {
        throw std::runtime_error(file.path() + ": tensor " + qnt::in_quotes(t.name) + ": " + qnt::in_quotes(t.stored_as) +
                                 " cannot be read as numbers to quantize");
    };
    if (const auto& safetensors = file.as_safetensors()) {
        const auto at = safetensors->find(name);
        const bool is_plain = at && (*at)->dtype_text == t.stored_as;  // not of another system's quantized ones
        if (is_plain && t.stored_as != "F32" && t.stored_as != "F16" && t.stored_as != "BF16") refuse();
    }
    if (const auto& gguf = file.as_gguf())
        if (const auto at = gguf->find(name); at && !qnt::find_gguf_type((*at)->type)->decodes) refuse();
}

// The executor must outlive it. Throws std::runtime_error (qnt::exception is one), naming file, tensor and what is wrong.
inline source open_source(const std::string& path, qnt::executor_ref executor) {
    const auto file = qnt::checkpoint_file::open(path, executor).value();
    source s;
    s.path = path;
    s.format = file.as_archive() ? "qnt" : file.as_gguf() ? "gguf" : "safetensors";
    s.gguf = file.as_gguf();
    s.tensors = file.tensors();
    if (file.as_safetensors()) {
        for (const qnt::safetensors_file& part : file.as_safetensors()->files()) s.files.push_back(part.path());
    } else {
        s.files = {path};
    }
    if (is_gpt2(file)) {
        s.gpt2 = gpt2::config_of(file);
        s.tensors = gpt2::checkpoint_of(file, *s.gpt2);
        if (has_tokenizer(file)) s.tokenizer = tokenizer_of(file, *s.gpt2);
    }
    for (const qnt::checkpoint_tensor& t : s.tensors) check_readable(file, t, stored_name(file, t.name));
    return s;
}

}  // namespace tools
