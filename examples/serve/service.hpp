// The service itself: routes, two models with an engine each, and what they tell. Transport is http.hpp's.
//
//   service s(server, options, counters);
//   std::thread io([&] { server.run(s.hooks()); });     // answers at once, with 503 where a model is needed
//   s.load();                                           // throws naming what cannot be loaded
#pragma once
#include <qnt/thread_pool.hpp>

#include "answers.hpp"
#include "http.hpp"

namespace serve {

struct service_options {
    std::string model_id;  // what clients call the quantized model; the baseline is called so with "-baseline" behind it
    std::string baseline = "examples/models/qnt-gpt2-5m", quantized, tokenizer;  // paths; the latter two as the first if empty
    std::string baseline_format = "f32", format = "int8_channel";                // a .qnt runs as it is
    std::string kv = "f32";
    std::size_t threads = 0;  // 0: one for each usable core
    defaults generate;
};

class service {
public:
    // The server must outlive it, and its run() must be over before it ends.
    service(http_server& server, service_options options, http_counters& http);
    ~service();

    http_hooks hooks();
    // Once, from a thread other than the server's. Throws std::runtime_error.
    void load();

private:
    struct models;
    struct route;
    using exchange_ptr = std::shared_ptr<exchange>;

    void handle(const exchange_ptr& e);
    const route* find(const exchange_ptr& e);
    void answer(const exchange_ptr& e, http_answer a);
    void count(const exchange& e, int status);
    void answer_json(const exchange_ptr& e, const json& j, int status = 200);

    void health(const exchange_ptr& e);
    void ready(const exchange_ptr& e);
    void page(const exchange_ptr& e);
    void openapi(const exchange_ptr& e);
    void metadata(const exchange_ptr& e);
    void metrics(const exchange_ptr& e);
    void list_models(const exchange_ptr& e);
    void generate_quantized(const exchange_ptr& e);
    void generate_baseline(const exchange_ptr& e);
    void completions(const exchange_ptr& e);
    void evaluate(const exchange_ptr& e);

    void generate(const exchange_ptr& e, generate_request&& r, bool quantized, bool is_openai);
    std::vector<std::int32_t> ids_of(const prompt_input& p) const;

    http_server& server_;
    service_options options_;
    http_counters& http_;
    std::vector<route> routes_;
    const std::int64_t started_;
    std::unique_ptr<models> loaded_;
    std::atomic<models*> models_{nullptr};  // loaded_, once it may be used
    // The server's thread only:
    bool draining_ = false;
    gpt2::splitmix64 seeds_;
    std::map<std::string, counter> answers_;  // by labels
    histogram seconds_{0.001};

    // /evaluate: a thread of its own, while it runs.
    std::shared_ptr<std::atomic<bool>> stop_evaluation_;
    std::thread evaluation_;
    bool evaluating_ = false;
};

}  // namespace serve
