#include "answers.hpp"

#include <cmath>

#include <gpt2/modes.hpp>

namespace serve {

namespace {

// A number of a message, to three decimals.
double rounded(double value) { return std::round(value * 1000) / 1000; }
double rate(std::size_t tokens, double time) { return time > 0 ? rounded(double(tokens) / time) : 0; }

const char* openai_reason(ending e) { return e == ending::stop ? "stop" : "length"; }

json usage_of(const std::vector<completion>& texts, std::size_t choices) {
    std::size_t prompt = 0, completion_tokens = 0;
    for (const completion& c : texts) {
        if (c.index % choices == 0) prompt += c.prompt_tokens;  // each prompt counts once
        completion_tokens += c.tokens;
    }
    return {{"prompt_tokens", prompt}, {"completion_tokens", completion_tokens}, {"total_tokens", prompt + completion_tokens}};
}

json text_json(const std::string& prompt, const completion& c) {
    json j;
    j["prompt"] = prompt;
    j["completion"] = c.text;
    j["tokens_generated"] = c.tokens;
    j["total_time_ms"] = rounded(1e3 * c.total_s);
    j["tokens_per_second"] = rate(c.tokens, c.total_s);
    j["finish_reason"] = name_of(c.ended);
    j["prompt_tokens"] = c.prompt_tokens;
    return j;
}

}  // namespace

std::string to_text(const json& j) { return j.dump(-1, ' ', false, json::error_handler_t::replace); }

std::string event_text(const std::string& name, const std::string& data) {
    return (name.empty() ? "" : "event: " + name + '\n') + "data: " + data + "\n\n";
}

model_facts facts_of(const gpt2::model& m, std::string name, bool quantized) {
    const std::string format = gpt2::format_of(m);
    return {std::move(name),
            quantized,
            format,
            format.substr(0, format.find_first_of("_:")),
            m.bytes(),
            m.parameters(),
            m.effective_bits(),
            m.config().n_ctx,
            m.config().vocab_size};
}

json short_json(const model_facts& m) { return {{"name", m.name}, {"quantized", m.quantized}, {"dtype", m.dtype}, {"size_bytes", m.size_bytes}}; }

json full_json(const model_facts& m) {
    json j = short_json(m);
    j["format"] = m.format;
    j["n_params"] = m.n_params;
    j["effective_bits"] = rounded(m.effective_bits);
    j["context"] = m.context;
    j["vocab_size"] = m.vocab;
    return j;
}

json generate_json(const generate_request& r, const std::vector<std::string>& prompts, const std::vector<completion>& texts, const model_facts& m) {
    json j;
    if (r.is_array) {
        json& results = j["results"] = json::array();
        std::size_t tokens = 0;
        double longest = 0;
        for (const completion& c : texts) {
            results.push_back(text_json(prompts[c.index], c));
            tokens += c.tokens;
            longest = std::max(longest, c.total_s);
        }
        j["tokens_generated"] = tokens;
        j["total_time_ms"] = rounded(1e3 * longest);
        j["tokens_per_second"] = rate(tokens, longest);
    } else {
        j = text_json(prompts[0], texts[0]);
    }
    j["seed"] = r.sampling.seed;
    j["model"] = short_json(m);
    return j;
}

json evaluate_json(const evaluation& e, std::size_t max_new_tokens, const model_facts& baseline, const model_facts& quantized) {
    const auto side = [&](generated evaluated::*of, const model_facts& m) {
        std::size_t tokens = 0;
        for (const evaluated& t : e.texts) tokens += (t.*of).tokens;
        return json{{"model", short_json(m)},
                    {"tokens_generated", tokens},
                    {"total_time_ms", rounded(1e3 * e.seconds(of))},
                    {"tokens_per_second", rounded(e.tokens_per_second(of))}};
    };
    json j;
    j["prompts"] = e.texts.size();
    j["max_new_tokens"] = max_new_tokens;
    j["similarity"] = e.mean(&evaluated::similarity);
    j["jaccard"] = e.mean(&evaluated::jaccard);
    j["identical_share"] = e.identical_share();
    j["kl_divergence"] = e.mean(&evaluated::kl);
    j["top1_agreement"] = e.mean(&evaluated::top1);
    j["baseline"] = side(&evaluated::baseline, baseline);
    j["quantized"] = side(&evaluated::quantized, quantized);
    const double slow = e.tokens_per_second(&evaluated::baseline), fast = e.tokens_per_second(&evaluated::quantized);
    j["speed_up"] = slow > 0 ? rounded(fast / slow) : 0;
    j["compression"] = rounded(double(baseline.size_bytes) / double(quantized.size_bytes));
    json& results = j["results"] = json::array();
    for (const evaluated& t : e.texts)
        results.push_back({{"prompt", t.prompt},
                           {"baseline", t.baseline.text},
                           {"quantized", t.quantized.text},
                           {"similarity", t.similarity},
                           {"jaccard", t.jaccard},
                           {"identical", t.is_identical()},
                           {"kl_divergence", t.kl},
                           {"top1_agreement", t.top1},
                           {"baseline_time_ms", rounded(1e3 * t.baseline.seconds)},
                           {"quantized_time_ms", rounded(1e3 * t.quantized.seconds)}});
    return j;
}

json openai_answer::whole(const std::vector<completion>& texts, std::size_t choices) const {
    json j = {{"id", id}, {"object", "text_completion"}, {"created", created}, {"model", model}, {"choices", json::array()}};
    for (const completion& c : texts)
        j["choices"].push_back({{"text", c.text}, {"index", c.index}, {"logprobs", nullptr}, {"finish_reason", openai_reason(c.ended)}});
    j["usage"] = usage_of(texts, choices);
    return j;
}

json openai_answer::part(std::size_t index, const std::string& text) const {
    const json choice = {{"text", text}, {"index", index}, {"logprobs", nullptr}, {"finish_reason", nullptr}};
    return {{"id", id}, {"object", "text_completion"}, {"created", created}, {"model", model}, {"choices", json::array({choice})}};
}

json openai_answer::end(const completion& c) const {
    json j = part(c.index, "");
    j["choices"][0]["finish_reason"] = openai_reason(c.ended);
    return j;
}

json openai_answer::usage(const std::vector<completion>& texts, std::size_t choices) const {
    return {{"id", id},       {"object", "text_completion"}, {"created", created},
            {"model", model}, {"choices", json::array()},    {"usage", usage_of(texts, choices)}};
}

json openai_model(const std::string& name, std::int64_t created) {
    return {{"id", name}, {"object", "model"}, {"created", created}, {"owned_by", "qnt"}};
}

json openai_models(const std::vector<json>& models) { return {{"object", "list"}, {"data", models}}; }

}  // namespace serve
