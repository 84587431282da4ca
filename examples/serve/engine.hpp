// One model's engine: a thread that steps a gpt2::batch while there is something to generate. Requests join and leave between steps; what
// each of them gets does not depend on the others.
//
//   engine e(model, tokenizer, pool, turns, limits);
//   auto j = std::make_shared<job>(...);
//   j->on_end = [](completion&& c) { ... };            // on the engine's thread, once for each prompt
//   if (!e.submit(j)) ...                              // the queue is full
//   j->cancel();                                       // from any thread; the text ends with the token at hand
//
// Fair: prompts are taken in the order in which their jobs came, one from each job in turn, so that a job of sixteen prompts does not hold
// up one of a single prompt; a step has a bounded number of rows, so that a long prompt does not hold up texts that grow.
#pragma once
#include <gpt2/batch.hpp>
#include <gpt2/text_filter.hpp>

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <thread>

#include "limits.hpp"
#include "metrics.hpp"
#include "turns.hpp"

namespace serve {

enum class ending : std::uint8_t { stop, length, context, deadline, shutdown, cancelled, failed, broken };
inline constexpr const char* ending_names[] = {"stop", "length", "context", "deadline", "shutdown", "cancelled", "failed", "broken"};
inline const char* name_of(ending e) { return ending_names[std::size_t(e)]; }

struct completion {
    std::size_t index = 0;  // of the prompt in its job
    ending ended = ending::cancelled;
    std::string text = {}, problem = {};  // problem: of what failed or is broken
    std::size_t prompt_tokens = 0, tokens = 0;
    double queue_s = 0, first_token_s = 0, total_s = 0;  // since the job was made; first_token_s is 0 if there was none
};

struct prompt {
    std::vector<std::int32_t> ids;
    gpt2::sampling sampling;
};

struct job {
    std::vector<prompt> prompts;
    std::vector<std::string> stops;
    clock::time_point made = clock::now(), deadline = clock::time_point::max();
    std::function<void(std::size_t index, std::string&& text)> on_text;  // may be empty: then nobody reads along
    std::function<void(completion&&)> on_end;

    void cancel() { cancelled_.store(true, std::memory_order_relaxed); }
    bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }

private:
    std::atomic<bool> cancelled_{false};
};

struct engine_metrics {
    gauge waiting, running, kv_bytes;
    counter prompt_tokens, tokens, rejected;
    std::array<counter, std::size(ending_names)> ended;
    histogram queue{0.001}, first_token{0.001}, total{0.001}, step{0.0001}, batch{1};
};

class engine {
public:
    // All of them must outlive it.
    engine(const gpt2::model& m, const gpt2::tokenizer& t, qnt::executor_ref executor, turns& shared, const limits& l, qnt::kv_types kv = {});
    ~engine();

    // False: the queue has no room for all of its prompts. Throws std::invalid_argument for what the model cannot run.
    bool submit(std::shared_ptr<job> j);
    // Ends all texts with what they have, and refuses others.
    void shut_down();

    const gpt2::model& model() const { return model_; }
    const engine_metrics& metrics() const { return metrics_; }

private:
    struct waiting_job {
        std::shared_ptr<job> from;
        std::size_t next = 0;  // of its prompts
    };
    struct text {
        std::shared_ptr<job> from;
        completion result;
        gpt2::text_filter filter;
    };

    void run();
    bool wait();
    void admit();
    void drop_waiting();
    void drop_running();
    void step();
    void take(const gpt2::event& e);
    void show(text& t, std::string&& part);
    void end(text& t, ending why);
    void begin_anew(const std::string& why);
    std::optional<ending> why_to_drop(const job& j) const;
    std::size_t waiting() const;

    const gpt2::model& model_;
    const gpt2::tokenizer& tokenizer_;
    const qnt::executor_ref executor_;
    turns& turns_;
    const limits& limits_;
    const gpt2::batch_options options_;
    engine_metrics metrics_;

    std::optional<gpt2::batch> batch_;  // these two: the engine's thread only
    std::map<gpt2::sequence_id, text> running_;

    std::mutex mutex_;  // of what follows
    std::condition_variable wake_;
    std::deque<waiting_job> queue_;
    std::size_t admitted_ = 0;  // running_.size(), for who submits
    bool stopping_ = false;     // the destructor
    std::atomic<bool> shut_down_{false};

    std::thread thread_;
};

}  // namespace serve
