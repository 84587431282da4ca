// GPT-2 assembled from qnt: configuration, weights in any format, and the forward pass.
//
//   gpt2::model model = gpt2::load_model("examples/models/qnt-gpt2-5m", {.weights = {{"*", qnt::use<qnt::int8_channel>}}}, pool);
//   gpt2::session session(model, pool);
//   std::span<const float> logits = session.forward(ids);                  // [vocab] after the last id; the session remembers
//
// The architecture: Radford et al. 2019, "Language models are unsupervised multitask learners", section 2.3 (pre-layer-norm
// transformer, learned positions, output head tied to the token embedding).
#pragma once
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <qnt/qnt.hpp>

#include "config.hpp"

namespace gpt2 {

using weights = qnt::any_view<qnt::layout::panels>;

// Views into what the model keeps.
struct linear {
    weights weight;               // [out, in]
    std::span<const float> bias;  // [out]
};
struct norm {
    std::span<const float> gain, bias;  // [n_embd]
};
struct layer {
    norm ln_1;
    linear c_attn;       // [3 n_embd, n_embd]: q, k, v
    linear attn_c_proj;  // [n_embd, n_embd]
    norm ln_2;
    linear c_fc;        // [n_inner, n_embd]
    linear mlp_c_proj;  // [n_embd, n_inner]
};

using tensor_report = qnt::tensor_report;  // what became of one matrix

// Immutable: any number of sessions may share one. load.hpp makes them.
class model {
public:
    const gpt2::config& config() const { return config_; }
    qnt::compute_mode mode() const { return mode_; }
    std::span<const tensor_report> matrices() const { return reports_; }
    std::size_t parameters() const { return parameters_; }
    std::size_t bytes() const { return bytes_; }  // of all weights in memory
    double effective_bits() const { return 8.0 * double(bytes_) / double(parameters_); }

    // The parts, for session.
    const weights& wte() const { return wte_; }                                                                        // [vocab, n_embd]
    const weights& head() const { return head_; }                                                                      // the same if it is tied
    std::span<const float> position(std::size_t p) const { return wpe_.subspan(p * config_.n_embd, config_.n_embd); }  // [n_embd]
    std::span<const layer> layers() const { return layers_; }
    const norm& ln_f() const { return ln_f_; }

private:
    friend class model_builder;

    gpt2::config config_;
    qnt::compute_mode mode_ = qnt::automatic;
    weights wte_, head_;
    std::span<const float> wpe_;  // [n_ctx, n_embd]
    std::vector<layer> layers_;
    norm ln_f_;
    std::vector<tensor_report> reports_;
    std::size_t parameters_ = 0, bytes_ = 0;

    // What the views show.
    std::vector<qnt::any_matrix> matrices_;
    std::vector<std::vector<float>> arrays_;
    std::shared_ptr<const qnt::archive> archive_;
};

// A sequence in progress: the keys and values of what it has seen.
class session {
public:
    // model and executor must outlive the session. Throws qnt::exception when the cache does not fit into memory.
    session(const model& m, qnt::executor_ref executor)
        : model_(&m),
          executor_(executor),
          cache_(qnt::kv_cache::create(m.config().n_layer, m.config().n_head, m.config().head_size(), m.config().n_ctx).value()) {}

    std::size_t position() const { return position_; }
    void restart() {
        cache_.clear();
        position_ = 0;
    }

    // Logits [vocab] after the last of `ids`, which follow what came before. The same bits in one call or several. Throws
    // std::runtime_error when the context is full or an id is not in the vocabulary.
    std::span<const float> forward(std::span<const std::int32_t> ids) {
        run(ids);
        logits_.resize(model_->config().vocab_size);
        head(ids.size() - 1, 1, logits_.data());
        return logits_;
    }
    // Logits [ids, vocab] after each of them.
    std::span<const float> forward_all(std::span<const std::int32_t> ids) {
        run(ids);
        logits_.resize(ids.size() * model_->config().vocab_size);
        head(0, ids.size(), logits_.data());
        return logits_;
    }

private:
    using matrix = qnt::matrix_view<float>;
    using const_matrix = qnt::matrix_view<const float>;

