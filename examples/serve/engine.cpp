#include "engine.hpp"

namespace serve {

namespace {

double seconds_between(clock::time_point a, clock::time_point b) { return std::chrono::duration<double>(b - a).count(); }

ending ending_of(gpt2::finish f) {
    switch (f) {
    case gpt2::finish::stop: return ending::stop;
    case gpt2::finish::length: return ending::length;
    case gpt2::finish::context: return ending::context;
    case gpt2::finish::cancelled: return ending::cancelled;
    default: return ending::broken;
    }
}

}  // namespace

engine::engine(const gpt2::model& m, const gpt2::tokenizer& t, qnt::executor_ref executor, turns& shared, const limits& l, qnt::kv_types kv)
    : model_(m),
      tokenizer_(t),
      executor_(executor),
      turns_(shared),
      limits_(l),
      options_{.kv = kv, .max_sequences = l.batch},
      batch_(std::in_place, m, executor, options_),
      thread_([this] { run(); }) {}

engine::~engine() {
    shut_down();
    {
        const std::lock_guard held(mutex_);
        stopping_ = true;
    }
    wake_.notify_one();
    thread_.join();
}

std::size_t engine::waiting() const {
    std::size_t n = 0;
    for (const waiting_job& w : queue_) n += w.from->prompts.size() - w.next;
    return n;
}

bool engine::submit(std::shared_ptr<job> j) {
    const std::size_t context = model_.config().n_ctx;
    for (const prompt& p : j->prompts) {
        gpt2::validate(p.sampling);
        if (p.ids.empty()) throw std::invalid_argument("the prompt is empty: it needs at least one token");
        if (p.ids.size() > context)
            throw std::invalid_argument("the prompt has " + std::to_string(p.ids.size()) + " tokens, the model's context has room for " +
                                        std::to_string(context));
    }
    {
        const std::lock_guard held(mutex_);
        const std::size_t room = limits_.queue + (limits_.batch - std::min(admitted_, limits_.batch));
        if (shut_down_ || waiting() + j->prompts.size() > room) {
            metrics_.rejected.add();
            return false;
        }
        queue_.push_back({std::move(j)});
        metrics_.waiting.set(waiting());
    }
    wake_.notify_one();
    return true;
}

void engine::shut_down() {
    shut_down_ = true;
    wake_.notify_one();
}

void engine::run() {
    while (wait()) try {
            drop_waiting();
            drop_running();
            admit();
            if (!batch_->idle()) step();
        } catch (const std::exception& e) {
            begin_anew(e.what());
        }
}

bool engine::wait() {
    std::unique_lock held(mutex_);
    wake_.wait(held, [&] { return stopping_ || !queue_.empty() || !batch_->idle(); });
    return !queue_.empty() || !batch_->idle();
}

std::optional<ending> engine::why_to_drop(const job& j) const {
    if (j.cancelled()) return ending::cancelled;
    if (shut_down_) return ending::shutdown;
    if (clock::now() > j.deadline) return ending::deadline;
    return std::nullopt;
}

void engine::drop_waiting() {
    std::vector<std::pair<waiting_job, ending>> dropped;
    {
        const std::lock_guard held(mutex_);
        std::erase_if(queue_, [&](const waiting_job& w) {
            const auto why = why_to_drop(*w.from);
            if (why) dropped.emplace_back(w, *why);
            return why.has_value();
        });
        metrics_.waiting.set(waiting());
    }
    for (const auto& [w, why] : dropped)
        for (std::size_t i = w.next; i < w.from->prompts.size(); ++i) {
            text t{w.from, {.index = i, .prompt_tokens = w.from->prompts[i].ids.size()}, gpt2::text_filter()};
            end(t, why);
        }
}

void engine::drop_running() {
    for (auto at = running_.begin(); at != running_.end();) {
        if (const auto why = why_to_drop(*at->second.from)) {
            batch_->cancel(at->first);
            end(at->second, *why);
            at = running_.erase(at);
        } else {
            ++at;
        }
    }
}

void engine::admit() {
    const std::lock_guard held(mutex_);
    while (!queue_.empty() && running_.size() < limits_.batch) {
        const std::size_t i = queue_.front().next;
        const prompt& p = queue_.front().from->prompts[i];
        const gpt2::sequence_id id = batch_->add(p.ids, p.sampling);
        waiting_job w = std::move(queue_.front());
        queue_.pop_front();
        ++w.next;
        metrics_.prompt_tokens.add(p.ids.size());
        text& t = running_.emplace(id, text{w.from, {.index = i, .prompt_tokens = p.ids.size()}, gpt2::text_filter(w.from->stops)}).first->second;
        t.result.queue_s = seconds_between(w.from->made, clock::now());
        metrics_.queue.add(t.result.queue_s);
        if (w.next < w.from->prompts.size()) queue_.push_back(std::move(w));
    }
    admitted_ = running_.size();
    metrics_.waiting.set(waiting());
    metrics_.running.set(admitted_);
}

void engine::step() {
    metrics_.batch.add(double(running_.size()));
    std::span<const gpt2::event> events;
    {
        const std::lock_guard turn(turns_);
        const auto start = clock::now();
        events = batch_->step();
        metrics_.step.add(seconds_between(start, clock::now()));
    }
    for (const gpt2::event& e : events) take(e);
    metrics_.kv_bytes.set(batch_->kv_bytes());
    const std::lock_guard held(mutex_);
    admitted_ = running_.size();
    metrics_.running.set(admitted_);
}

void engine::take(const gpt2::event& e) {
    const auto at = running_.find(e.id);
    if (at == running_.end()) return;  // it was dropped
    text& t = at->second;
    if (e.token >= 0) {
        if (t.result.first_token_s == 0) {
            t.result.first_token_s = seconds_between(t.from->made, clock::now());
            metrics_.first_token.add(t.result.first_token_s);
        }
        if (e.finished != gpt2::finish::stop) {
            ++t.result.tokens;
            metrics_.tokens.add();
            show(t, t.filter.push(tokenizer_.token_bytes(e.token)));
        }
    }
    if (e.finished == gpt2::finish::none && !t.filter.stopped()) return;
    if (e.finished == gpt2::finish::none) batch_->cancel(e.id);
    if (e.finished == gpt2::finish::broken) t.result.problem = "the model computes no logits that a token could be chosen from";
    end(t, t.filter.stopped() ? ending::stop : ending_of(e.finished));
    running_.erase(at);
}

void engine::show(text& t, std::string&& part) {
    if (part.empty()) return;
    t.result.text += part;
    if (t.from->on_text) t.from->on_text(t.result.index, std::move(part));
}

void engine::end(text& t, ending why) {
    show(t, t.filter.finish());
    t.result.ended = why;
    t.result.total_s = seconds_between(t.from->made, clock::now());
    metrics_.ended[std::size_t(why)].add();
    metrics_.total.add(t.result.total_s);
    if (t.from->on_end) t.from->on_end(std::move(t.result));
}

// After memory ran out in the middle of something.
void engine::begin_anew(const std::string& why) {
    for (auto& [id, t] : running_) {
        t.result.problem = why;
        end(t, ending::failed);
    }
    running_.clear();
    batch_.emplace(model_, executor_, options_);
}

}  // namespace serve
