// The sampler against a brute-force oracle that follows Hugging Face's formulation: drop the least likely tokens, in long double.
#include "gpt2/sampler.hpp"

#include <map>
#include <numeric>
#include <random>

#include "catch.hpp"

namespace {

using gpt2::sampler;
using gpt2::sampling;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();

// The probability of each token; 0 for those that top-k or top-p removes.
std::vector<long double> oracle(const std::vector<float>& logits, const sampling& options) {
    std::vector<std::size_t> ascending(logits.size());  // of equal logits the higher id counts as less likely
    std::iota(ascending.begin(), ascending.end(), std::size_t{0});
    std::sort(ascending.begin(), ascending.end(),
              [&](std::size_t a, std::size_t b) { return logits[a] != logits[b] ? logits[a] < logits[b] : a > b; });

    std::vector<long double> p(logits.size());
    for (std::size_t i = 0; i < p.size(); ++i) p[i] = std::exp(static_cast<long double>(logits[i]) / static_cast<long double>(options.temperature));
    const auto normalise = [&p] {
        const long double sum = std::accumulate(p.begin(), p.end(), 0.0L);
        for (long double& x : p) x /= sum;
    };

    const auto k = static_cast<std::size_t>(options.top_k);
    if (k > 0 && k < p.size()) {
        const float kth = logits[ascending[p.size() - k]];
        for (std::size_t i = 0; i < p.size(); ++i) {
            if (logits[i] < kth) p[i] = 0;
        }
    }
    normalise();
    if (options.top_p < 1) {
        long double tail = 0;  // this token and all less likely ones
        for (std::size_t i = 0; i + 1 < ascending.size(); ++i) {
            tail += p[ascending[i]];
            if (tail <= 1 - static_cast<long double>(options.top_p)) p[ascending[i]] = 0;
        }
        normalise();
    }
    return p;
}

void check_against_oracle(const std::vector<float>& logits, const sampling& options, int draws) {
    CAPTURE(logits, options.temperature, options.top_k, options.top_p, options.seed);
    const auto p = oracle(logits, options);
    sampler sample(options);
    std::vector<int> count(logits.size());
    for (int i = 0; i < draws; ++i) {
        const std::int32_t id = sample(logits);
        if (id < 0 || static_cast<std::size_t>(id) >= logits.size()) FAIL("id " << id);
        ++count[static_cast<std::size_t>(id)];
    }
    for (std::size_t i = 0; i < p.size(); ++i) {
        CAPTURE(i, static_cast<double>(p[i]), count[i]);
        const double expected = static_cast<double>(p[i]) * draws;
        if (p[i] == 0) {
            CHECK(count[i] == 0);
        } else {
            CHECK(std::abs(count[i] - expected) <= 5.5 * std::sqrt(expected) + 3);  // the seeds are fixed: no test fails by chance
        }
    }
}

}  // namespace

TEST_CASE("sampler: temperature 0 takes the largest logit, the lowest id of equal ones") {
    sampler greedy({});
    CHECK(greedy(std::vector<float>{1, 3, 2}) == 1);
    CHECK(greedy(std::vector<float>{-1, -3, -1}) == 0);
    CHECK(greedy(std::vector<float>{-infinity, 5, 5, 5}) == 1);
    CHECK(greedy(std::vector<float>{-0.0f, 0.0f}) == 0);
    CHECK(greedy(std::vector<float>{7}) == 0);
    CHECK(greedy(std::vector<float>{-3e38f, -3.4e38f}) == 0);
    CHECK(sampler({.temperature = 0, .top_k = 3, .top_p = 0.1f, .seed = 9})(std::vector<float>{1, 3, 2}) == 1);
    CHECK(gpt2::argmax(std::vector<float>{0, 1}) == 1);
}

TEST_CASE("sampler: the largest logit wherever it stands, and NaN wherever it hides") {
    for (const std::size_t n : {1u, 15u, 16u, 17u, 50u})
        for (std::size_t at = 0; at < n; ++at) {
            std::vector<float> logits(n, -2.0f);
            logits[at] = -1.5f;
            CHECK(gpt2::argmax(logits) == std::int32_t(at));
            for (const float bad : {nan_value, -nan_value, infinity}) {
                logits[at] = bad;
                CHECK_THROWS_AS(gpt2::argmax(logits), std::invalid_argument);
            }
            logits[at] = -infinity;
            if (n > 1) CHECK(gpt2::argmax(logits) == std::int32_t(at == 0));
        }
}

TEST_CASE("sampler: the generator and the draws are the same everywhere") {
    // published first outputs of SplitMix64
    gpt2::splitmix64 zero(0), other(1234567);
    CHECK(zero() == 0xE220A8397B1DCDAFu);
    for (const std::uint64_t expected :
         {6457827717110365317u, 3203168211198807973u, 9817491932198370423u, 4593380528125082431u, 16408922859458223821u}) {
        CHECK(other() == expected);
    }
    for (int i = 0; i < 1000; ++i) {
        const double u = zero.uniform();
        if (!(u >= 0 && u < 1)) CHECK(u < 1);
    }

    // drawn by a Python program of its own
    const std::vector<float> logits{0.5f, 2, -1, 1.5f, 0, 2, -3, 1};
    const auto first = [&logits](const sampling& options) {
        sampler sample(options);
        std::vector<std::int32_t> ids;
        for (int i = 0; i < 12; ++i) ids.push_back(sample(logits));
        return ids;
    };
    using ids = std::vector<std::int32_t>;
    CHECK(first({.temperature = 1, .seed = 42}) == ids{5, 1, 1, 1, 0, 5, 1, 5, 1, 5, 1, 3});
    CHECK(first({.temperature = 0.8f, .top_k = 4, .seed = 42}) == ids{5, 1, 1, 1, 1, 5, 1, 5, 1, 5, 1, 3});
    CHECK(first({.temperature = 1.2f, .top_p = 0.9f, .seed = 42}) == ids{1, 7, 3, 3, 0, 1, 3, 1, 3, 5, 7, 5});
    CHECK(first({.temperature = 1, .seed = 42}) != first({.temperature = 1, .seed = 43}));
}

