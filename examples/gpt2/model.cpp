#include "model.hpp"

#include <cstring>
#include <stdexcept>

namespace gpt2 {

namespace {
using const_matrix = qnt::matrix_view<const float>;
}

double model::outlier_share() const {
    double outliers = 0, all = 0;
    for (const tensor_report& r : reports_) {
        outliers += double(r.shape[0]) * double(r.report.outliers);
        all += double(r.shape[0]) * double(r.shape[1]);
    }
    return all > 0 ? outliers / all : 0;
}

std::span<const float> forward_pass::operator()(std::span<const sequence_rows> sequences) {
    const config& c = model_->config();
    std::size_t t = 0, wanted = 0;
    for (const sequence_rows& s : sequences) {
        check(s);
        t += s.ids.size();
        wanted += s.wanted;
    }
    const std::size_t d = c.n_embd;
    matrix x = room(x_, t, d), normed = room(normed_, t, d), qkv = room(qkv_, t, 3 * d), inner = room(inner_, t, c.n_inner);
    embed(x, sequences);
    lap(part::embedding);
    for (std::size_t i = 0; i < c.n_layer; ++i) {
        const layer& l = model_->layers()[i];
        normalize(normed, x, l.ln_1);
        lap(part::norm);
        product(qkv, normed, l.c_attn, qnt::bias{l.c_attn.bias});
        lap(part::qkv);
        append(sequences, qkv, i);
        if (i + 1 == c.n_layer) {  // nobody asks for the other rows from here on
            x.rows = normed.rows = inner.rows = wanted;
            keep_wanted(x, sequences);
            look_up(normed, qkv, sequences, true);
        } else if (i == 0) {
            look_up(normed, qkv, sequences, false);
        }
        qnt::attention(attention_, i, executor_);
        lap(part::attention);
        product(x, normed, l.attn_c_proj, qnt::bias{l.attn_c_proj.bias} | qnt::residual{x});
        lap(part::projection);
        normalize(normed, x, l.ln_2);
        lap(part::norm);
        product(inner, normed, l.c_fc, qnt::bias{l.c_fc.bias} | qnt::gelu_tanh);
        product(x, inner, l.mlp_c_proj, qnt::bias{l.mlp_c_proj.bias} | qnt::residual{x});
        lap(part::mlp);
    }
    const matrix logits = room(logits_, wanted, c.vocab_size);
    normalize(normed, x, model_->ln_f());
    product(logits, normed, {model_->head(), {}}, {});
    lap(part::head);
    return {logits.data, wanted * c.vocab_size};
}

forward_pass::matrix forward_pass::room(std::vector<float>& memory, std::size_t rows, std::size_t cols) {
    if (memory.size() < rows * cols) memory.resize(rows * cols);
    return {memory.data(), rows, cols};
}

void forward_pass::lap(part p) {
    if (watch_) watch_->lap(p);
}

void forward_pass::check(const sequence_rows& s) const {
    const config& c = model_->config();
    const std::size_t position = s.cache->length(0);
    if (s.ids.empty()) throw std::runtime_error("no tokens to run");
    if (s.wanted > s.ids.size())
        throw std::runtime_error(std::to_string(s.wanted) + " rows of logits wanted after " + std::to_string(s.ids.size()) + " tokens");
    if (s.ids.size() > c.n_ctx - position)
        throw std::runtime_error("context is full: " + std::to_string(position) + " + " + std::to_string(s.ids.size()) +
                                 " tokens, the model has room for " + std::to_string(c.n_ctx));
    for (const std::int32_t id : s.ids)
        if (id < 0 || std::size_t(id) >= c.vocab_size)
            throw std::runtime_error("token " + std::to_string(id) + " is not in the vocabulary of " + std::to_string(c.vocab_size));
    s.cache->reserve(position + s.ids.size()).value();
}

void forward_pass::embed(const matrix& x, std::span<const sequence_rows> sequences) {
    float* to = x.data;
    for (const sequence_rows& s : sequences)
        for (std::size_t i = 0; i < s.ids.size(); ++i, to += x.cols) {
            embedding_({to, x.cols}, std::size_t(s.ids[i]));
            const std::span<const float> at = model_->position(s.cache->length(0) + i);
            for (std::size_t k = 0; k < x.cols; ++k) to[k] += at[k];
        }
}

void forward_pass::append(std::span<const sequence_rows> sequences, const matrix& qkv, std::size_t layer) {
    std::size_t first = 0;
    for (const sequence_rows& s : sequences) {
        const std::size_t rows = s.ids.size(), d = qkv.cols / 3;
        const auto third = [&](std::size_t n) { return const_matrix{qkv.row(first) + n * d, rows, d, qkv.cols}; };
        s.cache->append(layer, third(1), third(2), executor_);
        first += rows;
    }
}

void forward_pass::look_up(const matrix& out, const matrix& qkv, std::span<const sequence_rows> sequences, bool wanted) {
    attention_.clear();
    std::size_t end = 0, to = 0;
    for (const sequence_rows& s : sequences) {
        const std::size_t rows = wanted ? s.wanted : s.ids.size();
        end += s.ids.size();
        attention_.push_back({out.rows_from(to, rows), {qkv.row(end - rows), rows, out.cols, qkv.cols}, s.cache, s.cache->length(0) - rows});
        to += rows;
    }
}

void forward_pass::keep_wanted(const matrix& x, std::span<const sequence_rows> sequences) {
    std::size_t end = 0, to = 0;
    for (const sequence_rows& s : sequences) {
        end += s.ids.size();
        std::memmove(x.row(to), x.row(end - s.wanted), s.wanted * x.cols * sizeof(float));
        to += s.wanted;
    }
}

void forward_pass::normalize(const matrix& y, const matrix& x, const norm& n) {
    qnt::layer_norm(y, const_matrix(x), n.gain, n.bias, model_->config().layer_norm_epsilon, executor_);
}

void forward_pass::product(const matrix& y, const matrix& x, const linear& w, const qnt::epilogue_list& epilogue) {
    if (observer_) observer_(w.weight, x);
    qnt::gemm(y, const_matrix(x), w.weight, {.mode = mode_of(w.weight), .epilogue = epilogue, .executor = executor_});
}

qnt::compute_mode forward_pass::mode_of(const weights& w) const { return w.format.is_dense() ? qnt::exact : model_->mode(); }

}  // namespace gpt2
