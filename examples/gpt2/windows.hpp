// How a text longer than the context is scored: windows over its tokens, and which tokens of each are scored.
//
//   stride == length      windows that do not overlap: all tokens but the first of each window are scored, with 0 to length - 1 tokens before them
//   stride == length / 2  as Hugging Face documents it ("Perplexity of fixed-length models"): all tokens but the very first are scored, once, with
//                         at least length / 2 tokens before them behind the first window
//
// No token is put before the text or a window.
#pragma once
#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace gpt2 {

// Tokens [first, first + size), the last `scored` of them are scored; scored < size.
struct window {
    std::size_t first, size, scored;
};

// Of a text of `tokens` tokens. A last partial window is kept; at most `most` tokens are scored: the window that would score more is cut.
// length >= 2, 1 <= stride <= length.
inline std::vector<window> windows_of(std::size_t tokens, std::size_t length, std::size_t stride, std::size_t most = std::size_t(-1)) {
    std::vector<window> windows;
    std::size_t end = 0, scored = 0;  // of the windows so far
    for (std::size_t first = 0; end < tokens && scored < most; first += stride) {
        window w{first, std::min(length, tokens - first), 0};
        w.scored = std::min(first + w.size - end, w.size - 1);
        end = first + w.size;
        if (w.scored > most - scored) {
            w.size -= w.scored - (most - scored);
            w.scored = most - scored;
        }
        scored += w.scored;
        if (w.scored > 0) windows.push_back(w);
    }
    return windows;
}

// Cuts a window into parts of at most `rows` tokens, so that logits need little memory: f(ids, wanted) runs one part, of whose last `wanted` ids
// logits are wanted. Scored are the tokens behind them.
template <class F> void for_each_part(std::span<const std::int32_t> tokens, const window& w, std::size_t rows, const F& f) {
    const std::size_t last = w.first + w.size - 1, first_wanted = last - w.scored;  // the last token of all is only scored
    for (std::size_t begin = w.first; begin < last; begin += rows) {
        const std::size_t end = std::min(begin + rows, last);
        f(tokens.subspan(begin, end - begin), end - std::clamp(first_wanted, begin, end));
    }
}

}  // namespace gpt2