TEST_CASE("sampler: frequencies are those of the oracle") {
    std::mt19937 random(7);
    for (int round = 0; round < 300; ++round) {
        std::vector<float> logits(1 + random() % 30);
        const bool ties = random() % 3 == 0;
        for (float& x : logits) x = ties ? static_cast<float>(random() % 4) : static_cast<float>(random() % 100000) * 1e-4f - 5;
        if (logits.size() > 2 && random() % 4 == 0) logits[random() % 2] = -infinity;  // a token that is ruled out
        const float temperatures[] = {0.2f, 0.7f, 0.8f, 1, 1.5f, 10};
        const int ks[] = {0, 0, 1, 2, 5, 29, 1000};
        const float ps[] = {1, 1, 0.95f, 0.9f, 0.5f, 0.3f, 1e-6f, 0.999f};
        const sampling options{.temperature = temperatures[random() % std::size(temperatures)],
                               .top_k = ks[random() % std::size(ks)],
                               .top_p = ps[random() % std::size(ps)],
                               .seed = random()};
        check_against_oracle(logits, options, 3000);
    }
}

TEST_CASE("sampler: ties at the edge") {
    const std::vector<float> equal(4, 1.0f);
    check_against_oracle(equal, {.temperature = 1, .top_k = 2, .seed = 1}, 3000);  // all four tie with the second
    CHECK(oracle(equal, {.temperature = 1, .top_k = 2})[3] > 0);
    check_against_oracle(equal, {.temperature = 1, .top_p = 0.5f, .seed = 2}, 3000);  // exactly half: ids 0 and 1
    CHECK(oracle(equal, {.temperature = 1, .top_p = 0.5f})[1] > 0);
    CHECK(oracle(equal, {.temperature = 1, .top_p = 0.5f})[2] == 0);
    check_against_oracle({3, 3, 1, 3, 0}, {.temperature = 0.5f, .top_k = 1, .top_p = 0.6f, .seed = 3}, 3000);
}

TEST_CASE("sampler: a whole vocabulary") {
    std::mt19937 random(8);
    std::vector<float> logits(50257);
    for (float& x : logits) x = static_cast<float>(random() % 1000000) * 2e-5f - 10;
    for (const sampling& options :
         {sampling{.temperature = 1, .seed = 1}, sampling{.temperature = 0.8f, .top_k = 40, .seed = 2},
          sampling{.temperature = 0.8f, .top_k = 40, .top_p = 0.9f, .seed = 3}, sampling{.temperature = 0.9f, .top_p = 0.95f, .seed = 4}}) {
        const auto p = oracle(logits, options);
        sampler sample(options);
        for (int i = 0; i < 200; ++i) CHECK(p.at(static_cast<std::size_t>(sample(logits))) > 0);
    }
}

TEST_CASE("sampler: extreme logits and temperatures neither overflow nor choose a ruled-out token") {
    const float largest = std::numeric_limits<float>::max(), smallest = std::numeric_limits<float>::denorm_min();
    for (const float temperature : {smallest, 1e-6f, 1.0f, 1e6f, largest}) {
        for (const float top_p : {1.0f, 0.999999f, smallest}) {
            sampler sample({.temperature = temperature, .top_p = top_p, .seed = 5});
            for (int i = 0; i < 100; ++i) {
                const std::int32_t id = sample(std::vector<float>{-infinity, largest, -largest, -infinity, 0, -infinity});
                CHECK((id == 1 || (temperature == largest && (id == 2 || id == 4))));
            }
        }
    }
    CHECK(sampler({.temperature = 1})(std::vector<float>{-infinity, -largest}) == 1);
    CHECK(sampler({.temperature = 1, .top_k = 2'000'000'000})(std::vector<float>{3}) == 0);
}

TEST_CASE("sampler: parameters out of range and broken logits are errors") {
    const auto message = [](const sampling& options) -> std::string {
        try {
            const sampler refused(options);
        } catch (const std::invalid_argument& error) {
            return error.what();
        }
        return "";
    };
    CHECK(message({.temperature = 1, .top_k = 0, .top_p = 1}) == "");
    CHECK(message({.temperature = -0.5f}) == "temperature must be a finite number >= 0, not -0.500000");
    CHECK(message({.temperature = nan_value}).find("temperature must be") == 0);
    CHECK(message({.temperature = infinity}).find("temperature must be") == 0);
    CHECK(message({.top_k = -1}) == "top_k must be >= 0, not -1");
    for (const float p : {0.0f, -1.0f, 1.0001f, infinity, nan_value}) CHECK(message({.top_p = p}).find("top_p must be > 0 and <= 1") == 0);

    for (const float temperature : {0.0f, 1.0f}) {
        sampler sample({.temperature = temperature});
        CHECK_THROWS_AS(sample(std::vector<float>{}), std::invalid_argument);
        CHECK_THROWS_AS(sample(std::vector<float>{1, nan_value, 2}), std::invalid_argument);
        CHECK_THROWS_AS(sample(std::vector<float>{1, infinity}), std::invalid_argument);
        CHECK_THROWS_AS(sample(std::vector<float>{-infinity, -infinity}), std::invalid_argument);
        CHECK(sample(std::vector<float>{1}) == 0);
    }
}
