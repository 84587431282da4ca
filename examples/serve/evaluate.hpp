// How close the texts of a quantized model are to those of its baseline, and how much faster they come.
//
//   evaluation e = evaluate(baseline, quantized, prompts, 32, pool, turns, [&] { return is_cancelled; });
//
// Both generate greedily. The divergence is measured along the text of the baseline: both read it, and after each token the distributions
// of the next one are compared.
#pragma once
#include <gpt2/model.hpp>
#include <gpt2/tokenizer.hpp>

#include <functional>
#include <string>
#include <vector>

#include "turns.hpp"

namespace serve {

// 1 - edit distance / the longer length, in bytes: 1 for equal texts, 0 where nothing is in common.
double similarity(std::string_view a, std::string_view b);
// Of the sets of words, which white space separates: |common| / |all|; 1 if there are none.
double jaccard(std::string_view a, std::string_view b);

struct generated {
    std::string text;
    std::size_t tokens = 0;
    double seconds = 0;  // prompt included
};

struct evaluated {
    std::string prompt;
    generated baseline = {}, quantized = {};
    double similarity = 0, jaccard = 0, kl = 0;  // kl: nats, mean over the tokens
    double top1 = 0;                             // share of tokens where both prefer the same
    bool is_identical() const { return baseline.text == quantized.text; }
};

struct evaluation {
    std::vector<evaluated> texts;
    // Means of all texts.
    double mean(double evaluated::*of) const;
    double identical_share() const;
    double tokens_per_second(generated evaluated::*of) const;
    double seconds(generated evaluated::*of) const;
};

struct prompt_text {
    std::string text;
    std::vector<std::int32_t> ids;
};

// Eight short beginnings, for who gives none.
const std::vector<std::string>& built_in_prompts();

// Takes turns with the engines, a forward pass at a time. Throws evaluation_stopped when should_stop() says so.
struct evaluation_stopped {};
evaluation evaluate(const gpt2::model& baseline, const gpt2::model& quantized, const gpt2::tokenizer& tokenizer,
                    const std::vector<prompt_text>& prompts, std::size_t max_new_tokens, qnt::executor_ref executor, turns& shared,
                    const std::function<bool()>& should_stop);

}  // namespace serve
