#include "quality.hpp"

#include <qnt/metrics/text.hpp>
#include <qnt/qnt.hpp>

#include "../gpt2/batch.hpp"
#include "../gpt2/tokenizer.hpp"
#include "load_configuration.hpp"

namespace eval {

namespace {

// UTF-8, whatever the tokens end in.
std::string text_of(const gpt2::tokenizer& tokenizer, std::span<const std::int32_t> ids) {
    gpt2::utf8_stream stream;
    std::string text = stream.push(tokenizer.decode(ids));
    return text + stream.finish();
}

// A token, the row that the models predicted it from, and what became of it.
struct scored_token {
    std::size_t position;
    qnt::logit_comparison comparison;
    std::span<const float> reference, logits;
};

// A model and its reference, side by side.
class pair {
public:
    pair(const settings& s, const configuration& c, qnt::executor_ref executor)
        : executor_(executor),
          is_same_(c.is_reference || (c.format == "f32" && c.kv.types == "f32")),
          kv_(qnt::kv_types::parse(c.kv.types).value()),
          reference_(gpt2::load_model(c.model, {.weights = {{"*", qnt::keep<float>}}}, executor)) {
        if (!is_same_) model_.emplace(load_configuration(s, c, executor));
        reference_session_.emplace(reference_, executor);
        if (!is_same_) session_.emplace(*model_, executor, kv_);
    }
    pair(const pair&) = delete;
    pair& operator=(const pair&) = delete;

    bool is_same() const { return is_same_; }
    const gpt2::model& model() const { return is_same_ ? reference_ : *model_; }
    const gpt2::model& reference() const { return reference_; }
    qnt::kv_types kv() const { return kv_; }

    // f(scored_token) for each token that is scored, in order. whole: the divergence too, else likelihoods only.
    template <class F> void score(std::span<const std::int32_t> tokens, const gpt2::window& w, bool whole, const F& f) {
        reference_session_->restart();
        if (session_) session_->restart();
        std::size_t position = w.first + w.size - w.scored;
        gpt2::for_each_part(tokens, w, parts_rows, [&](std::span<const std::int32_t> ids, std::size_t wanted) {
            const auto expected = reference_session_->run(ids, wanted), logits = session_ ? session_->run(ids, wanted) : expected;
            compare(tokens.subspan(position, wanted), expected, logits, whole);
            const std::size_t vocab = reference_.config().vocab_size;
            for (std::size_t t = 0; t < wanted; ++t)
                f(scored_token{position + t, comparisons_[t], expected.subspan(t * vocab, vocab), logits.subspan(t * vocab, vocab)});
            position += wanted;
        });
    }

private:
    void compare(std::span<const std::int32_t> targets, std::span<const float> expected, std::span<const float> logits, bool whole) {
        const std::size_t vocab = reference_.config().vocab_size;
        comparisons_.resize(targets.size());
        executor_.parallel_for(targets.size(), 8, [&](std::size_t begin, std::size_t end) {
            for (std::size_t t = begin; t < end; ++t) {
                const auto p = expected.subspan(t * vocab, vocab), q = logits.subspan(t * vocab, vocab);
                const auto target = std::size_t(targets[t]);
                if (whole) comparisons_[t] = qnt::compare_logits(p, q, target);
                else comparisons_[t] = {0, qnt::negative_log_likelihood(p, target), qnt::negative_log_likelihood(q, target), false, 0};
            }
        });
        for (const qnt::logit_comparison& c : comparisons_)
            if (!std::isfinite(c.kl) || !std::isfinite(c.nll_p) || !std::isfinite(c.nll_q))
                throw std::runtime_error("the model computes logits that are no finite numbers: nothing can be said about them");
    }

