// Answers as JSON: ours and those in the shape of OpenAI's API.
#pragma once
#include <nlohmann/json.hpp>

#include "engine.hpp"
#include "evaluate.hpp"
#include "request.hpp"

namespace serve {

using json = nlohmann::ordered_json;

// What comes from a model may be any bytes: what is not UTF-8 becomes U+FFFD.
std::string to_text(const json& j);
// An event of a stream of server-sent events; name may be empty.
std::string event_text(const std::string& name, const std::string& data);

struct model_facts {
    std::string name;  // as clients call it
    bool quantized = false;
    std::string format, dtype;
    std::size_t size_bytes = 0, n_params = 0;
    double effective_bits = 0;
    std::size_t context = 0, vocab = 0;
};
model_facts facts_of(const gpt2::model& m, std::string name, bool quantized);
json short_json(const model_facts& m);  // of an answer
json full_json(const model_facts& m);   // of /metadata

// POST /generate: one text, or those of an array.
json generate_json(const generate_request& r, const std::vector<std::string>& prompts, const std::vector<completion>& texts, const model_facts& m);
json evaluate_json(const evaluation& e, std::size_t max_new_tokens, const model_facts& baseline, const model_facts& quantized);

// POST /v1/completions. One answer, or the parts of one that is streamed, have an id in common.
struct openai_answer {
    std::string id, model;
    std::int64_t created = 0;

    json whole(const std::vector<completion>& texts, std::size_t choices) const;
    json part(std::size_t index, const std::string& text) const;
    json end(const completion& c) const;
    json usage(const std::vector<completion>& texts, std::size_t choices) const;
};
json openai_model(const std::string& name, std::int64_t created);
json openai_models(const std::vector<json>& models);

}  // namespace serve
