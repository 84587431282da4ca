// What is converted: the tensors of a checkpoint and the texts that go with them.
#pragma once
#include <filesystem>
#include <memory>

#include <qnt/qnt.hpp>

#include "contents.hpp"

namespace tools {

struct source {
    std::string format;              // "safetensors", ...
    std::vector<std::string> files;  // that are read
    qnt::checkpoint tensors;
    text_pairs texts;  // of the model: config.json, vocab.json, merges.txt

    // Of each tensor; readers have checked that they fit into 64 bits.
    static std::uint64_t elements_of(const qnt::checkpoint_tensor& t) {
        std::uint64_t n = 1;
        for (const std::size_t d : t.shape) n *= d;
        return n;
    }
};

// Throws qnt::exception, std::runtime_error.
inline source open_source(const std::string& path) {
    source s;
    s.format = "safetensors";
    s.files = {path};
    const auto file = std::make_shared<const qnt::safetensors_file>(qnt::safetensors_file::open(path).value());
    for (const qnt::safetensors_tensor& t : file->tensors()) {
        qnt::checkpoint_tensor c;
        c.name = t.name;
        c.shape = t.shape;
        c.read = [file, name = t.name] { return file->read_f32(name); };
        s.tensors.push_back(std::move(c));
    }
    return s;
}

}  // namespace tools