    void run(std::span<const std::int32_t> ids) {
        const config& c = model_->config();
        const std::size_t t = ids.size(), d = c.n_embd;
        if (t == 0) throw std::runtime_error("no tokens to run");
        if (t > c.n_ctx - position_)
            throw std::runtime_error("context is full: " + std::to_string(position_) + " + " + std::to_string(t) +
                                     " tokens, the model has room for " + std::to_string(c.n_ctx));
        x_.resize(t * d);
        normed_.resize(t * d);
        qkv_.resize(t * 3 * d);
        inner_.resize(t * c.n_inner);
        embed(ids);
        const matrix x{x_.data(), t, d}, normed{normed_.data(), t, d}, qkv{qkv_.data(), t, 3 * d}, inner{inner_.data(), t, c.n_inner};
        for (std::size_t i = 0; i < c.n_layer; ++i) {
            const layer& l = model_->layers()[i];
            qnt::layer_norm(normed, const_matrix(x), l.ln_1.gain, l.ln_1.bias, c.layer_norm_epsilon, executor_);
            product(qkv, normed, l.c_attn, qnt::bias{l.c_attn.bias});
            const auto part = [&](std::size_t n) { return const_matrix{qkv_.data() + n * d, t, d, 3 * d}; };
            cache_.append(i, part(1), part(2), executor_);
            qnt::attention(normed, part(0), cache_, i, position_, executor_);
            product(x, normed, l.attn_c_proj, qnt::bias{l.attn_c_proj.bias} | qnt::residual{x});
            qnt::layer_norm(normed, const_matrix(x), l.ln_2.gain, l.ln_2.bias, c.layer_norm_epsilon, executor_);
            product(inner, normed, l.c_fc, qnt::bias{l.c_fc.bias} | qnt::gelu_tanh);
            product(x, inner, l.mlp_c_proj, qnt::bias{l.mlp_c_proj.bias} | qnt::residual{x});
        }
        position_ += t;
    }

    // x = token embedding + position embedding
    void embed(std::span<const std::int32_t> ids) {
        const config& c = model_->config();
        for (std::size_t i = 0; i < ids.size(); ++i) {
            if (ids[i] < 0 || std::size_t(ids[i]) >= c.vocab_size)
                throw std::runtime_error("token " + std::to_string(ids[i]) + " is not in the vocabulary of " + std::to_string(c.vocab_size));
            const std::span<float> row{&x_[i * c.n_embd], c.n_embd};
            qnt::dequantize_row(row, model_->wte(), std::size_t(ids[i]));
            const std::span<const float> at = model_->position(position_ + i);
            for (std::size_t k = 0; k < c.n_embd; ++k) row[k] += at[k];
        }
    }

    // out[count, vocab] for rows first.. of x, by the tied head
    void head(std::size_t first, std::size_t count, float* out) {
        const config& c = model_->config();
        const matrix normed{normed_.data(), count, c.n_embd};
        qnt::layer_norm(normed, const_matrix{&x_[first * c.n_embd], count, c.n_embd}, model_->ln_f().gain, model_->ln_f().bias, c.layer_norm_epsilon,
                        executor_);
        qnt::gemm(matrix{out, count, c.vocab_size}, const_matrix(normed), model_->head(), {.mode = mode_of(model_->head()), .executor = executor_});
    }

    void product(const matrix& y, const matrix& x, const linear& w, const qnt::epilogue_list& epilogue) {
        qnt::gemm(y, const_matrix(x), w.weight, {.mode = mode_of(w.weight), .epilogue = epilogue, .executor = executor_});
    }
    // Dense matrices (a policy may mix) have one mode only.
    qnt::compute_mode mode_of(const weights& w) const { return w.format.is_dense() ? qnt::exact : model_->mode(); }

    const model* model_;
    qnt::executor_ref executor_;
    qnt::kv_cache cache_;
    std::size_t position_ = 0;
    std::vector<float> x_, normed_, qkv_, inner_, logits_;
};

}  // namespace gpt2
