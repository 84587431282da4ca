// What is converted: the tensors of a checkpoint and the texts that go with them.
//
// GPT-2 (the config.json beside the weights or in the file says so) comes under the names of Hugging Face without prefix, its matrices
// [out, in] whatever the file says; of any other model names and matrices stay as they are stored.
#pragma once
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>

#include <gpt2/load.hpp>

#include "contents.hpp"

namespace tools {

struct source {
    std::string format;              // "safetensors", "qnt"
    std::vector<std::string> files;  // that are read
    qnt::checkpoint tensors;
    std::optional<gpt2::config> gpt2;
    text_pairs texts;  // of GPT-2: config.json, vocab.json, merges.txt

    static std::uint64_t elements_of(const qnt::checkpoint_tensor& t) {  // readers have checked that they fit into 64 bits
        std::uint64_t n = 1;
        for (const std::size_t d : t.shape) n *= d;
        return n;
    }
};

// Text files of a model: beside its weights, or in the metadata of an archive. The names of those that are there.
inline text_pairs texts_of(const qnt::checkpoint_file& file) {
    text_pairs texts;
    for (const char* name : {"config.json", "vocab.json", "merges.txt"}) {
        if (const auto& archive = file.as_archive()) {
            if (const std::string* text = gpt2::metadata_of(*archive, name)) texts.emplace_back(name, *text);
            continue;
        }
        const std::filesystem::path path = std::filesystem::path(file.path()).parent_path() / name;
        if (std::error_code ignored; !std::filesystem::exists(path, ignored)) continue;
        const auto bytes = qnt::read_file(path.string()).value();
        texts.emplace_back(name, std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
    }
    return texts;
}

// Is a config.json that of GPT-2? One that is no JSON is taken for it, so that its reader says what is wrong.
inline bool is_gpt2(const std::string& config) {
    const auto json = qnt::parse_json(config);
    const qnt::json_value* type = json ? json->find("model_type") : nullptr;
    const auto name = type ? type->as_string() : qnt::result<std::string_view>(std::string_view("gpt2"));
    return !json || (name && *name == "gpt2");
}

// Tensors whose pages of the file go when they were read: what is in memory is one of them.
inline void read_and_forget(const qnt::checkpoint_file& file, qnt::checkpoint_tensor& t, const std::string& stored_name) {
    const auto then_forget = [&](auto& read, const auto& archive, const auto& stored) {
        if (!read || !stored) return;
        read = [read, archive, stored = *stored] {
            auto values = read();
            archive->forget(*stored);
            return values;
        };
    };
    if (const auto& archive = file.as_archive()) {
        then_forget(t.read, archive, archive->find(stored_name));
        then_forget(t.read_packed, archive, archive->find(stored_name));
    } else if (const auto& safetensors = file.as_safetensors()) {
        then_forget(t.read, safetensors, safetensors->find(stored_name));
    }
}

// Throws std::runtime_error (qnt::exception is one), naming file, tensor and what is wrong.
inline source open_source(const std::string& path) {
    const auto file = qnt::checkpoint_file::open(path).value();
    source s;
    s.format = file.as_archive() ? "qnt" : "safetensors";
    s.files = {file.path()};
    s.tensors = file.tensors();
    const text_pairs texts = texts_of(file);
    if (!texts.empty() && texts[0].first == "config.json" && is_gpt2(texts[0].second)) {
        s.gpt2 = gpt2::config_of(file);
        s.texts = texts;
        s.tensors = gpt2::checkpoint_of(file, *s.gpt2);
    }
    const std::string prefix = file.find("transformer.wte.weight") ? "transformer." : "";
    for (qnt::checkpoint_tensor& t : s.tensors) read_and_forget(file, t, file.find(t.name) ? t.name : prefix + t.name);
    return s;
}

}  // namespace tools
