// Requests as JSON, read strictly: unknown and repeated fields, wrong types, numbers that are out of range or not finite are refused in
// the name of the field.
//
//   generate_request r = parse_generate(body, defaults, limits);           // throws api_error
#pragma once
#include <gpt2/sampler.hpp>

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

#include "limits.hpp"

namespace serve {

// What a client did wrong; or, with 503, what there is no room for now.
struct api_error : std::runtime_error {
    api_error(int s, std::string f, const std::string& why) : std::runtime_error(why), status(s), field(std::move(f)) {}
    int status;
    std::string field;  // may be empty
};

struct defaults {
    std::size_t max_new_tokens = 64;
    double temperature = 0.8;
    int top_k = 40;
    double top_p = 1;
    std::size_t context = 1024;  // of the models: what max_new_tokens may be
};

using prompt_input = std::variant<std::string, std::vector<std::int32_t>>;  // text, or tokens

struct generate_request {
    std::vector<prompt_input> prompts;
    bool is_array = false;  // of prompts: then the answer has one, too
    gpt2::sampling sampling;
    std::optional<std::uint64_t> seed;  // sampling.seed, if it was given
    std::vector<std::string> stops;
    bool stream = false;
    // OpenAI's:
    std::string model;
    std::size_t choices = 1;  // of each prompt
    bool echo = false, include_usage = false;
};

struct evaluate_request {
    std::vector<std::string> prompts;  // empty: ours
    std::size_t max_new_tokens = 32;
};

// POST /generate: prompt (a string, or an array of at least two), max_new_tokens, temperature, top_k, top_p, seed, stop, stream.
generate_request parse_generate(std::string_view body, const defaults& d, const limits& l);
// POST /v1/completions: fields that do not change the text are let pass, those that would and are not supported are refused.
generate_request parse_completions(std::string_view body, const defaults& d, const limits& l);
// POST /evaluate: prompts, max_new_tokens; an empty body has neither.
evaluate_request parse_evaluate(std::string_view body, const defaults& d, const limits& l);

}  // namespace serve
