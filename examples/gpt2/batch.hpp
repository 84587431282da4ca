// Generates for any number of sequences at once.
//
//   gpt2::batch batch(model, pool);
//   gpt2::sequence_id a = batch.add(ids, {.max_new_tokens = 40});            // at any time, between two steps
//   while (!batch.idle())
//       for (const gpt2::event& e : batch.step()) use(e.id, e.token, e.finished);
//
//   gpt2::generate(model, ids, {.temperature = 0.8f, .max_new_tokens = 40}, [](std::int32_t token) { return go_on; }, pool);
//
// Continuous batching (Yu et al. 2022, "Orca"): a step is one forward pass over at most max_rows_per_step rows, the newest token of every
// sequence that generates and then parts of the prompts of others, in the order in which they came. Sequences come and go between steps.
// What a sequence gets, logits and tokens, has the same bits as when it runs alone.
#pragma once
#include <optional>

#include "model.hpp"
#include "sampler.hpp"

namespace gpt2 {

using sequence_id = std::uint64_t;

// Why a sequence ended, with this event.
enum class finish : std::uint8_t {
    none,       // it goes on
    length,     // max_new_tokens
    stop,       // `token` is one of stop_ids
    cancelled,  // by cancel(); no token
    context,    // the model's context is full, and sampling::window is 0
    broken,     // there is no token to choose: a logit is NaN, or none is finite; no token
};
inline const char* name_of(finish f) {
    constexpr const char* names[] = {"none", "length", "stop", "cancelled", "context", "broken"};
    return names[std::size_t(f)];
}

struct event {
    sequence_id id = 0;
    std::int32_t token = -1;
    std::span<const float> logits;  // [vocab] that it was chosen from, until the next step; empty if cancelled
    finish finished = finish::none;
};

struct batch_options {
    qnt::kv_types kv = {};                // how keys and values are stored
    std::size_t max_rows_per_step = 256;  // tokens in one forward pass: bounds its time and its memory
    std::size_t max_sequences = 64;       // that hold a cache at once; others wait for their turn
    stopwatch* watch = nullptr;           // must outlive the batch
};

// Not for several threads at once: who serves several clients has one thread that calls step().
class batch {
public:
    // model and executor must outlive the batch. Throws std::invalid_argument for options that are 0.
    explicit batch(const model& m, qnt::executor_ref executor = {}, const batch_options& options = {})
        : pass_(m, executor, options.watch), options_(options) {
        if (options.max_rows_per_step == 0 || options.max_sequences == 0)
            throw std::invalid_argument("max_rows_per_step and max_sequences must be at least 1");
        candidates_.reserve(m.config().vocab_size);
    }

    // A sequence that starts with `prompt`. Throws std::invalid_argument, with the batch as it was, for what cannot run.
    sequence_id add(std::span<const std::int32_t> prompt, const sampling& options = {});
    // Ends a sequence; the next step says so. False: there is none with this id (any more).
    bool cancel(sequence_id id);
    // One forward pass, if there is something to run: an event for each sequence that got a token or ended, by id, until the next step.
    // None while there are only parts of long prompts to run. Throws qnt::exception or std::bad_alloc, with the batch
    // as it was, when memory runs out.
    std::span<const event> step();

    bool idle() const { return sequences_.empty(); }
    std::size_t size() const { return sequences_.size(); }  // that have not ended
    std::size_t waiting() const { return sequences_.size() - running(); }
    // Of all caches, those that are kept for sequences to come included.
    std::size_t kv_bytes() const;
    const gpt2::model& model() const { return pass_.model(); }

private:
    struct sequence {
        sequence_id id;
        sampler choose;
        std::vector<std::int32_t> stop_ids;
        std::size_t tokens_left;
        std::size_t window;
        std::vector<std::int32_t> ids;  // the prompt and the tokens after it, since the context began
        std::size_t done = 0;           // of ids: in the cache
        std::size_t rows = 0;           // of ids: in this step
        bool prompted = false;          // all of ids but the newest are in the cache
        bool cancelled = false;
        std::optional<qnt::kv_cache> cache = {};  // while it runs
    };

    std::size_t running() const {
        std::size_t n = 0;
        for (const sequence& s : sequences_) n += s.cache.has_value();
        return n;
    }
    void plan();
    void admit(sequence& s);
    event advance(sequence& s, std::span<const float> logits);
    static void slide(sequence& s);
    void finish_up(const event& e);

