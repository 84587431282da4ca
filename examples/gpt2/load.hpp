// GPT-2 from files.
//
//   gpt2::model model = gpt2::load_model("examples/models/qnt-gpt2-5m", {.weights = {{"*", qnt::use<qnt::int8_channel>}}}, pool);
#pragma once
#include "model.hpp"

namespace gpt2 {

struct load_options {
    // Formats of the matrices, by tensor name without prefix: "wte", "h.0.attn.c_attn", ... The tied head is wte.
    qnt::policy weights{{"*", qnt::keep<float>}};
    qnt::compute_mode mode = qnt::automatic;
};

// From a folder in Hugging Face's layout (config.json, model.safetensors), quantizing what the policy says. Throws
// std::runtime_error or qnt::exception naming file, tensor and shape.
inline model load_model(const std::string& folder, const load_options& options, qnt::executor_ref executor) {
    model m;
    m.config_ = read_config(folder + "/config.json");
    m.mode_ = options.mode;
    const gpt2::config& c = m.config_;
    const std::string path = folder + "/model.safetensors";
    const auto file = qnt::safetensors_file::open(path).value();
    const std::string prefix = file.find("transformer.wte.weight") ? "transformer." : "";

    // A tensor by its name without prefix, as f32, of just this shape.
    const auto read = [&](const std::string& name, std::vector<std::size_t> shape) {
        const qnt::safetensors_tensor& t = *file.find(prefix + name).value();
        const auto text = [](std::span<const std::size_t> s) {
            std::string out = "[";
            for (const std::size_t d : s) out += (out.size() > 1 ? ", " : "") + std::to_string(d);
            return out + "]";
        };
        if (t.shape != shape)
            throw std::runtime_error(path + ": tensor '" + t.name + "' has shape " + text(t.shape) + ", config.json says " + text(shape));
        std::vector<float> values = file.read_f32(t.name).value();
        m.parameters_ += values.size();
        return values;
    };
    const auto vector = [&](const std::string& name, std::size_t n) {
        auto v = read(name, {n});
        m.bytes_ += v.size() * sizeof(float);
        return v;
    };
    const auto quantize = [&](const std::string& name, const qnt::matrix_view<const float>& w) {
        tensor_report r{name, options.weights.format_for(name).value(), {}};
        auto q = qnt::quantize(w, r.format, {.report = &r.report}, executor);
        if (!q) throw std::runtime_error(path + ": tensor '" + prefix + name + ".weight': " + q.error().message);
        m.bytes_ += r.report.bytes;
        m.reports_.push_back(std::move(r));
        return std::move(*q);
    };
    // GPT-2 stores these as Conv1D, [in, out].
    const auto conv1d = [&](const std::string& name, std::size_t out, std::size_t in) {
        const std::vector<float> w = read(name + ".weight", {in, out});
        return linear{quantize(name, qnt::matrix_view<const float>{w.data(), in, out}.transposed()), vector(name + ".bias", out)};
    };
    const auto layer_norm = [&](const std::string& name) { return norm{vector(name + ".weight", c.n_embd), vector(name + ".bias", c.n_embd)}; };

    const std::vector<float> wte = read("wte.weight", {c.vocab_size, c.n_embd});
    m.wte_ = quantize("wte", {wte.data(), c.vocab_size, c.n_embd});
    m.wpe_ = read("wpe.weight", {c.n_ctx, c.n_embd});
    m.bytes_ += m.wpe_.size() * sizeof(float);
    for (std::size_t i = 0; i < c.n_layer; ++i) {
        const std::string h = "h." + std::to_string(i) + ".";
        m.layers_.push_back({layer_norm(h + "ln_1"), conv1d(h + "attn.c_attn", 3 * c.n_embd, c.n_embd), conv1d(h + "attn.c_proj", c.n_embd, c.n_embd),
                             layer_norm(h + "ln_2"), conv1d(h + "mlp.c_fc", c.n_inner, c.n_embd), conv1d(h + "mlp.c_proj", c.n_embd, c.n_inner)});
    }
    m.ln_f_ = layer_norm("ln_f");
    return m;
}

}  // namespace gpt2
