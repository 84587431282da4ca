#include "evaluate.hpp"

#include <algorithm>
#include <chrono>
#include <set>

#include <gpt2/sampler.hpp>
#include <gpt2/text_filter.hpp>
#include <qnt/metrics/metrics.hpp>
#include <qnt/metrics/text.hpp>

namespace serve {

double similarity(std::string_view a, std::string_view b) {
    const std::u32string x(a.begin(), a.end()), y(b.begin(), b.end());
    const std::size_t longer = std::max(x.size(), y.size());
    return longer == 0 ? 1 : 1 - double(qnt::edit_distance(x, y)) / double(longer);
}

double jaccard(std::string_view a, std::string_view b) {
    const auto words = [](std::string_view text) {
        std::set<std::string_view> out;
        constexpr const char* blanks = " \t\r\n\v\f";
        for (std::size_t at = text.find_first_not_of(blanks); at != text.npos;) {
            const std::size_t end = std::min(text.find_first_of(blanks, at), text.size());
            out.insert(text.substr(at, end - at));
            at = text.find_first_not_of(blanks, end);
        }
        return out;
    };
    const auto of_a = words(a), of_b = words(b);
    const auto common = std::count_if(of_a.begin(), of_a.end(), [&](std::string_view w) { return of_b.contains(w); });
    const std::size_t all = of_a.size() + of_b.size() - std::size_t(common);
    return all == 0 ? 1 : double(common) / double(all);
}

double evaluation::mean(double evaluated::*of) const {
    double sum = 0;
    for (const evaluated& t : texts) sum += t.*of;
    return texts.empty() ? 0 : sum / double(texts.size());
}
double evaluation::identical_share() const {
    const auto n = std::count_if(texts.begin(), texts.end(), [](const evaluated& t) { return t.is_identical(); });
    return texts.empty() ? 0 : double(n) / double(texts.size());
}
double evaluation::seconds(generated evaluated::*of) const {
    double sum = 0;
    for (const evaluated& t : texts) sum += (t.*of).seconds;
    return sum;
}
double evaluation::tokens_per_second(generated evaluated::*of) const {
    std::size_t tokens = 0;
    for (const evaluated& t : texts) tokens += (t.*of).tokens;
    const double s = seconds(of);
    return s > 0 ? double(tokens) / s : 0;
}

const std::vector<std::string>& built_in_prompts() {
    static const std::vector<std::string> prompts{
        "The old house stood at the end of the road, and",
        "In the first years of the century the city",
        "The experiment was repeated three times, because",
        "She opened the letter and read",
        "Water is heated until it",
        "The second half of the match began with",
        "A small ship left the harbour before dawn,",
        "According to the report, the number of",
    };
    return prompts;
}

namespace {

// A session whose forward passes take turns and are timed.
class reader {
public:
    reader(const gpt2::model& m, qnt::executor_ref executor, turns& shared, const std::function<bool()>& should_stop)
        : session_(m, executor), turns_(shared), should_stop_(should_stop), context_(m.config().n_ctx) {}

    std::span<const float> read(std::span<const std::int32_t> ids) {
        return timed([&] { return session_.forward(ids); });
    }
    std::span<const float> read_all(std::span<const std::int32_t> ids) {
        return timed([&] { return session_.forward_all(ids); });
    }
    void restart() {
        session_.restart();
        seconds_ = 0;
    }
    double seconds() const { return seconds_; }
    bool is_full() const { return session_.position() == context_; }

private:
    template <class Pass> std::span<const float> timed(const Pass& pass) {
        if (should_stop_()) throw evaluation_stopped();
        const std::lock_guard turn(turns_);
        const auto start = std::chrono::steady_clock::now();
        const auto logits = pass();
        seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        return logits;
    }

    gpt2::session session_;
    turns& turns_;
    const std::function<bool()>& should_stop_;
    std::size_t context_;
    double seconds_ = 0;
};

// Greedily. read: what it chose that it read, too: all but the last, but for the one before the end of the text.
generated generate(reader& from, const gpt2::tokenizer& tokenizer, const std::vector<std::int32_t>& prompt, std::size_t most,
                   std::vector<std::int32_t>& read) {
    generated out;
    gpt2::text_filter text;
    const auto end_of_text = tokenizer.special("<|endoftext|>");
    from.restart();
    read.clear();
    std::int32_t token = gpt2::argmax(from.read(prompt));
    while (token != end_of_text) {
        out.text += text.push(tokenizer.token_bytes(token));
        if (++out.tokens == most || from.is_full()) break;
        read.push_back(token);
        token = gpt2::argmax(from.read({&token, 1}));
    }
    out.text += text.finish();
    out.seconds = from.seconds();
    return out;
}

// Both read the same, some tokens at a time: memory for a few rows of logits is enough.
void compare(evaluated& e, reader& a, reader& b, const std::vector<std::int32_t>& prompt, std::span<const std::int32_t> text) {
    constexpr std::size_t at_once = 16;
    const auto compare_row = [&](std::span<const float> p, std::span<const float> q) {
        e.kl += qnt::kl_divergence(p, q);
        e.top1 += qnt::top1_agrees(p, q) ? 1 : 0;
    };
    a.restart();
    b.restart();
    const double choices = double(text.size() + 1);
    const auto first = a.read(prompt);
    const std::size_t vocab = first.size();
    compare_row(first, b.read(prompt));
    for (; !text.empty(); text = text.subspan(std::min(at_once, text.size()))) {
        const auto part = text.first(std::min(at_once, text.size()));
        const auto p = a.read_all(part), q = b.read_all(part);
        for (std::size_t i = 0; i < part.size(); ++i) compare_row(p.subspan(i * vocab, vocab), q.subspan(i * vocab, vocab));
    }
    e.kl /= choices;
    e.top1 /= choices;
}

}  // namespace

evaluation evaluate(const gpt2::model& baseline, const gpt2::model& quantized, const gpt2::tokenizer& tokenizer,
                    const std::vector<prompt_text>& prompts, std::size_t max_new_tokens, qnt::executor_ref executor, turns& shared,
                    const std::function<bool()>& should_stop) {
    reader of_baseline(baseline, executor, shared, should_stop), of_quantized(quantized, executor, shared, should_stop);
    evaluation all;
    std::vector<std::int32_t> ids, ids_of_quantized;
    for (const prompt_text& p : prompts) {
        evaluated e{.prompt = p.text};
        e.baseline = generate(of_baseline, tokenizer, p.ids, max_new_tokens, ids);
        e.quantized = generate(of_quantized, tokenizer, p.ids, max_new_tokens, ids_of_quantized);
        e.similarity = similarity(e.baseline.text, e.quantized.text);
        e.jaccard = jaccard(e.baseline.text, e.quantized.text);
        compare(e, of_baseline, of_quantized, p.ids, ids);
        all.texts.push_back(std::move(e));
    }
    return all;
}

}  // namespace serve
