#pragma once
// Chooses the next token from the model's logits.
//
//   gpt2::sampler sampler({.temperature = 0.8f, .top_k = 40, .seed = 1});
//   std::int32_t next = sampler(logits);                                   // logits[vocab_size]
//
// The steps are those of Hugging Face's generate(): temperature, then top-k, then top-p. The same seed draws the same tokens everywhere:
// probabilities are qnt::softmax's and random numbers come from a generator defined here, because std::exp and
// std::discrete_distribution differ from library to library. The vocabulary is never sorted.

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <qnt/nn/softmax.hpp>

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
    // Bits that ascend as floats do, with NaN beyond both infinities; in 16 lanes, so that compilers use vectors.
    const auto key = [](float x) {
        const auto bits = std::bit_cast<std::int32_t>(x);
        return bits ^ (bits >> 31 & 0x7fffffff);
    };
    std::array<std::int32_t, 16> low, high;
    low.fill(std::numeric_limits<std::int32_t>::max());
    high.fill(std::numeric_limits<std::int32_t>::min());
    const auto look = [&](const float* x, std::size_t lanes) {
        for (std::size_t i = 0; i < lanes; ++i) {
            low[i] = std::min(low[i], key(x[i]));
            high[i] = std::max(high[i], key(x[i]));
        }
    };
    const std::size_t whole = logits.size() / 16 * 16;
    for (std::size_t id = 0; id < whole; id += 16) look(&logits[id], 16);
    if (whole < logits.size()) look(&logits[whole], logits.size() - whole);

    constexpr float infinity = std::numeric_limits<float>::infinity();
    const std::int32_t least = *std::min_element(low.begin(), low.end()), most = *std::max_element(high.begin(), high.end());
    if (!logits.empty() && (least < key(-infinity) || most > key(infinity))) {
        const auto nan = std::find_if(logits.begin(), logits.end(), [](float x) { return std::isnan(x); });
        throw std::invalid_argument("logit " + std::to_string(nan - logits.begin()) + " is NaN");
    }
    if (logits.empty() || most == key(infinity) || most == key(-infinity))
        throw std::invalid_argument("there is no largest finite logit among " + std::to_string(logits.size()));
    const float largest = std::bit_cast<float>(most ^ (most >> 31 & 0x7fffffff));
    return static_cast<std::int32_t>(std::find(logits.begin(), logits.end(), largest) - logits.begin());
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
        ids_.clear();
        weights_.clear();
        for (std::size_t id = 0; id < logits.size(); ++id) {
            if (logits[id] < lowest || logits[id] == -std::numeric_limits<float>::infinity()) continue;
            ids_.push_back(static_cast<std::int32_t>(id));
            // relative to the most likely token: nothing overflows; e^-200 is 0 in any case
            weights_.push_back(static_cast<float>(std::max((logits[id] - largest) / options_.temperature, -200.0)));
        }
        qnt::softmax(weights_, weights_);
        candidates_.clear();
        double total = 0;
        for (const float w : weights_) total += w;
        // What is below this, all of it together, does not reach 1 - top_p: it is not among the most likely that reach top_p.
        const double least = (1 - static_cast<double>(options_.top_p)) * total / static_cast<double>(weights_.size());
        for (std::size_t i = 0; i < ids_.size(); ++i)
            if (weights_[i] >= least) candidates_.push_back({weights_[i], ids_[i]});
        if (options_.top_p < 1) keep_top_p(options_.top_p * total);
        return draw();
    }

private:
    struct candidate {
        double weight;  // probability, but for a common factor
        std::int32_t id;
    };

    // Ties with the k-th stay in, as in Hugging Face's top-k. One pass that keeps the k largest and at most as many newer ones.
    float kth_largest(std::span<const float> logits) {
        const auto k = static_cast<std::size_t>(options_.top_k);
        float lowest = -std::numeric_limits<float>::infinity();
        if (k == 0 || k >= logits.size()) return lowest;
        largest_.clear();
        const auto keep_k = [&] {
            std::nth_element(largest_.begin(), largest_.begin() + (options_.top_k - 1), largest_.end(), std::greater<>());
            largest_.resize(k);
            lowest = largest_.back();
        };
        for (const float x : logits) {
            if (!(x > lowest)) continue;
            largest_.push_back(x);
            if (largest_.size() == 2 * k) keep_k();
        }
        if (largest_.size() >= k) keep_k();
        return lowest;
    }

    // Takes the most likely tokens from a heap until they hold the wanted weight.
    void keep_top_p(double wanted) {
        const auto less_likely = [](const candidate& a, const candidate& b) { return a.weight != b.weight ? a.weight < b.weight : a.id > b.id; };
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
    std::vector<candidate> candidates_;  // these keep their memory from token to token
    std::vector<std::int32_t> ids_;
    std::vector<float> weights_, largest_;
};

}  // namespace gpt2
