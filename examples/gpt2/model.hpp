// GPT-2 assembled from qnt: configuration, weights in any format, and the forward pass.
//
//   gpt2::model model = gpt2::load_model("examples/models/qnt-gpt2-5m", {.weights = {{"*", qnt::use<qnt::int8_channel>}}}, pool);
//   gpt2::session session(model, pool);
//   std::span<const float> logits = session.forward(ids);                  // [vocab] after the last id; the session remembers
//
// The architecture: Radford et al. 2019, "Language models are unsupervised multitask learners", section 2.3 (pre-layer-norm
// transformer, learned positions, output head tied to the token embedding).
#pragma once
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <qnt/qnt.hpp>

#include "config.hpp"
#include "stopwatch.hpp"

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

// Immutable: any number of batches and sessions may share one, on any threads. load.hpp makes them.
class model {
public:
    const gpt2::config& config() const { return config_; }
    qnt::compute_mode mode() const { return mode_; }
    std::span<const tensor_report> matrices() const { return reports_; }
    std::size_t parameters() const { return parameters_; }
    std::size_t bytes() const { return bytes_; }  // of all weights in memory
    double effective_bits() const { return 8.0 * double(bytes_) / double(parameters_); }
    double outlier_share() const;  // of the weights of matrices, those in columns kept as f16

    // The parts, for forward_pass.
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

// The new tokens of one sequence in a forward pass.
struct sequence_rows {
    std::span<const std::int32_t> ids;  // they follow what the cache holds; at least one
    qnt::kv_cache* cache = nullptr;
    std::size_t wanted = 1;  // logits after the last so many of them, at most all; 0 for a part of a prompt
};

// Is told of each product of a pass: the weights and x[rows, in], before it.
using product_observer = std::function<void(const weights&, qnt::matrix_view<const float>)>;

// The transformer itself, over rows of any number of sequences at once: their products are one product of T rows, attention looks into
// the cache of each. A row has the same bits whatever else is in the pass. Keeps its memory from pass to pass.
class forward_pass {
public:
    // model, executor and watch must outlive it.
    forward_pass(const model& m, qnt::executor_ref executor, stopwatch* watch = nullptr)
        : model_(&m), executor_(executor), watch_(watch), embedding_(m.wte()) {}

    const gpt2::model& model() const { return *model_; }
    void observe(product_observer observer) { observer_ = std::move(observer); }
    // An empty cache that fits. Throws qnt::exception.
    qnt::kv_cache new_cache(qnt::kv_types types) const {
        const config& c = model_->config();
        return qnt::kv_cache::create(c.n_layer, c.n_head, c.head_size(), c.n_ctx, types).value();
    }

    // Logits [sum of wanted, vocab], sequence by sequence, until the next pass. The caches hold the new rows afterwards. Throws
    // std::runtime_error, with every cache as it was: a sequence without tokens, a full context, an id that is not in the vocabulary, no
    // memory for more positions.
    std::span<const float> operator()(std::span<const sequence_rows> sequences);

private:
    using matrix = qnt::matrix_view<float>;
    static matrix room(std::vector<float>& memory, std::size_t rows, std::size_t cols);
    void lap(part p);
    void check(const sequence_rows& s) const;
    // x[T, n_embd] = token embedding + position embedding
    void embed(const matrix& x, std::span<const sequence_rows> sequences);
    // The keys and values in qkv[T, 3 n_embd] join the caches.
    void append(std::span<const sequence_rows> sequences, const matrix& qkv, std::size_t layer);
    // attention_: out[rows, n_embd] for the queries in qkv[T, 3 n_embd], of all rows or of those wanted, which the caches hold already
    void look_up(const matrix& out, const matrix& qkv, std::span<const sequence_rows> sequences, bool wanted);
    // x[wanted, n_embd] from x[T, n_embd]: the last rows of each sequence move to the front.
    static void keep_wanted(const matrix& x, std::span<const sequence_rows> sequences);
    void normalize(const matrix& y, const matrix& x, const norm& n);
    void product(const matrix& y, const matrix& x, const linear& w, const qnt::epilogue_list& epilogue);
    // Dense matrices (a policy may mix) have one mode only.
    qnt::compute_mode mode_of(const weights& w) const;

    const gpt2::model* model_;
    qnt::executor_ref executor_;
    stopwatch* watch_;
    product_observer observer_;
    qnt::row_dequantizer embedding_;
    std::vector<float> x_, normed_, qkv_, inner_, logits_;
    std::vector<qnt::attention_rows> attention_;
};

// One sequence, for who feeds it tokens himself: a text to be scored. Generation is in batch.hpp.
class session {
public:
    // model and executor must outlive the session. Throws qnt::exception when the cache does not fit into memory.
    session(const model& m, qnt::executor_ref executor, qnt::kv_types kv = {}) : pass_(m, executor), cache_(pass_.new_cache(kv)) {}

    std::size_t position() const { return cache_.length(0); }
    void restart() { cache_.clear(); }

    // Logits [vocab] after the last of `ids`, which follow what came before. The same bits in one call or several. Throws as
    // forward_pass does.
    std::span<const float> forward(std::span<const std::int32_t> ids) { return run(ids, 1); }
    // Logits [ids, vocab] after each of them.
    std::span<const float> forward_all(std::span<const std::int32_t> ids) { return run(ids, ids.size()); }
    // Logits [wanted, vocab] after the last `wanted` of them.
    std::span<const float> run(std::span<const std::int32_t> ids, std::size_t wanted) {
        const sequence_rows rows{ids, &cache_, wanted};
        return pass_({&rows, 1});
    }
    std::size_t kv_bytes() const { return cache_.bytes(); }

private:
    forward_pass pass_;
    qnt::kv_cache cache_;
};

}  // namespace gpt2
