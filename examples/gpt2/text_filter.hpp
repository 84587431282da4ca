// Text as tokens bring it, fit to be shown at once: whole UTF-8 characters, and nothing that may turn out to be part of a stop string.
//
//   gpt2::text_filter text({"\n\n"});
//   send(text.push(tokenizer.token_bytes(id)));   if (text.stopped()) ...
//   send(text.finish());                           // what was held back
#pragma once
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "tokenizer.hpp"

namespace gpt2 {

class text_filter {
public:
    explicit text_filter(std::vector<std::string> stops = {}) : stops_(std::move(stops)) {}

    // What may be shown now. Nothing more after a stop string, which is left out with all behind it.
    std::string push(std::string_view bytes) { return stopped_ ? "" : take(characters_.push(bytes), false); }
    std::string finish() { return stopped_ ? "" : take(characters_.finish(), true); }
    bool stopped() const { return stopped_; }

private:
    std::string take(const std::string& text, bool is_all) {
        held_ += text;
        std::size_t first = held_.npos, end = held_.npos;  // of the one that is whole first, so that it does not matter how the bytes come
        for (const std::string& s : stops_)
            if (const std::size_t at = held_.find(s); at != held_.npos && std::pair(at + s.size(), at) < std::pair(end, first)) {
                first = at;
                end = at + s.size();
            }
        stopped_ = first != held_.npos;
        const std::size_t shown = stopped_ ? first : is_all ? held_.size() : held_.size() - longest_beginning();
        std::string out = held_.substr(0, shown);
        held_.erase(0, shown);
        return out;
    }
    // How many of the last bytes are how a stop string begins.
    std::size_t longest_beginning() const {
        std::size_t longest = 0;
        for (const std::string& s : stops_)
            for (std::size_t n = std::min(s.size() - 1, held_.size()); n > longest; --n)
                if (std::string_view(held_).substr(held_.size() - n) == std::string_view(s).substr(0, n)) longest = n;
        return longest;
    }

    std::vector<std::string> stops_;
    utf8_stream characters_;
    std::string held_;
    bool stopped_ = false;
};

}  // namespace gpt2
