// What a GPT-2 is: the sizes of config.json, checked.
//
//   gpt2::config c = gpt2::read_config("examples/models/qnt-gpt2-5m/config.json");
#pragma once
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

namespace gpt2 {

// Of config.json; names as there.
struct config {
    std::size_t n_layer = 0, n_embd = 0, n_head = 0, n_ctx = 0, vocab_size = 0, n_inner = 0;
    float layer_norm_epsilon = 1e-5f;

    std::size_t head_size() const { return n_embd / n_head; }
};

// Throws std::runtime_error naming the file and the field.
inline config read_config(const std::string& path) {
    const auto refuse = [&](const std::string& why) { throw std::runtime_error(path + ": " + why); };
    std::ifstream file(path);
    if (!file) refuse("cannot be opened");
    const nlohmann::json json = nlohmann::json::parse(file, nullptr, false);
    if (!json.is_object()) refuse("not a JSON object");
    const auto size = [&](const char* field, std::size_t most) -> std::size_t {
        if (!json.contains(field) || !json[field].is_number_unsigned()) refuse("'" + std::string(field) + "' is missing or not a whole number");
        const auto value = json[field].get<std::size_t>();
        if (value == 0 || value > most)
            refuse("'" + std::string(field) + "' is " + std::to_string(value) + ", it should be from 1 to " + std::to_string(most));
        return value;
    };
    if (json.value("model_type", "gpt2") != "gpt2") refuse("'model_type' is '" + json["model_type"].get<std::string>() + "', only gpt2 is supported");
    const std::string activation = json.value("activation_function", "gelu_new");
    if (activation != "gelu_new" && activation != "gelu_pytorch_tanh")
        refuse("'activation_function' is '" + activation + "', only gelu_new is supported");
    config c;
    c.n_layer = size("n_layer", 1024);
    c.n_embd = size("n_embd", 1 << 16);
    c.n_head = size("n_head", 1024);
    c.n_ctx = size(json.contains("n_ctx") ? "n_ctx" : "n_positions", 1 << 20);
    c.vocab_size = size("vocab_size", 1 << 22);
    c.n_inner = json.contains("n_inner") && !json["n_inner"].is_null() ? size("n_inner", 1 << 18) : 4 * c.n_embd;
    if (json.contains("layer_norm_epsilon")) {
        if (!json["layer_norm_epsilon"].is_number()) refuse("'layer_norm_epsilon' is not a number");
        c.layer_norm_epsilon = json["layer_norm_epsilon"].get<float>();
    }
    if (c.n_embd % c.n_head != 0)
        refuse("'n_embd' (" + std::to_string(c.n_embd) + ") is not a multiple of 'n_head' (" + std::to_string(c.n_head) + ")");
    return c;
}

}  // namespace gpt2
