#include "gpt2/windows.hpp"

#include <numeric>

#include "catch.hpp"

// The loop of Hugging Face's page on perplexity, with labels of -100 counted as it counts them: (first, size, scored).
static std::vector<gpt2::window> as_documented(std::size_t tokens, std::size_t length, std::size_t stride) {
    std::vector<gpt2::window> windows;
    std::size_t previous_end = 0;
    for (std::size_t begin = 0; begin < tokens; begin += stride) {
        const std::size_t end = std::min(begin + length, tokens), target_length = end - previous_end, size = end - begin;
        std::size_t valid = 0;
        for (std::size_t i = 1; i < size; ++i) valid += i >= size - target_length;  // labels are shifted by one
        if (valid > 0) windows.push_back({begin, size, valid});
        previous_end = end;
        if (end == tokens) break;
    }
    return windows;
}

TEST_CASE("windows are those of the documented loop") {
    for (const std::size_t tokens : {0u, 1u, 2u, 3u, 7u, 8u, 9u, 16u, 17u, 31u, 100u})
        for (const std::size_t length : {2u, 3u, 8u, 16u, 200u})
            for (const std::size_t stride : {std::size_t{1}, length / 2, length - 1, length}) {
                const auto windows = gpt2::windows_of(tokens, length, stride), expected = as_documented(tokens, length, stride);
                INFO(tokens << " tokens, length " << length << ", stride " << stride);
                REQUIRE(windows.size() == expected.size());
                std::size_t scored = 0;
                for (std::size_t i = 0; i < windows.size(); ++i) {
                    CHECK(windows[i].first == expected[i].first);
                    CHECK(windows[i].size == expected[i].size);
                    CHECK(windows[i].scored == expected[i].scored);
                    scored += windows[i].scored;
                }
                if (stride < length) CHECK(scored == (tokens == 0 ? 0 : tokens - 1));  // each once
            }
    CHECK(gpt2::windows_of(316118, 512, 512).size() == 618);  // of the goldens
    CHECK(gpt2::windows_of(316118, 512, 256).size() == 1234);
}

TEST_CASE("a number of tokens to score is kept exactly") {
    for (const std::size_t most : {1u, 5u, 7u, 8u, 20u, 99u, 1000u})
        for (const std::size_t stride : {4u, 8u}) {
            std::size_t scored = 0;
            for (const gpt2::window& w : gpt2::windows_of(100, 8, stride, most)) {
                CHECK(w.scored < w.size);
                CHECK(w.scored > 0);
                scored += w.scored;
            }
            CHECK(scored == std::min<std::size_t>(most, stride == 8 ? 100 - 13 : 99));
        }
}

TEST_CASE("parts of a window cover it, and want logits before each scored token") {
    std::vector<std::int32_t> tokens(50);
    std::iota(tokens.begin(), tokens.end(), 0);
    for (const gpt2::window w : {gpt2::window{3, 20, 19}, {3, 20, 1}, {0, 2, 1}, {10, 40, 20}})
        for (const std::size_t rows : {1u, 7u, 19u, 20u, 64u}) {
            std::vector<std::int32_t> run, scored;
            gpt2::for_each_part(tokens, w, rows, [&](std::span<const std::int32_t> ids, std::size_t wanted) {
                REQUIRE(ids.size() <= rows);
                REQUIRE(wanted <= ids.size());
                run.insert(run.end(), ids.begin(), ids.end());
                for (const std::int32_t id : ids.last(wanted)) scored.push_back(id + 1);
            });
            const std::span<const std::int32_t> all(tokens);
            const auto expected_run = all.subspan(w.first, w.size - 1), expected_scored = all.subspan(w.first + w.size - w.scored, w.scored);
            CHECK(run == std::vector<std::int32_t>(expected_run.begin(), expected_run.end()));
            CHECK(scored == std::vector<std::int32_t>(expected_scored.begin(), expected_scored.end()));
        }
}