    qnt::executor_ref executor_;
    bool is_same_;
    qnt::kv_types kv_;
    gpt2::model reference_;
    std::optional<gpt2::model> model_;  // of its own, if it is not the reference
    std::optional<gpt2::session> reference_session_, session_;
    std::vector<qnt::logit_comparison> comparisons_;
};

void note_worst(std::vector<worst_token>& worst, const scored_token& t, std::span<const std::int32_t> tokens, const gpt2::tokenizer& tokenizer) {
    worst_token w{t.comparison.kl, t.position, std::exp(-t.comparison.nll_q), std::exp(-t.comparison.nll_p), "", "", "", ""};
    const auto at = std::lower_bound(worst.begin(), worst.end(), w);
    if (at - worst.begin() >= std::ptrdiff_t(worst_kept)) return;
    const auto one = [&](std::size_t id) {
        const std::int32_t ids[] = {std::int32_t(id)};
        return text_of(tokenizer, ids);
    };
    const std::size_t before = std::min<std::size_t>(t.position, 24);
    w.before = text_of(tokenizer, tokens.subspan(t.position - before, before));
    w.token = one(std::size_t(tokens[t.position]));
    w.guess = one(qnt::detail::top_ids<1>(t.logits).ids[0]);
    w.reference_guess = one(qnt::detail::top_ids<1>(t.reference).ids[0]);
    worst.insert(at, std::move(w));
    if (worst.size() > worst_kept) worst.pop_back();
}

text_part score_text(pair& models, std::span<const std::int32_t> tokens, std::span<const gpt2::window> windows, const gpt2::tokenizer& tokenizer,
                     bool whole, const std::function<void(double)>& done) {
    text_part part;
    for (const gpt2::window& w : windows) {
        window_sums sums;
        models.score(tokens, w, whole, [&](const scored_token& t) {
            const qnt::logit_comparison& c = t.comparison;
            sums.bytes += tokenizer.token_bytes(tokens[t.position]).size();
            sums.nll.add(c.nll_q);
            sums.reference_nll.add(c.nll_p);
            sums.nll_change.add(c.nll_q - c.nll_p);
            if (!whole) return;
            const double change = c.probability_change();
            sums.kl.add(c.kl);
            sums.probability_change.add(change);
            sums.same_top += c.same_top;
            sums.shared_top5 += c.shared_top5;
            part.kl.add(c.kl);
            part.probability_change.add(std::abs(change));
            if (!models.is_same()) note_worst(part.worst, t, tokens, tokenizer);
        });
        part.windows.push_back(sums);
        done(double(w.scored));
    }
    return part;
}

// Greedy texts of all prompts; the ids end with the token that ends the text, if it came.
std::vector<std::vector<std::int32_t>> continue_prompts(const gpt2::model& model, qnt::kv_types kv,
                                                        std::span<const std::vector<std::int32_t>> prompts, std::size_t new_tokens,
                                                        std::optional<std::int32_t> end_of_text, qnt::executor_ref executor) {
    gpt2::batch batch(model, executor, {.kv = kv});
    gpt2::sampling greedy{.max_new_tokens = new_tokens};
    if (end_of_text) greedy.stop_ids = {*end_of_text};
    for (const auto& p : prompts) batch.add(p, greedy);  // ids count from 1
    std::vector<std::vector<std::int32_t>> texts(prompts.size());
    while (!batch.idle())
        for (const gpt2::event& e : batch.step()) {
            if (e.finished == gpt2::finish::broken) throw std::runtime_error("the model computes no logits that a token could be chosen from");
            texts[e.id - 1].push_back(e.token);
        }
    return texts;
}

prompt_result compare_texts(const prompt& p, const gpt2::tokenizer& tokenizer, std::span<const std::int32_t> reference,
                            std::span<const std::int32_t> ids) {
    prompt_result r;
    r.id = p.id;
    r.category = p.category;
    r.prompt = p.text;
    r.reference_text = text_of(tokenizer, reference);
    r.text = text_of(tokenizer, ids);
    r.tokens = ids.size();
    r.common_tokens = std::size_t(std::mismatch(ids.begin(), ids.end(), reference.begin(), reference.end()).first - ids.begin());
    r.identical = std::equal(ids.begin(), ids.end(), reference.begin(), reference.end());
    r.character_similarity = qnt::character_similarity(r.reference_text, r.text);
    r.token_jaccard = qnt::jaccard_similarity(reference, ids);
    return r;
}

std::vector<prompt_result> run_prompts(pair& models, const settings& s, std::span<const prompt> prompts, const gpt2::tokenizer& tokenizer,
                                       qnt::executor_ref executor) {
    std::vector<std::vector<std::int32_t>> ids;
    for (const prompt& p : prompts) ids.push_back(tokenizer.encode(p.text));
    const auto end = tokenizer.special("<|endoftext|>");
    const auto expected = continue_prompts(models.reference(), {}, ids, s.new_tokens, end, executor);
    const auto texts = models.is_same() ? expected : continue_prompts(models.model(), models.kv(), ids, s.new_tokens, end, executor);
    std::vector<prompt_result> results;
    for (std::size_t i = 0; i < prompts.size(); ++i) {
        prompt_result r = compare_texts(prompts[i], tokenizer, expected[i], texts[i]);
        std::vector<std::int32_t> whole = ids[i];
        whole.insert(whole.end(), expected[i].begin(), expected[i].end());
        models.score(whole, {0, whole.size(), expected[i].size()}, true, [&](const scored_token& t) {
            r.kl.add(t.comparison.kl);
            r.max_kl = std::max(r.max_kl, t.comparison.kl);
            r.same_top += t.comparison.same_top;
        });
        results.push_back(std::move(r));
    }
    return results;
}

size_facts size_of(const gpt2::model& m) {
    size_facts f{m.parameters(), m.bytes(), m.outlier_share(), json::array()};
    for (const gpt2::tensor_report& t : m.matrices())
        f.matrices.push_back({{"name", t.name},
                              {"shape", t.shape},
                              {"format", t.format.name()},
                              {"bytes", t.report.bytes},
                              {"outlier_columns", t.report.outliers},
                              {"sqnr_db", std::isfinite(t.report.sqnr_db) ? json(t.report.sqnr_db) : json(nullptr)}});
    return f;
}

template <class T> std::span<const T> part_of(const std::vector<T>& all, const shard& s) {
    return std::span(all).subspan(s.begin(all.size()), s.end(all.size()) - s.begin(all.size()));
}

}  // namespace

quality measure_quality(const settings& s, const configuration& c, const std::function<void(double)>& progress) {
    qnt::thread_pool pool(s.threads == 0 ? qnt::usable_cores() : s.threads);
    const gpt2::tokenizer tokenizer(c.model);
    const std::vector<std::int32_t> tokens = tokenizer.encode(read_input(s.text, "--text"));
    const std::vector<prompt> prompts = s.no_text ? std::vector<prompt>() : read_prompts(s.prompts);
    pair models(s, c, pool);
    const protocols p = protocols_of(s, c.model_name(), models.reference().config().n_ctx, tokens.size());

    const auto nonoverlap = part_of(p.nonoverlap, s.shard), stride = part_of(p.stride, s.shard);
    const auto some_prompts = part_of(prompts, s.shard);
    const double prompt_work = double(some_prompts.size() * s.new_tokens) * 4;  // a token costs more alone than in a window
    double total = prompt_work, done = 0;
    for (const gpt2::window& w : nonoverlap) total += double(w.scored);
    for (const gpt2::window& w : stride) total += 2 * double(w.scored);
    const auto advance = [&](double by) { progress((done += by) / std::max(total, 1.0)); };

    quality q;
    q.size = size_of(models.model());
    q.nonoverlap = score_text(models, tokens, nonoverlap, tokenizer, true, advance);
    q.stride = score_text(models, tokens, stride, tokenizer, false, [&](double n) { advance(2 * n); });
    q.prompts = run_prompts(models, s, some_prompts, tokenizer, pool);
    advance(prompt_work);
    return q;
}

}  // namespace eval
