// One request for texts on its way: collects what the engine sends and answers, whole or as a stream, ours or OpenAI's.
#pragma once
#include "answers.hpp"
#include "http.hpp"

namespace serve {

class generation : public std::enable_shared_from_this<generation> {
public:
    // finished(status) is told what was answered, once, unless the client had gone.
    generation(std::shared_ptr<exchange> e, generate_request&& r, std::vector<std::string> prompts, model_facts m,
               std::optional<openai_answer> openai, std::function<void(int)> finished)
        : exchange_(std::move(e)),
          request_(std::move(r)),
          prompts_(std::move(prompts)),
          model_(std::move(m)),
          openai_(std::move(openai)),
          finished_(std::move(finished)) {}

    // Wires a job to this: what its engine calls is carried out on the server's thread.
    void attach(const std::shared_ptr<job>& j, http_server& server) {
        if (request_.stream)
            j->on_text = [self = shared_from_this(), &server](std::size_t index, std::string&& text) {
                server.post([self, index, text = std::move(text)] { self->show(index, text); });
            };
        j->on_end = [self = shared_from_this(), &server](completion&& c) { server.post([self, c = std::move(c)] { self->take(c); }); };
        left_ = j->prompts.size();
        texts_.resize(left_);
        exchange_->on_gone = [j] { j->cancel(); };
    }

private:
    void begin() {
        if (std::exchange(has_begun_, true)) return;
        exchange_->begin("text/event-stream");
        if (request_.echo)
            for (std::size_t i = 0; i < texts_.size(); ++i) exchange_->write(event_text("", to_text(openai_->part(i, prompt_of(i)))));
    }
    void show(std::size_t index, const std::string& text) {
        begin();
        const json j = openai_ ? openai_->part(index, text) : request_.is_array ? json{{"index", index}, {"text", text}} : json{{"text", text}};
        exchange_->write(event_text("", to_text(j)));
    }
    void take(const completion& c) {
        texts_[c.index] = c;
        if (openai_ && has_begun_) exchange_->write(event_text("", to_text(openai_->end(c))));
        if (--left_ == 0) finish();
    }
    void finish() {
        if (const auto [status, why] = problem(); status != 200) {
            finished_(status);
            if (!has_begun_)
                return exchange_->answer({.status = status, .body = error_body(status, why), .headers = status == 503 ? "Retry-After: 1\r\n" : ""});
            exchange_->write(event_text(openai_ ? "" : "error", error_body(status, why)));
            return exchange_->end();
        }
        finished_(200);
        if (!request_.stream) return exchange_->answer({.body = to_text(whole())});
        const bool has_ends = has_begun_;
        begin();
        if (openai_) {
            if (!has_ends)
                for (const completion& c : texts_) exchange_->write(event_text("", to_text(openai_->end(c))));
            if (request_.include_usage) exchange_->write(event_text("", to_text(openai_->usage(texts_, request_.choices))));
            exchange_->write(event_text("", "[DONE]"));
        } else {
            exchange_->write(event_text("done", to_text(whole())));
        }
        exchange_->end();
    }
    json whole() {
        if (!openai_) return generate_json(request_, prompts_, texts_, model_);
        std::vector<completion> texts = texts_;
        if (request_.echo)
            for (completion& c : texts) c.text = prompt_of(c.index) + c.text;
        return openai_->whole(texts, request_.choices);
    }
    const std::string& prompt_of(std::size_t index) const { return prompts_[index / request_.choices]; }

    // A text that ended early is still an answer, if it had begun.
    std::pair<int, std::string> problem() const {
        bool is_empty = true;
        for (const completion& c : texts_) {
            if (c.ended == ending::broken) return {500, c.problem};
            if (c.ended == ending::failed) return {503, c.problem};
            is_empty = is_empty && c.tokens == 0;
        }
        const ending first = texts_[0].ended;
        if (is_empty && first == ending::deadline) return {503, "the time for an answer passed before its text began"};
        if (is_empty && first == ending::shutdown) return {503, "the service is shutting down"};
        return {200, ""};
    }

    std::shared_ptr<exchange> exchange_;
    generate_request request_;
    std::vector<std::string> prompts_;
    model_facts model_;
    std::optional<openai_answer> openai_;
    std::function<void(int)> finished_;
    std::vector<completion> texts_;
    std::size_t left_ = 0;
    bool has_begun_ = false;
};

}  // namespace serve
