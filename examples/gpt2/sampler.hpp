#pragma once
// Chooses the next token from the model's logits.
//
//   gpt2::sampler sampler({.temperature = 0.8f, .top_k = 40, .seed = 1});
//   std::int32_t next = sampler(logits);                                   // logits[vocab_size]
//
// The steps are those of Hugging Face's generate(): temperature, then top-k, then top-p. Probabilities are computed in double and random
// numbers come from a generator defined here, because std::discrete_distribution draws differently in every standard library.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace gpt2 {

struct sampling {
    float temperature = 0;   // 0: always the most likely token; 1: the model's own probabilities
    int top_k = 0;           // only the k most likely tokens, and those as likely as the k-th; 0: all
    float top_p = 1;         // only the most likely tokens that together reach this probability; 1: all
    std::uint64_t seed = 0;  // the same seed gives the same tokens
    // For batch.hpp:
    std::vector<std::int32_t> stop_ids = {};       // tokens that end the text
    std::size_t max_new_tokens = std::size_t(-1);  // and how long it may be; the model's context ends it in any case
};

// Throws std::invalid_argument.
inline void validate(const sampling& options) {
    const auto refuse = [](const char* rule, auto value) { throw std::invalid_argument(std::string(rule) + ", not " + std::to_string(value)); };
    if (!std::isfinite(options.temperature) || options.temperature < 0) refuse("temperature must be a finite number >= 0", options.temperature);
    if (options.top_k < 0) refuse("top_k must be >= 0", options.top_k);
    if (!(options.top_p > 0 && options.top_p <= 1)) refuse("top_p must be > 0 and <= 1", options.top_p);
    if (options.max_new_tokens == 0) refuse("max_new_tokens must be at least 1", options.max_new_tokens);
}

// SplitMix64: Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators".
class splitmix64 {
public:
    explicit splitmix64(std::uint64_t seed) : state_(seed) {}

    std::uint64_t operator()() {
        std::uint64_t z = state_ += 0x9E3779B97F4A7C15u;
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
        z = (z ^ z >> 27) * 0x94D049BB133111EBu;
        return z ^ z >> 31;
    }

    double uniform() { return static_cast<double>((*this)() >> 11) * 0x1p-53; }  // in [0, 1)

private:
    std::uint64_t state_;
};

// The largest logit's id, the lowest of equal ones. Throws std::invalid_argument when there is no such logit: -inf rules a token out,
// but NaN, +inf and nothing but -inf are signs of a broken model.
inline std::int32_t argmax(std::span<const float> logits) {
    std::size_t best = 0;
    float largest = -std::numeric_limits<float>::infinity();
    for (std::size_t id = 0; id < logits.size(); ++id) {
        if (std::isnan(logits[id])) throw std::invalid_argument("logit " + std::to_string(id) + " is NaN");
        if (logits[id] > largest) {
            best = id;
            largest = logits[id];
        }
    }
    if (!std::isfinite(largest)) throw std::invalid_argument("there is no largest finite logit among " + std::to_string(logits.size()));
    return static_cast<std::int32_t>(best);
}

class sampler {
public:
    // Throws std::invalid_argument for options out of range.
    explicit sampler(const sampling& options) : options_(options), random_(options.seed) { validate(options); }

    // Takes one random number per token, none at temperature 0. Throws std::invalid_argument as argmax does.
    std::int32_t operator()(std::span<const float> logits) {
        const std::int32_t best = argmax(logits);
        if (options_.temperature == 0) return best;

        const double largest = logits[static_cast<std::size_t>(best)];
        const float lowest = kth_largest(logits);
        candidates_.clear();
        for (std::size_t id = 0; id < logits.size(); ++id) {
            if (logits[id] < lowest) continue;
            // relative to the most likely token: nothing overflows, and the weight of that one is 1
            candidates_.push_back({std::exp((logits[id] - largest) / options_.temperature), static_cast<std::int32_t>(id)});
        }
        if (options_.top_p < 1) keep_top_p();
        return draw();
    }

private:
    struct candidate {
        double weight;  // probability, but for a common factor
        std::int32_t id;
    };

    // Ties with the k-th stay in, as in Hugging Face's top-k.
    float kth_largest(std::span<const float> logits) {
        const auto k = static_cast<std::size_t>(options_.top_k);
        if (k == 0 || k >= logits.size()) return -std::numeric_limits<float>::infinity();
        sorted_.assign(logits.begin(), logits.end());
        const auto kth = sorted_.begin() + static_cast<std::ptrdiff_t>(k - 1);
        std::nth_element(sorted_.begin(), kth, sorted_.end(), std::greater<>());
        return *kth;
    }

    // Takes the most likely tokens from a heap until they hold top_p of the weight: much less work than sorting a vocabulary.
    void keep_top_p() {
        const auto less_likely = [](const candidate& a, const candidate& b) { return a.weight != b.weight ? a.weight < b.weight : a.id > b.id; };
        const double wanted = options_.top_p * total_weight();
        auto first_kept = candidates_.end();
        std::make_heap(candidates_.begin(), candidates_.end(), less_likely);
        for (double kept = 0; kept < wanted && first_kept != candidates_.begin(); kept += first_kept->weight) {
            std::pop_heap(candidates_.begin(), first_kept, less_likely);  // moves the most likely token to the end
            --first_kept;
        }
        candidates_.erase(candidates_.begin(), first_kept);
    }

    double total_weight() const {
        double sum = 0;
        for (const candidate& c : candidates_) sum += c.weight;
        return sum;
    }

    std::int32_t draw() {
        const double target = random_.uniform() * total_weight();  // < the sum that the loop ends with
        double sum = 0;
        for (const candidate& c : candidates_) {
            sum += c.weight;
            if (target < sum) return c.id;
        }
        return candidates_.back().id;
    }

    sampling options_;
    splitmix64 random_;
    std::vector<candidate> candidates_;  // these two keep their memory from token to token
    std::vector<float> sorted_;
};

}  // namespace gpt2
