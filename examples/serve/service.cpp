#include "service.hpp"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>

#include <gpt2/load.hpp>

#include "embedded.hpp"
#include "generation.hpp"

namespace serve {

struct service::models {
    qnt::thread_pool pool;
    gpt2::tokenizer tokenizer;
    gpt2::model baseline, quantized;
    model_facts baseline_facts, quantized_facts;
    std::size_t longest_token = 1, context;
    turns shared;
    engine of_baseline, of_quantized;

    models(const service_options& o, const limits& l)
        : pool(o.threads == 0 ? qnt::usable_cores() : o.threads),
          tokenizer(o.tokenizer),
          baseline(load(o.baseline, o.baseline_format)),
          quantized(load(o.quantized, o.format)),
          baseline_facts(facts_of(baseline, o.model_id + "-baseline", false)),
          quantized_facts(facts_of(quantized, o.model_id, true)),
          context(std::min(baseline.config().n_ctx, quantized.config().n_ctx)),
          of_baseline(baseline, tokenizer, pool, shared, l, qnt::kv_types::parse(o.kv).value()),
          of_quantized(quantized, tokenizer, pool, shared, l, qnt::kv_types::parse(o.kv).value()) {
        check_vocabulary(o.baseline, baseline);
        check_vocabulary(o.quantized, quantized);
        for (std::size_t id = 0; id < tokenizer.vocab_size(); ++id)
            longest_token = std::max(longest_token, tokenizer.token_bytes(std::int32_t(id)).size());
    }

private:
    // In memory of our own, so that nobody who changes a file changes a running model.
    gpt2::model load(const std::string& path, const std::string& format) {
        gpt2::load_options options{.in_memory = true, .verify = true};
        const qnt::policy all{{"*", qnt::any_format::parse(format).value()}};
        (path.ends_with(".qnt") ? options.unless_asked : options.weights) = all;
        return gpt2::load_model(path, options, pool);
    }
    void check_vocabulary(const std::string& path, const gpt2::model& m) const {
        if (m.config().vocab_size != tokenizer.vocab_size())
            throw std::runtime_error(path + ": the model has " + std::to_string(m.config().vocab_size) + " tokens, the tokenizer " +
                                     std::to_string(tokenizer.vocab_size()));
    }
};

struct service::route {
    const char *method, *path;
    void (service::*handle)(const exchange_ptr&);
    bool needs_models = false;
};

namespace {

constexpr const char* retry_soon = "Retry-After: 1\r\n";

std::string labels_of(const char* path, int status) { return "path=\"" + std::string(path) + "\",status=\"" + std::to_string(status) + '"'; }

double resident_bytes() {
    std::ifstream file("/proc/self/statm");  // pages: of all memory, of what is resident
    std::size_t all = 0, resident = 0;
    file >> all >> resident;
    return double(resident) * double(::sysconf(_SC_PAGESIZE));
}
double open_descriptors() {
    std::error_code ignored;
    const std::filesystem::directory_iterator files("/proc/self/fd", ignored);
    return double(std::distance(begin(files), end(files))) - 1;  // but for the iterator's own
}

// A page of another site must not make a browser work for it: its Origin would have to name this host.
bool is_foreign(const http_request& r) {
    const auto host = r.origin.find("://");
    return !r.origin.empty() && (host == r.origin.npos || r.origin.substr(host + 3) != r.host);
}

}  // namespace

service::service(http_server& server, service_options options, http_counters& http)
    : server_(server),
      options_(std::move(options)),
      http_(http),
      routes_{
          {"GET", "/", &service::page},
          {"GET", "/openapi.json", &service::openapi},
          {"GET", "/health", &service::health},
          {"GET", "/ready", &service::ready},
          {"GET", "/metrics", &service::metrics},
          {"GET", "/metadata", &service::metadata, true},
          {"GET", "/v1/models", &service::list_models, true},
          {"POST", "/generate", &service::generate_quantized, true},
          {"POST", "/generate/baseline", &service::generate_baseline, true},
          {"POST", "/evaluate", &service::evaluate, true},
          {"POST", "/v1/completions", &service::completions, true},
      },
      started_(std::time(nullptr)),
      seeds_(std::random_device()()),
      stop_evaluation_(std::make_shared<std::atomic<bool>>(false)) {
    if (options_.quantized.empty()) options_.quantized = options_.baseline;
    if (options_.tokenizer.empty()) options_.tokenizer = options_.baseline;
}

service::~service() {
    *stop_evaluation_ = true;
    if (evaluation_.joinable()) evaluation_.join();
}

void service::load() {
    loaded_ = std::make_unique<models>(options_, server_.bounds());
    if (options_.generate.max_new_tokens > loaded_->context)
        throw std::runtime_error("max-new-tokens is " + std::to_string(options_.generate.max_new_tokens) + ", the model's context " +
                                 std::to_string(loaded_->context));
    options_.generate.context = loaded_->context;
    models_ = loaded_.get();
}

http_hooks service::hooks() {
    return {
        .handle = [this](exchange_ptr e) { handle(e); },
        .draining = [this] { draining_ = true; },
        .hurry_up =
            [this] {
                *stop_evaluation_ = true;
                if (models* m = models_) m->of_baseline.shut_down(), m->of_quantized.shut_down();
            },
    };
}

// ---- routes ----

void service::handle(const exchange_ptr& e) {
    try {
        const route* r = find(e);
        if (r->needs_models && draining_) throw api_error(503, "", "the service is shutting down");
        if (r->needs_models && !models_) throw api_error(503, "", "the models are being loaded");
        (this->*r->handle)(e);
    } catch (const api_error& x) {
        answer(e, {.status = x.status, .body = error_body(x.status, x.what(), x.field), .headers = x.status == 503 ? retry_soon : ""});
    }
}

const service::route* service::find(const exchange_ptr& e) {
    const std::string& method = e->request.method;
    const bool is_model = e->request.path.starts_with("/v1/models/");
    std::string allowed;
    for (const route& r : routes_) {
        if (!(e->request.path == r.path || (is_model && r.handle == &service::list_models))) continue;
        if (method == r.method || (method == "HEAD" && std::string_view(r.method) == "GET")) {
            if (method == "POST" && is_foreign(e->request)) throw api_error(403, "Origin", "requests from pages of other sites are refused");
            return &r;
        }
        allowed += allowed.empty() ? r.method : std::string(", ") + r.method;
    }
    if (allowed.empty()) throw api_error(404, "", "there is no " + qnt::in_quotes(e->request.path) + "; /openapi.json lists what there is");
    throw api_error(405, "", e->request.path + " takes " + allowed + ", not " + qnt::in_quotes(method));
}

void service::answer(const exchange_ptr& e, http_answer a) {
    count(*e, a.status);
    e->answer(a);
}

void service::count(const exchange& e, int status) {
    const auto known = std::find_if(routes_.begin(), routes_.end(), [&](const route& r) { return e.request.path == r.path; });
    answers_[labels_of(known == routes_.end() ? "other" : known->path, status)].add();
    seconds_.add(std::chrono::duration<double>(clock::now() - e.arrived).count());
}

void service::answer_json(const exchange_ptr& e, const json& j, int status) { answer(e, {.status = status, .body = to_text(j)}); }

void service::health(const exchange_ptr& e) { answer_json(e, {{"status", "ok"}}); }

void service::ready(const exchange_ptr& e) {
    const char* status = draining_ ? "draining" : models_ ? "ready" : "loading";
    answer_json(e, {{"status", status}}, models_ && !draining_ ? 200 : 503);
}

void service::page(const exchange_ptr& e) {
    answer(e, {.type = "text/html; charset=utf-8",
               .body = std::string(page_html),
               .headers = "Content-Security-Policy: default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
                          "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"});
}

void service::openapi(const exchange_ptr& e) { answer(e, {.body = std::string(openapi_json)}); }

void service::metadata(const exchange_ptr& e) {
    const models& m = *models_;
    json j = {{"service", "qnt-serve"},
              {"version", version},
              {"device", "cpu"},
              {"isa", qnt::isa::name(qnt::isa::active())},
              {"threads", m.pool.size()},
              {"context", m.context},
              {"kv", options_.kv},
              {"quantized", full_json(m.quantized_facts)},
              {"baseline", full_json(m.baseline_facts)},
              {"defaults",
               {{"max_new_tokens", options_.generate.max_new_tokens},
                {"temperature", options_.generate.temperature},
                {"top_k", options_.generate.top_k},
                {"top_p", options_.generate.top_p}}}};
    json& bounds = j["limits"] = json::object();
    for (const stated_limit& l : stated(server_.bounds())) bounds[l.name] = l.value;
    answer_json(e, j);
}

void service::list_models(const exchange_ptr& e) {
    const models& m = *models_;
    std::vector<json> all;
    for (const model_facts* f : {&m.quantized_facts, &m.baseline_facts}) all.push_back(openai_model(f->name, started_));
    if (e->request.path == "/v1/models") return answer_json(e, openai_models(all));
    const std::string name = e->request.path.substr(std::string_view("/v1/models/").size());
    for (const json& j : all)
        if (j["id"] == name) return answer_json(e, j);
    throw api_error(404, "model", "there is no model " + qnt::in_quotes(name));
}

// ---- texts ----

void service::generate_quantized(const exchange_ptr& e) {
    generate(e, parse_generate(e->request.body, options_.generate, server_.bounds()), true, false);
}
void service::generate_baseline(const exchange_ptr& e) {
    generate(e, parse_generate(e->request.body, options_.generate, server_.bounds()), false, false);
}
void service::completions(const exchange_ptr& e) {
    generate_request r = parse_completions(e->request.body, options_.generate, server_.bounds());
    const models& m = *models_;
    const bool is_baseline = r.model == m.baseline_facts.name;
    if (!is_baseline && !r.model.empty() && r.model != m.quantized_facts.name)
        throw api_error(404, "model", "there is no model " + qnt::in_quotes(r.model) + "; /v1/models lists what there is");
    generate(e, std::move(r), !is_baseline, true);
}

std::vector<std::int32_t> service::ids_of(const prompt_input& p) const {
    const models& m = *models_;
    if (const auto* ids = std::get_if<std::vector<std::int32_t>>(&p)) {
        for (const std::int32_t id : *ids)
            if (std::size_t(id) >= m.tokenizer.vocab_size())
                throw api_error(400, "prompt",
                                "prompt: token " + std::to_string(id) + " is not in the vocabulary of " + std::to_string(m.tokenizer.vocab_size()));
        return *ids;
    }
    const std::string& text = std::get<std::string>(p);
    const auto refuse = [&](const std::string& size) {
        throw api_error(400, "prompt", "prompt is too long: " + size + ", the model's context has room for " + std::to_string(m.context) + " tokens");
    };
    if (text.size() > m.context * m.longest_token) refuse(std::to_string(text.size()) + " bytes");  // without a look at what is in it
    std::vector<std::int32_t> ids = m.tokenizer.encode(text);
    if (ids.size() > m.context) refuse(std::to_string(ids.size()) + " tokens");
    return ids;
}

void service::generate(const exchange_ptr& e, generate_request&& r, bool quantized, bool is_openai) {
    models& m = *models_;
    engine& on = quantized ? m.of_quantized : m.of_baseline;
    if (!r.seed) r.sampling.seed = seeds_() >> 32;  // told in the answer, and exact in JavaScript
    if (const auto end_of_text = m.tokenizer.special("<|endoftext|>")) r.sampling.stop_ids = {*end_of_text};
    const auto j = std::make_shared<job>();
    std::vector<std::string> prompts;
    for (const prompt_input& p : r.prompts) {
        const std::vector<std::int32_t> ids = ids_of(p);
        const auto* text = std::get_if<std::string>(&p);
        prompts.push_back(text ? *text : m.tokenizer.decode(ids));
        for (std::size_t choice = 0; choice < r.choices; ++choice) {
            j->prompts.push_back({ids, r.sampling});
            j->prompts.back().sampling.seed += choice;
        }
    }
    j->stops = r.stops;
    j->made = e->arrived;
    j->deadline = e->arrived + server_.bounds().generation;
    std::optional<openai_answer> openai;
    const model_facts& facts = quantized ? m.quantized_facts : m.baseline_facts;
    if (is_openai) openai = openai_answer{"cmpl-" + std::to_string(seeds_()), facts.name, std::int64_t(std::time(nullptr))};
    const auto g =
        std::make_shared<generation>(e, std::move(r), std::move(prompts), facts, std::move(openai), [this, e = std::weak_ptr(e)](int status) {
            if (const auto known = e.lock()) count(*known, status);
        });
    g->attach(j, server_);
    if (!on.submit(j)) {
        e->on_gone = nullptr;
        throw api_error(503, "", "the queue is full");
    }
}

// ---- both models beside each other ----

void service::evaluate(const exchange_ptr& e) {
    models& m = *models_;
    const evaluate_request r = parse_evaluate(e->request.body, options_.generate, server_.bounds());
    if (evaluating_) throw api_error(503, "", "another evaluation runs, one at a time");
    std::vector<prompt_text> prompts;
    for (const std::string& text : r.prompts.empty() ? built_in_prompts() : r.prompts) prompts.push_back({text, ids_of(text)});
    if (evaluation_.joinable()) evaluation_.join();
    evaluating_ = true;
    const auto stop = std::make_shared<std::atomic<bool>>(false);
    stop_evaluation_ = stop;
    e->on_gone = [stop] { *stop = true; };
    const auto deadline = e->arrived + server_.bounds().generation;
    evaluation_ = std::thread([this, &m, e, stop, deadline, tokens = r.max_new_tokens, prompts = std::move(prompts)] {
        http_answer a;
        try {
            const auto should_stop = [&] { return *stop || clock::now() > deadline; };
            const evaluation result = serve::evaluate(m.baseline, m.quantized, m.tokenizer, prompts, tokens, m.pool, m.shared, should_stop);
            a.body = to_text(evaluate_json(result, tokens, m.baseline_facts, m.quantized_facts));
        } catch (const evaluation_stopped&) {
            a = {.status = 503,
                 .body = error_body(503, *stop ? "the service is shutting down" : "the evaluation took too long: give fewer prompts or tokens")};
        } catch (const std::exception& x) {
            a = {.status = 503, .body = error_body(503, x.what())};
        }
        if (a.status == 503) a.headers = retry_soon;
        server_.post([this, e, a = std::move(a)] {
            evaluating_ = false;
            answer(e, a);
        });
    });
}

// ---- what is counted ----

void service::metrics(const exchange_ptr& e) {
    metrics_text out;
    const auto one = [&](const char* name, const char* type, const char* help, double value) {
        out.metric(name, type, help);
        out.sample("", value);
    };
    one("qnt_ready", "gauge", "1 once the models are loaded.", models_ ? 1 : 0);
    one("qnt_connections", "gauge", "Open connections.", http_.connections.value());
    one("qnt_connections_accepted_total", "counter", "Connections accepted.", http_.accepted.value());
    one("qnt_connections_evicted_total", "counter", "Idle connections closed to make room.", http_.evicted.value());
    one("qnt_connections_turned_away_total", "counter", "Connections answered with 503 because all were busy.", http_.turned_away.value());
    one("qnt_requests_malformed_total", "counter", "Requests refused before they reached a route.", http_.malformed.value());
    one("qnt_requests_timed_out_total", "counter", "Requests or answers that a client took too long for.", http_.timed_out.value());
    one("qnt_requests_disconnected_total", "counter", "Clients that went away before their answer.", http_.disconnected.value());
    out.metric("qnt_requests_total", "counter", "Answers by route and status.");
    for (const auto& [labels, n] : answers_) out.sample(labels, n.value());
    out.metric("qnt_request_seconds", "histogram", "From a request to its answer.");
    out.samples("", seconds_);
    if (models* m = models_) {
        const std::pair<const char*, const engine_metrics*> engines[] = {{"model=\"quantized\"", &m->of_quantized.metrics()},
                                                                         {"model=\"baseline\"", &m->of_baseline.metrics()}};
        const auto of_each = [&](const char* name, const char* type, const char* help, const auto& value) {
            out.metric(name, type, help);
            for (const auto& [labels, metrics] : engines) value(std::string(labels), *metrics);
        };
        const auto gauge_of = [&](const char* name, const char* help, gauge engine_metrics::*of) {
            of_each(name, "gauge", help, [&](const std::string& labels, const engine_metrics& x) { out.sample(labels, (x.*of).value()); });
        };
        const auto counter_of = [&](const char* name, const char* help, counter engine_metrics::*of) {
            of_each(name, "counter", help, [&](const std::string& labels, const engine_metrics& x) { out.sample(labels, (x.*of).value()); });
        };
        const auto histogram_of = [&](const char* name, const char* help, histogram engine_metrics::*of) {
            of_each(name, "histogram", help, [&](const std::string& labels, const engine_metrics& x) { out.samples(labels, x.*of); });
        };
        gauge_of("qnt_queue_length", "Texts that wait.", &engine_metrics::waiting);
        gauge_of("qnt_running", "Texts that grow.", &engine_metrics::running);
        gauge_of("qnt_kv_bytes", "Memory of keys and values.", &engine_metrics::kv_bytes);
        counter_of("qnt_prompt_tokens_total", "Tokens of prompts.", &engine_metrics::prompt_tokens);
        counter_of("qnt_generated_tokens_total", "Tokens generated.", &engine_metrics::tokens);
        counter_of("qnt_queue_rejected_total", "Requests answered with 503 because the queue was full.", &engine_metrics::rejected);
        of_each("qnt_texts_total", "counter", "Texts by how they ended.", [&](const std::string& labels, const engine_metrics& x) {
            for (std::size_t i = 0; i < std::size(ending_names); ++i)
                out.sample(labels + ",finish_reason=\"" + ending_names[i] + '"', x.ended[i].value());
        });
        histogram_of("qnt_queue_seconds", "From a request to the begin of its text.", &engine_metrics::queue);
        histogram_of("qnt_first_token_seconds", "From a request to its first token.", &engine_metrics::first_token);
        histogram_of("qnt_text_seconds", "From a request to the end of its text.", &engine_metrics::total);
        histogram_of("qnt_step_seconds", "One step of all texts that grow.", &engine_metrics::step);
        histogram_of("qnt_batch_texts", "Texts in a step.", &engine_metrics::batch);
    }
    one("process_resident_memory_bytes", "gauge", "Resident memory.", resident_bytes());
    one("process_open_fds", "gauge", "Open file descriptors.", open_descriptors());
    one("process_start_time_seconds", "gauge", "When the service began.", double(started_));
    answer(e, {.type = "text/plain; version=0.0.4; charset=utf-8", .body = out.take()});
}

}  // namespace serve