    forward_pass pass_;
    batch_options options_;
    sequence_id last_id_ = 0;
    std::vector<sequence> sequences_;  // by id
    std::vector<qnt::kv_cache> spare_;
    std::vector<sequence_rows> rows_;  // these keep their memory
    std::vector<event> events_;
    candidates candidates_;
};

inline sequence_id batch::add(std::span<const std::int32_t> prompt, const sampling& options) {
    const auto refuse = [](const std::string& why) { throw std::invalid_argument(why); };
    const config& c = model().config();
    const auto check = [&](const char* what, std::int32_t id) {
        if (id < 0 || std::size_t(id) >= c.vocab_size)
            refuse(std::string(what) + " " + std::to_string(id) + " is not in the vocabulary of " + std::to_string(c.vocab_size));
    };
    validate(options);
    if (prompt.empty()) refuse("the prompt is empty: it needs at least one token");
    if (options.window > c.n_ctx)
        refuse("window is " + std::to_string(options.window) + ", the model's context has room for " + std::to_string(c.n_ctx) + " tokens");
    if (prompt.size() > c.n_ctx && options.window == 0)
        refuse("the prompt has " + std::to_string(prompt.size()) + " tokens, the model's context has room for " + std::to_string(c.n_ctx));
    for (const std::int32_t id : prompt) check("token", id);
    for (const std::int32_t id : options.stop_ids) check("stop id", id);
    const auto text = prompt.size() > c.n_ctx ? prompt.last(options.window) : prompt;
    std::vector<std::int32_t> ids;
    ids.reserve(std::min(text.size() + std::min(options.max_new_tokens, c.n_ctx), c.n_ctx + 1));  // so that step() needs no room for them
    ids.assign(text.begin(), text.end());
    sequences_.push_back({last_id_ + 1, sampler(options), options.stop_ids, options.max_new_tokens, options.window, std::move(ids)});
    return ++last_id_;
}

inline bool batch::cancel(sequence_id id) {
    for (sequence& s : sequences_)
        if (s.id == id && !s.cancelled) return s.cancelled = true;
    return false;
}

// Gives every sequence its rows of this step. Those that generate always fit: each of them began with a row that was left.
inline void batch::plan() {
    std::size_t left = options_.max_rows_per_step, caches = running();
    for (sequence& s : sequences_) {
        s.rows = s.prompted && !s.cancelled;
        left -= s.rows;
    }
    for (sequence& s : sequences_) {
        if (left == 0) break;
        if (s.cancelled || s.prompted) continue;
        if (!s.cache && caches == options_.max_sequences) break;
        caches += !s.cache;
        s.rows = std::min(left, s.ids.size() - s.done);
        left -= s.rows;
    }
    for (sequence& s : sequences_)
        if (s.rows > 0) admit(s);
}

// A cache with room for the rows of this step.
inline void batch::admit(sequence& s) {
    if (s.cache) return;
    if (spare_.empty()) {
        s.cache = pass_.new_cache(options_.kv);
    } else {
        s.cache = std::move(spare_.back());
        spare_.pop_back();
    }
}

inline std::span<const event> batch::step() {
    if (options_.watch) options_.watch->start();
    events_.clear();
    rows_.clear();
    events_.reserve(sequences_.size());  // from the pass on nothing may fail
    spare_.reserve(spare_.size() + sequences_.size());
    plan();
    for (sequence& s : sequences_)
        if (s.rows > 0) {
            const bool ends = s.done + s.rows == s.ids.size();
            rows_.push_back({std::span(s.ids).subspan(s.done, s.rows), &*s.cache, ends ? std::size_t(1) : 0});
        }
    if (options_.watch) options_.watch->lap(part::other);
    std::span<const float> logits;
    if (!rows_.empty()) logits = pass_(rows_);
    const std::size_t vocab = model().config().vocab_size;
    for (sequence& s : sequences_) {
        if (s.cancelled) {
            events_.push_back({s.id, -1, {}, finish::cancelled});
        } else if (s.rows > 0) {
            s.done += s.rows;
            if (s.done < s.ids.size()) continue;
            events_.push_back(advance(s, logits.first(vocab)));
            logits = logits.subspan(vocab);
        }
    }
    if (options_.watch) options_.watch->lap(part::sampling);
    for (const event& e : events_)
        if (e.finished != finish::none) finish_up(e);
    if (options_.watch) options_.watch->lap(part::other);
    return events_;
}

// Chooses the next token of a sequence that has run all of its ids.
inline event batch::advance(sequence& s, std::span<const float> logits) {
    event e{s.id, -1, logits, finish::none};
    try {
        e.token = s.choose(logits, candidates_);
    } catch (const std::exception&) {
        e.finished = finish::broken;
        return e;
    }
    s.prompted = true;
    s.ids.push_back(e.token);
    --s.tokens_left;
    if (std::find(s.stop_ids.begin(), s.stop_ids.end(), e.token) != s.stop_ids.end()) e.finished = finish::stop;
    else if (s.tokens_left == 0) e.finished = finish::length;
    else if (s.done == model().config().n_ctx && s.window == 0) e.finished = finish::context;
    else if (s.done == model().config().n_ctx) slide(s);
    return e;
}

// A key holds its position, so none can move: the last tokens run again as a prompt.
inline void batch::slide(sequence& s) {
    s.ids.erase(s.ids.begin(), s.ids.end() - std::ptrdiff_t(s.window));
    s.done = 0;
    s.prompted = false;
    s.cache->clear();
}

inline void batch::finish_up(const event& e) {
    const auto s = std::find_if(sequences_.begin(), sequences_.end(), [&](const sequence& q) { return q.id == e.id; });
    if (s->cache) {
        s->cache->clear();
        spare_.push_back(std::move(*s->cache));
    }
    sequences_.erase(s);
}

inline std::size_t batch::kv_bytes() const {
    std::size_t bytes = 0;
    for (const sequence& s : sequences_) bytes += s.cache ? s.cache->bytes() : 0;
    for (const qnt::kv_cache& c : spare_) bytes += c.bytes();
    return bytes;
}

// One sequence alone: on_token(token) for each new token but a stop id; false ends it. Returns why it ended. Throws what batch::add
// throws, and std::runtime_error when the model's logits are broken.
template <class OnToken>
finish generate(const model& m, std::span<const std::int32_t> prompt, const sampling& options, OnToken&& on_token, qnt::executor_ref executor = {},
                const batch_options& engine = {}) {
    batch b(m, executor, engine);
    b.add(prompt, options);
    while (true)
        for (const event& e : b.step()) {
            if (e.finished == finish::broken) throw std::runtime_error("the model computes no logits that a token could be chosen from");
            if (e.finished == finish::stop) return e.finished;
            if (!on_token(e.token)) return finish::cancelled;
            if (e.finished != finish::none) return e.finished;
        }
}

}  // namespace gpt2
