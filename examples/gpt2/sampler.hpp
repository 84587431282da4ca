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
#include <numeric>
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
    std::size_t max_new_tokens = std::size_t(-1);  // and how long it may be
    // Where the context is full, the text goes on from its last `window` tokens alone; so does a prompt that does not fit. 0: the text ends
    // there, and such a prompt is refused. Small windows forget more, large ones are run again more often.
    std::size_t window = 0;
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

// Is one of x[16] above `bound`? Compilers use vectors.
inline bool has_above(const float* x, float bound) {
    std::int32_t any = 0;
    for (std::size_t i = 0; i < 16; ++i) any |= x[i] > bound;
    return any != 0;
}

// visit(i) for every x[i] above `least`, which it may raise, in order: few blocks of 16 hold one.
template <class Visit> void for_each_above(std::span<const float> x, const float& least, const Visit& visit) {
    for (std::size_t first = 0; first < x.size(); first += 16) {
        const std::size_t end = std::min(first + 16, x.size());
        if (end - first == 16 && !has_above(&x[first], least)) continue;
        for (std::size_t i = first; i < end; ++i)
            if (x[i] > least) visit(i);
    }
}

// The tokens that may be drawn. Keeps its memory from one choice to the next.
class candidates {
public:
    // So that nothing asks for more memory.
    void reserve(std::size_t vocabulary) {
        weights_.reserve(vocabulary);
        ids_.reserve(vocabulary);
        heap_.reserve(vocabulary);
    }

    // The k most likely; 0: all. Ties with the k-th stay in, as in Hugging Face's top-k.
    void take(std::span<const float> logits, std::size_t k) {
        ids_.clear();
        weights_.clear();
        if (k == 0 || k >= logits.size()) return weights_.assign(logits.begin(), logits.end());
        // One pass that keeps the k largest and at most as many newer ones.
        float lowest = -std::numeric_limits<float>::infinity();
        const auto keep_k = [&] {
            std::nth_element(weights_.begin(), weights_.begin() + std::ptrdiff_t(k - 1), weights_.end(), std::greater<>());
            weights_.resize(k);
            lowest = weights_.back();
        };
        for_each_above(logits, lowest, [&](std::size_t id) {
            weights_.push_back(logits[id]);
            if (weights_.size() == 2 * k) keep_k();
        });
        if (weights_.size() >= k) keep_k();
        weights_.clear();
        for_each_above(logits, std::nextafter(lowest, -std::numeric_limits<float>::infinity()), [&](std::size_t id) {
            weights_.push_back(logits[id]);
            ids_.push_back(static_cast<std::int32_t>(id));
        });
    }

    // Logits become probabilities.
    void weigh(double largest, double temperature) {
        const double slope = 1 / temperature;
        // relative to the most likely token: nothing overflows; e^-200 is 0 in any case
        for (float& w : weights_) w = static_cast<float>(std::max((w - largest) * slope, -200.0));
        qnt::softmax(weights_, weights_);
    }

    // Takes the most likely from a heap until they hold the part p of all.
    void keep_top_p(double p) {
        const double total = sum(weights_), wanted = p * total;
        // What is below this, all of it together, does not reach 1 - p: it is not among the most likely that reach p.
        const auto least = static_cast<float>(0.99 * (1 - p) * total / static_cast<double>(weights_.size()));
        heap_.clear();
        for_each_above(weights_, least, [&](std::size_t i) { heap_.push_back({weights_[i], id_of(i)}); });
        const auto less_likely = [](const entry& a, const entry& b) { return a.weight != b.weight ? a.weight < b.weight : a.id > b.id; };
        auto first_kept = heap_.end();
        std::make_heap(heap_.begin(), heap_.end(), less_likely);
        for (double kept = 0; kept < wanted && first_kept != heap_.begin(); kept += static_cast<double>(first_kept->weight)) {
            std::pop_heap(heap_.begin(), first_kept, less_likely);  // moves the most likely token to the end
            --first_kept;
        }
        ids_.clear();
        weights_.clear();
        for (; first_kept != heap_.end(); ++first_kept) {
            ids_.push_back(first_kept->id);
            weights_.push_back(first_kept->weight);
        }
    }

    // `uniform` in [0, 1) chooses, each as likely as its weight. Goes by whole blocks first.
    std::int32_t draw(double uniform) const {
        constexpr std::size_t block = 512;
        const std::span<const float> all = weights_;
        double target = uniform * sum(all);
        std::size_t i = 0;
        for (; i + block < all.size(); i += block) {
            const double part = sum(all.subspan(i, block));
            if (target < part) break;
            target -= part;
        }
        for (; i < all.size(); ++i) {
            const auto weight = static_cast<double>(all[i]);
            if (target < weight) return id_of(i);
            target -= weight;
        }
        do --i;
        while (all[i] == 0);  // roundings left a little of the target
        return id_of(i);
    }

private:
    struct entry {
        float weight;
        std::int32_t id;
    };

    std::int32_t id_of(std::size_t i) const { return ids_.empty() ? static_cast<std::int32_t>(i) : ids_[i]; }
    // In 16 partial sums, so that compilers use vectors.
    static double sum(std::span<const float> x) {
        std::array<double, 16> sums{};
        const std::size_t whole = x.size() / 16 * 16;
        for (std::size_t first = 0; first < whole; first += 16)
            for (std::size_t i = 0; i < 16; ++i) sums[i] += static_cast<double>(x[first + i]);
        for (std::size_t i = whole; i < x.size(); ++i) sums[i - whole] += static_cast<double>(x[i]);
        return std::accumulate(sums.begin(), sums.end(), 0.0);
    }

    std::vector<float> weights_;
    std::vector<std::int32_t> ids_;  // of the weights; empty: all of the vocabulary
    std::vector<entry> heap_;
};

class sampler {
public:
    // Throws std::invalid_argument for options out of range.
    explicit sampler(const sampling& options) : options_(options), random_(options.seed) { validate(options); }

    // Takes one random number per token, none at temperature 0. Throws std::invalid_argument as argmax does.
    std::int32_t operator()(std::span<const float> logits) { return (*this)(logits, own_); }
    // With the memory of somebody who has many samplers.
    std::int32_t operator()(std::span<const float> logits, candidates& tokens) {
        const std::int32_t best = argmax(logits);
        if (options_.temperature == 0) return best;
        tokens.take(logits, static_cast<std::size_t>(options_.top_k));
        tokens.weigh(logits[static_cast<std::size_t>(best)], options_.temperature);
        if (options_.top_p < 1) tokens.keep_top_p(options_.top_p);
        return tokens.draw(random_.uniform());
    }

private:
    sampling options_;
    splitmix64 random_;
    candidates own_;
};

}  // namespace gpt2
