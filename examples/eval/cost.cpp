#include "cost.hpp"

#include <malloc.h>

#include <algorithm>
#include <chrono>

#include <qnt/qnt.hpp>

#include "../gpt2/batch.hpp"
#include "../gpt2/tokenizer.hpp"
#include "../machine.hpp"
#include "load_configuration.hpp"

namespace eval {

namespace {

using clock = std::chrono::steady_clock;

double seconds_since(clock::time_point start) { return std::chrono::duration<double>(clock::now() - start).count(); }

// Seconds until all sequences have their first token, and of all tokens after those.
struct sample {
    double first = 0, rest = 0;
    std::size_t kv_bytes = 0;
};

class runner {
public:
    runner(const settings& s, const configuration& c, const gpt2::model& model, std::vector<std::int32_t> text, qnt::executor_ref executor)
        : c_(c), model_(model), text_(std::move(text)), executor_(executor), shape_(speed_shape_of(s, model.config().n_ctx)) {}

    const speed_shape& shape() const { return shape_; }
    sample run(std::size_t batch) { return c_.kv.is_kept ? run_batch(batch) : run_without_cache(batch); }

private:
    // Parts of the text, as it goes round.
    std::vector<std::int32_t> prompt(std::size_t i) const {
        std::vector<std::int32_t> ids;
        for (std::size_t t = 0; t < shape_.prompt; ++t) ids.push_back(text_[(i * shape_.prompt + t) % text_.size()]);
        return ids;
    }
    sample run_batch(std::size_t n) {
        gpt2::batch batch(model_, executor_,
                          {.kv = qnt::kv_types::parse(c_.kv.types).value(), .max_rows_per_step = std::max<std::size_t>(256, n), .max_sequences = n});
        for (std::size_t i = 0; i < n; ++i) batch.add(prompt(i), {.max_new_tokens = shape_.tokens + 1});
        sample s;
        std::size_t waiting = n;
        const auto start = clock::now();
        clock::time_point first = start;
        while (!batch.idle()) {
            for (const gpt2::event& e : batch.step())
                if (e.finished == gpt2::finish::broken) throw std::runtime_error("the model computes no logits that a token could be chosen from");
                else if (waiting > 0) --waiting;
            if (waiting == 0 && first == start) first = clock::now();
            s.kv_bytes = std::max(s.kv_bytes, batch.kv_bytes());
        }
        s.rest = seconds_since(first);
        s.first = std::chrono::duration<double>(first - start).count();
        return s;
    }
    // Every token computes all before it again, one sequence after the other.
    sample run_without_cache(std::size_t n) {
        gpt2::session session(model_, executor_);
        sample s;
        for (std::size_t i = 0; i < n; ++i) {
            std::vector<std::int32_t> ids = prompt(i);
            for (std::size_t t = 0; t <= shape_.tokens; ++t) {
                const auto start = clock::now();
                session.restart();
                ids.push_back(gpt2::argmax(session.forward(ids)));
                (t == 0 ? s.first : s.rest) += seconds_since(start);
            }
        }
        return s;
    }

    const configuration& c_;
    const gpt2::model& model_;
    std::vector<std::int32_t> text_;
    qnt::executor_ref executor_;
    speed_shape shape_;
};

json of(const spread& s) { return {{"median", s.median}, {"least", s.least}, {"most", s.most}}; }
json bytes_or_null(std::size_t n) { return n > 0 ? json(n) : json(nullptr); }

}  // namespace

spread spread::of(std::vector<double> samples) {
    std::sort(samples.begin(), samples.end());
    const std::size_t n = samples.size();
    return {(samples[(n - 1) / 2] + samples[n / 2]) / 2, samples.front(), samples.back()};
}

cost measure_cost(const settings& s, const configuration& c, const std::function<void(double)>& progress) {
    qnt::thread_pool pool(s.threads == 0 ? qnt::usable_cores() : s.threads);
    cost out;
    std::vector<std::int32_t> text;
    {
        const std::string whole = read_input(s.text, "--text");
        text = gpt2::tokenizer(c.model).encode(std::string_view(whole).substr(0, 1 << 16));
    }
    const auto start = clock::now();
    const gpt2::model model = load_configuration(s, c, pool);
    out.load_s = seconds_since(start);
    out.peak_load_bytes = tools::peak_memory();
    ::malloc_trim(0);  // what loading has freed is not this model's
    const bool forgotten = tools::forget_peak_memory();
    runner runs(s, c, model, std::move(text), pool);
    out.prompt = runs.shape().prompt;
    out.tokens = runs.shape().tokens;
    out.repeats = s.repeats;
    out.threads = pool.size();
    for (std::size_t b = 0; b < s.batches.size(); ++b) {
        const std::size_t batch = s.batches[b];
        speed v{batch, runs.run(batch).kv_bytes, {}, {}, {}};  // to warm up
        std::vector<double> first, prefill, decode;
        for (std::size_t i = 0; i < s.repeats; ++i) {
            const sample r = runs.run(batch);
            first.push_back(1e3 * r.first);
            prefill.push_back(double(batch * out.prompt) / r.first);
            decode.push_back(double(batch * out.tokens) / r.rest);
            progress((double(b) + double(i + 1) / double(s.repeats)) / double(s.batches.size()));
        }
        v.first_token_ms = spread::of(std::move(first));
        v.prefill_tok_s = spread::of(std::move(prefill));
        v.decode_tok_s = spread::of(std::move(decode));
        out.speeds.push_back(v);
    }
    out.peak_bytes = forgotten ? tools::peak_memory() : 0;
    return out;
}

json to_json(const cost& c) {
    json batches = json::array();
    for (const speed& s : c.speeds)
        batches.push_back({{"batch", s.batch},
                           {"kv_bytes", s.kv_bytes},
                           {"first_token_ms", of(s.first_token_ms)},
                           {"prefill_tok_s", of(s.prefill_tok_s)},
                           {"decode_tok_s", of(s.decode_tok_s)}});
    return {{"cpu", tools::cpu_name()},
            {"isa", qnt::isa::name(qnt::isa::active())},
            {"threads", c.threads},
            {"prompt_tokens", c.prompt},
            {"new_tokens", c.tokens},
            {"warm_up", 1},
            {"repeats", c.repeats},
            {"load_s", c.load_s},
            {"peak_load_bytes", bytes_or_null(c.peak_load_bytes)},
            {"peak_bytes", bytes_or_null(c.peak_bytes)},
            {"batches", batches}};
}

}  // namespace eval
