#pragma once
// GPT-2's byte-level BPE: text <-> token ids, by the files of a model (tokenizer_data.hpp reads them). Link with -lpcre2-8.
//
//   gpt2::tokenizer tokenizer("examples/models/qnt-gpt2-5m");
//   std::vector<std::int32_t> ids = tokenizer.encode("Once upon a time");
//   std::string text = tokenizer.decode(ids);                              // the same bytes again
//
// 1. A regular expression cuts the text into pieces: words, numbers, punctuation, white space.
// 2. Each byte of a piece becomes a token; then the neighbours whose merge comes first in the list are joined, until none can be.
// Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.2. Ids equal those of Hugging Face's GPT-2.
//
// Any bytes are legal input, and decode(encode(bytes)) == bytes. The expression needs characters, so the text is first cut into runs that
// are UTF-8 and runs that are not: the former are tokenized as texts of their own, each of the latter is one piece.
// A letter younger than the Unicode version of the PCRE2 in use counts as punctuation: other ids, the same bytes.

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#ifndef PCRE2_CODE_UNIT_WIDTH
#define PCRE2_CODE_UNIT_WIDTH 8
#endif
#include <pcre2.h>

#include "tokenizer_data.hpp"

namespace gpt2 {

// What a text begins with: a character, the beginning of one that the text's end cuts off, or bytes that can begin none.
enum class utf8_kind { character, cut, invalid };

struct utf8_unit {
    std::size_t size;
    utf8_kind kind;
};

// `text` is not empty. The ranges are table 3-7 of the Unicode standard (no overlong forms, no surrogates, nothing beyond U+10FFFF), the size
// of an invalid unit is its "maximal subpart": what decoders replace by one U+FFFD.
inline utf8_unit first_utf8_unit(std::string_view text) {
    const auto byte = [text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned lead = byte(0);
    if (lead < 0x80) return {1, utf8_kind::character};
    if (lead < 0xC2 || lead > 0xF4) return {1, utf8_kind::invalid};

    const std::size_t size = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    for (std::size_t i = 1; i < size; ++i) {
        if (i == text.size()) return {i, utf8_kind::cut};
        if (byte(i) < low || byte(i) > high) return {i, utf8_kind::invalid};
        low = 0x80;
        high = 0xBF;
    }
    return {size, utf8_kind::character};
}

// Makes printable text of tokens as they come: a token may end inside a character, whose bytes wait here for the rest.
// What comes out is always UTF-8; bytes that can never become a character come out as U+FFFD.
class utf8_stream {
public:
    std::string push(std::string_view bytes) {
        pending_ += bytes;
        std::string text;
        std::string_view rest = pending_;
        while (!rest.empty()) {
            const utf8_unit unit = first_utf8_unit(rest);
            if (unit.kind == utf8_kind::cut) break;
            text += unit.kind == utf8_kind::character ? rest.substr(0, unit.size) : replacement;
            rest.remove_prefix(unit.size);
        }
        pending_.erase(0, pending_.size() - rest.size());
        return text;
    }

    // The end of the text: a character that never became whole.
    std::string finish() { return std::exchange(pending_, {}).empty() ? std::string{} : std::string{replacement}; }

private:
    static constexpr std::string_view replacement = "\xEF\xBF\xBD";
    std::string pending_;
};

// How encode() reads the name of a special token. In text from others it must stay text, or they could end the prompt.
enum class special_tokens { as_text, recognised };

class tokenizer {
public:
    // From whatever read_tokenizer() reads. Throws std::runtime_error with one line that names the file and what is wrong with it.
    explicit tokenizer(const std::filesystem::path& source) : tokenizer(read_tokenizer(source)) {}
    explicit tokenizer(const tokenizer_data& data) : pieces_(compile_pattern()) { add_merges(data, add_tokens(data)); }

    // Time is O(n log n) in the length of the text, whatever the text. May be called from several threads at once.
    std::vector<std::int32_t> encode(std::string_view text, special_tokens mode = special_tokens::as_text) const {
        std::vector<std::int32_t> ids;
        if (mode == special_tokens::recognised) {
            while (const auto found = find_special(text)) {
                encode_text(text.substr(0, found->position), ids);
                ids.push_back(found->id);
                text.remove_prefix(found->position + found->size);
            }
        }
        encode_text(text, ids);
        return ids;
    }

    // The bytes of the tokens; they need not be UTF-8 if the model made the ids (see utf8_stream). Throws std::out_of_range.
    std::string decode(std::span<const std::int32_t> ids) const {
        std::string bytes;
        for (const std::int32_t id : ids) bytes += token_bytes(id);
        return bytes;
    }

    // Valid as long as the tokenizer. Throws std::out_of_range.
    std::string_view token_bytes(std::int32_t id) const {
        if (id < 0 || static_cast<std::size_t>(id) >= tokens_.size()) {
            throw std::out_of_range("token id " + std::to_string(id) + " is outside the vocabulary of " + std::to_string(tokens_.size()) + " tokens");
        }
        return tokens_[static_cast<std::size_t>(id)];
    }

    std::size_t vocab_size() const noexcept { return tokens_.size(); }

    // The id of a special token: one that is named <|like this|> or that its file calls special. Text never turns into it unless encode()
    // is asked to. GPT-2 has <|endoftext|>.
    std::optional<std::int32_t> special(std::string_view name) const {
        const auto found = specials_.find(name);
        return found == specials_.end() ? std::nullopt : std::optional(found->second);
    }

private:
    using rank = std::uint32_t;  // position in the list: the lowest goes first
    static constexpr rank no_rank = std::numeric_limits<rank>::max();

    struct merge {
        rank order = no_rank;
        std::int32_t id = 0;  // of the merged token
    };

    struct special_at {
        std::size_t position, size;
        std::int32_t id;
    };

    // Ids by name. Open addressing: 50,000 merges look up three names each, and a lookup in a table of nodes misses the caches three times.
    class token_ids {
    public:
        explicit token_ids(std::span<const std::string> names) : names_(names), slots_(std::bit_ceil(2 * names.size() + 1)) {
            for (std::size_t id = 0; id < names.size(); ++id) {
                const std::uint64_t hash = hash_of(names[id]);
                std::size_t at = hash & (slots_.size() - 1);
                while (slots_[at].id >= 0) at = (at + 1) & (slots_.size() - 1);
                slots_[at] = {static_cast<std::uint32_t>(hash >> 32), static_cast<std::int32_t>(id)};
            }
        }
        std::optional<std::int32_t> find(std::string_view name) const {
            const std::uint64_t hash = hash_of(name);
            for (std::size_t at = hash & (slots_.size() - 1); slots_[at].id >= 0; at = (at + 1) & (slots_.size() - 1))
                if (slots_[at].hash == static_cast<std::uint32_t>(hash >> 32) && names_[static_cast<std::size_t>(slots_[at].id)] == name)
                    return slots_[at].id;
            return std::nullopt;
        }

    private:
        struct slot {
            std::uint32_t hash = 0;
            std::int32_t id = -1;
        };
        static std::uint64_t hash_of(std::string_view name) { return std::hash<std::string_view>()(name); }
        std::span<const std::string> names_;
        std::vector<slot> slots_;  // a power of two, at most half of them taken
    };

    struct pcre2_deleter {
        void operator()(pcre2_code* code) const { pcre2_code_free(code); }
        void operator()(pcre2_match_data* match) const { pcre2_match_data_free(match); }
    };
    using pcre2_pattern = std::unique_ptr<pcre2_code, pcre2_deleter>;

    static pcre2_pattern compile_pattern() {
        // 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ with \s spelled out, because PCRE2's own \s is ASCII only,
        // or with PCRE2_UCP holds U+180E, which left the white space in Unicode 6.3.
        static constexpr const char* pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\t-\r\x{85}\p{Z}\p{L}\p{N}]+)"
                                               R"(|[\t-\r\x{85}\p{Z}]+(?![^\t-\r\x{85}\p{Z}])|[\t-\r\x{85}\p{Z}]+)";
        int error = 0;
        PCRE2_SIZE where = 0;
        pcre2_pattern code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern), PCRE2_ZERO_TERMINATED, PCRE2_UTF, &error, &where, nullptr));
        if (!code) throw std::runtime_error("PCRE2 refuses GPT-2's pattern (error " + std::to_string(error) + "): was it built without Unicode?");
        return code;
    }

    // ---- loading ----

    token_ids add_tokens(const tokenizer_data& data) {
        const auto alphabet = byte_characters();
        byte_table bytes;
        bytes.fill(-1);
        for (std::size_t byte = 0; byte < 256; ++byte) bytes[code_of(alphabet[byte])] = static_cast<std::int16_t>(byte);
        tokens_.reserve(data.tokens.size());
        auto special = data.specials.begin();
        for (std::size_t id = 0; id < data.tokens.size(); ++id) {
            const std::string& name = data.tokens[id];
            const bool is_special = special != data.specials.end() && static_cast<std::size_t>(*special) == id;
            tokens_.push_back(is_special ? name : bytes_of(name, bytes));
            if (is_special) add_special(name, *special++);
        }
        token_ids ids(data.tokens);
        for (std::size_t byte = 0; byte < 256; ++byte) {
            const auto found = ids.find(alphabet[byte]);
            if (!found) refuse(data.vocabulary_source, "no token for the byte " + std::to_string(byte));
            if (is_special(data, *found)) refuse(data.vocabulary_source, "the token for the byte " + std::to_string(byte) + " is a special one");
            byte_ids_[byte] = *found;
        }
        return ids;
    }

    static bool is_special(const tokenizer_data& data, std::int32_t id) { return std::binary_search(data.specials.begin(), data.specials.end(), id); }

    using byte_table = std::array<std::int16_t, 0x800>;  // by the code of a byte's character; -1: of no byte

    // Of a character of one or two bytes; others have the code 0, which stands for no byte.
    static std::size_t code_of(std::string_view character) {
        const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(character[i]); };
        if (character.size() == 1) return byte(0) < 0x80 ? byte(0) : 0;
        return character.size() == 2 && byte(0) < 0xE0 ? (byte(0) & 0x1Fu) << 6 | (byte(1) & 0x3Fu) : 0;
    }
    // A name that is not all of byte characters is an added token, which stands for its own text.
    static std::string bytes_of(std::string_view name, const byte_table& bytes) {
        std::string result;
        for (std::size_t at = 0, size = 0; at < name.size(); at += size) {
            size = first_utf8_unit(name.substr(at)).size;
            const std::int16_t byte = bytes[code_of(name.substr(at, size))];
            if (byte < 0) return std::string(name);
            result += static_cast<char>(byte);
        }
        return result;
    }

    // A longer name is a token that no text is searched for: the search takes time in proportion to the longest.
    void add_special(const std::string& name, std::int32_t id) {
        if (name.empty() || name.size() > 256) return;
        specials_.emplace(name, id);
        is_start_of_special_[static_cast<unsigned char>(name[0])] = true;
    }

    void add_merges(const tokenizer_data& data, const token_ids& ids) {
        merges_.reserve(data.merges.size());
        std::string both;
        for (const merge_rule& m : data.merges) {
            const auto fail = [&](const std::string& what) { refuse(data.merges_source, "line " + std::to_string(m.line) + ": " + what); };
            const auto id_of = [&](std::string_view name, const char* part) {
                const auto found = ids.find(name);
                if (!found) fail(std::string(part) + " is not in the vocabulary");
                return *found;
            };
            const std::uint64_t pair = pair_key(id_of(m.left, "the first piece"), id_of(m.right, "the second piece"));
            both.assign(m.left).append(m.right);
            const merge joined{static_cast<rank>(merges_.size()), id_of(both, "the merged token")};
            if (is_special(data, joined.id)) continue;  // text never turns into it
            if (!merges_.emplace(pair, joined).second) fail("repeats an earlier merge");
        }
    }

    // ---- encoding ----

    static std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
        return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
    }

    // The first special token in the text, the longest if several begin there.
    std::optional<special_at> find_special(std::string_view text) const {
        for (std::size_t at = 0; at < text.size(); ++at) {
            if (!is_start_of_special_[static_cast<unsigned char>(text[at])]) continue;
            // Names that the text begins with are not behind it in the order: the last one that is not behind shares the most with it.
            for (std::string_view rest = text.substr(at, 256);;) {
                auto next = specials_.upper_bound(rest);
                if (next == specials_.begin()) break;
                const auto& [name, id] = *--next;
                if (rest.starts_with(name)) return special_at{at, name.size(), id};
                const auto same = static_cast<std::size_t>(std::mismatch(name.begin(), name.end(), rest.begin(), rest.end()).first - name.begin());
                if (same == 0) break;
                rest = rest.substr(0, same);
            }
        }
        return std::nullopt;
    }

    void encode_text(std::string_view text, std::vector<std::int32_t>& ids) const {
        while (!text.empty()) {
            const bool valid = first_utf8_unit(text).kind == utf8_kind::character;
            std::size_t size = 0;
            while (size < text.size()) {
                const utf8_unit unit = first_utf8_unit(text.substr(size));
                if ((unit.kind == utf8_kind::character) != valid) break;
                size += unit.size;
            }
            valid ? encode_characters(text.substr(0, size), ids) : encode_piece(text.substr(0, size), ids);
            text.remove_prefix(size);
        }
    }

    // `text` is UTF-8: PCRE2 need not check it again at every piece.
    void encode_characters(std::string_view text, std::vector<std::int32_t>& ids) const {
        const std::unique_ptr<pcre2_match_data, pcre2_deleter> match(pcre2_match_data_create(1, nullptr));
        if (!match) throw std::bad_alloc();
        while (!text.empty()) {
            const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
            const int found = pcre2_match(pieces_.get(), subject, text.size(), 0, PCRE2_ANCHORED | PCRE2_NO_UTF_CHECK, match.get(), nullptr);
            if (found < 0) throw std::runtime_error("PCRE2 cannot cut the text into pieces (error " + std::to_string(found) + ")");
            const std::size_t size = pcre2_get_ovector_pointer(match.get())[1];
            encode_piece(text.substr(0, size), ids);
            text.remove_prefix(size);
        }
    }

    // A linked list of tokens and a heap of their possible merges, so that a piece of a million bytes takes no n^2 steps.
    void encode_piece(std::string_view piece, std::vector<std::int32_t>& ids) const {
        struct symbol {
            std::int32_t id;
            std::size_t previous, next;  // neighbours that are still there; next == end after the last
            merge with_next;
        };
        const std::size_t end = piece.size();
        std::vector<symbol> symbols(end);
        using candidate = std::pair<rank, std::size_t>;  // the lowest rank first, of equal ones the leftmost
        std::priority_queue<candidate, std::vector<candidate>, std::greater<>> candidates;

        const auto consider = [&](std::size_t position) {
            symbol& left = symbols[position];
            left.with_next = left.next < end ? find_merge(left.id, symbols[left.next].id) : merge{};
            if (left.with_next.order != no_rank) candidates.emplace(left.with_next.order, position);
        };

        for (std::size_t i = 0; i < end; ++i) symbols[i] = {byte_ids_[static_cast<unsigned char>(piece[i])], i - 1, i + 1, {}};
        for (std::size_t i = 0; i < end; ++i) consider(i);
        while (!candidates.empty()) {
            const auto [order, position] = candidates.top();
            candidates.pop();
            symbol& left = symbols[position];
            if (left.with_next.order != order) continue;  // one of the two was merged with another since

            symbol& right = symbols[left.next];
            left.id = left.with_next.id;
            left.next = right.next;
            right.with_next = {};
            if (left.next < end) symbols[left.next].previous = position;
            consider(position);
            if (position > 0) consider(left.previous);
        }
        for (std::size_t i = 0; i < end; i = symbols[i].next) ids.push_back(symbols[i].id);
    }

    merge find_merge(std::int32_t left, std::int32_t right) const {
        const auto found = merges_.find(pair_key(left, right));
        return found == merges_.end() ? merge{} : found->second;
    }

    pcre2_pattern pieces_;
    std::vector<std::string> tokens_;                  // id -> bytes
    std::array<std::int32_t, 256> byte_ids_{};         // byte -> id
    std::unordered_map<std::uint64_t, merge> merges_;  // pair_key of two neighbours -> what they become
    std::map<std::string, std::int32_t, std::less<>> specials_;
    std::array<bool, 256> is_start_of_special_{};  // by the first byte
};

}  // namespace gpt2
