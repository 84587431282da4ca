// How much a configuration differs from its reference: both models read the same text, side by side, in one pass; nothing of their logits is
// kept but sums. Sums are of whole windows, so that the sums of parts of a text add up, window by window, to the same bits as those of all of it.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include <qnt/metrics/log_histogram.hpp>
#include <qnt/metrics/moments.hpp>

#include "plan.hpp"

namespace eval {

struct window_sums {
    std::size_t bytes = 0;                        // of the tokens that are scored
    qnt::moments nll, reference_nll, nll_change;  // nats per token; change: of the same token, so that what is common to both cancels
    qnt::moments kl, probability_change;          // the latter of the token that came
    std::size_t same_top = 0, shared_top5 = 0;    // tokens ranked first by both; sum of tokens shared among the first five

    void merge(const window_sums& other);
};

// A token whose prediction differs most.
struct worst_token {
    double kl = 0;
    std::size_t position = 0;  // in the tokens of the text
    double probability = 0, reference_probability = 0;
    std::string before, token, guess, reference_guess;

    bool operator<(const worst_token& other) const { return kl != other.kl ? kl > other.kl : position < other.position; }
};
inline constexpr std::size_t worst_kept = 10;
json to_json(const worst_token& w);  // as shards and results have it

// What one protocol says about a range of windows.
struct text_part {
    std::vector<window_sums> windows;
    qnt::log_histogram kl, probability_change;  // the latter of absolute values
    std::vector<worst_token> worst;

    void merge(const text_part& next);  // `next` has the windows behind ours
    window_sums total() const;
};

struct prompt_result {
    std::string id, category, prompt, text, reference_text;
    qnt::moments kl;  // over the tokens of the reference's text
    double max_kl = 0;
    std::size_t same_top = 0, tokens = 0, common_tokens = 0;  // of the configuration's text; equal ones at its front
    double character_similarity = 0, token_jaccard = 0;
    bool identical = false;
};

// Facts about the weights.
struct size_facts {
    std::size_t parameters = 0, bytes = 0;
    double outlier_share = 0;  // of the weights of matrices, those in columns kept as f16
    json matrices;             // name, shape, format, bytes, outlier columns, SQNR
};

// Of one configuration, or of one shard of it.
struct quality {
    size_facts size;
    text_part nonoverlap, stride;  // of the latter nll only
    std::vector<prompt_result> prompts;

    void merge(const quality& next);
};

// Runs it, in this process. `progress` gets what is done of 1.
quality measure_quality(const settings& s, const configuration& c, const std::function<void(double)>& progress);

// As shards are kept: numbers read back with all their bits. Throws nlohmann::json::exception.
json to_json(const quality& q);
quality quality_of(const json& j);

}  // namespace eval
