#pragma once
// GPT-2's byte-level BPE: text <-> token ids, from the vocab.json and merges.txt of a model folder. Link with -lpcre2-8.
//
//   gpt2::tokenizer tokenizer("examples/models/qnt-gpt2-5m");
//   std::vector<std::int32_t> ids = tokenizer.encode("Once upon a time");
//   std::string text = tokenizer.decode(ids);                              // the same bytes again
//
// 1. A regular expression cuts the text into pieces: words, numbers, punctuation, white space.
// 2. Each byte of a piece becomes a token; then the neighbours whose merge comes first in merges.txt are joined, until none can be.
// Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.2. Ids equal those of Hugging Face's GPT-2.
//
// Any bytes are legal input, and decode(encode(bytes)) == bytes. The expression needs characters, so the text is first cut into runs that
// are UTF-8 and runs that are not: the former are tokenized as texts of their own, each of the latter is one piece.
// A letter younger than the Unicode version of the PCRE2 in use counts as punctuation: other ids, the same bytes.

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <unordered_map>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#ifndef PCRE2_CODE_UNIT_WIDTH
#define PCRE2_CODE_UNIT_WIDTH 8
#endif
#include <pcre2.h>

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
    // Throws std::runtime_error with one line that names the file and what is wrong with it.
    explicit tokenizer(const std::filesystem::path& directory) : pieces_(compile_pattern()) {
        const token_ids ids = read_vocabulary(directory / "vocab.json");
        read_merges(directory / "merges.txt", ids);
    }

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

    // The id of a special token: one named <|like this|>, which text never turns into unless encode() is asked to. GPT-2 has <|endoftext|>.
    std::optional<std::int32_t> special(std::string_view name) const {
        const auto found = specials_.find(name);
        return found == specials_.end() ? std::nullopt : std::optional(found->second);
    }

private:
    using token_ids = std::unordered_map<std::string, std::int32_t>;  // by the names of vocab.json
    using rank = std::uint32_t;                                       // position in merges.txt: the lowest goes first
    static constexpr rank no_rank = std::numeric_limits<rank>::max();

    struct merge {
        rank order = no_rank;
        std::int32_t id = 0;  // of the merged token
    };

    struct special_at {
        std::size_t position, size;
        std::int32_t id;
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

    [[noreturn]] static void fail(const std::filesystem::path& file, const std::string& what) {
        throw std::runtime_error(file.string() + ": " + what);
    }

    static std::string read_file(const std::filesystem::path& file) {
        constexpr std::uintmax_t largest = std::uintmax_t{64} << 20;  // GPT-2's vocab.json has 1 MiB
        std::error_code error;
        const std::uintmax_t size = std::filesystem::file_size(file, error);
        if (error) fail(file, "cannot be read: " + error.message());
        if (size > largest) fail(file, "larger than 64 MiB: this is no GPT-2 vocabulary");
        std::string text(static_cast<std::size_t>(size), '\0');
        std::ifstream stream(file, std::ios::binary);
        if (!stream.read(text.data(), static_cast<std::streamsize>(size))) fail(file, "cannot be read");
        return text;
    }

    // The files write a byte as one printable character: as itself where Latin-1 has one, else as the next from U+0100 on (a space is U+0120).
    static std::array<char32_t, 256> byte_characters() {
        std::array<char32_t, 256> characters{};
        char32_t next = 0x100;
        for (char32_t byte = 0; byte < 256; ++byte) {
            const bool printable = (byte > 0x20 && byte < 0x7F) || (byte > 0xA0 && byte != 0xAD);
            characters[byte] = printable ? byte : next++;
        }
        return characters;
    }

    static std::string utf8(char32_t character) {  // below U+0800
        if (character < 0x80) return {static_cast<char>(character)};
        return {static_cast<char>(0xC0 | character >> 6), static_cast<char>(0x80 | (character & 0x3F))};
    }

    token_ids read_vocabulary(const std::filesystem::path& file) {
        using json = nlohmann::json;
        const std::string text = read_file(file);
        const auto refuse_nesting = [&file](int depth, json::parse_event_t event, const json&) {
            if (event == json::parse_event_t::array_start || (event == json::parse_event_t::object_start && depth > 0)) {
                fail(file, "nested JSON, where one object of \"token\": id is expected");
            }
            return true;
        };
        json root;
        try {
            root = json::parse(text, refuse_nesting);
        } catch (const json::parse_error& error) {
            fail(file, "not valid JSON at byte " + std::to_string(error.byte));
        } catch (const json::exception&) {
            fail(file, "not valid JSON: a number is out of range");
        }
        if (!root.is_object() || root.empty()) fail(file, "not an object of \"token\": id");

        tokens_.resize(root.size());
        std::vector<bool> taken(root.size());
        token_ids ids(root.size());
        const auto alphabet = byte_characters();
        std::unordered_map<std::string, char> bytes;
        for (std::size_t byte = 0; byte < 256; ++byte) bytes.emplace(utf8(alphabet[byte]), static_cast<char>(byte));

        for (const auto& [name, value] : root.items()) {
            if (!value.is_number_integer()) fail(file, "an id is not a whole number");
            const auto id = value.get<std::int64_t>();
            const auto index = static_cast<std::size_t>(id);
            if (id < 0 || index >= root.size()) {
                fail(file, "id " + std::to_string(id) + " is outside 0.." + std::to_string(root.size() - 1) + " (ids must be dense)");
            }
            if (taken[index]) fail(file, "duplicate id " + std::to_string(id));
            taken[index] = true;
            tokens_[index] = bytes_of(name, bytes);
            ids.emplace(name, static_cast<std::int32_t>(id));
            if (name.size() > 4 && name.starts_with("<|") && name.ends_with("|>")) specials_.emplace(name, static_cast<std::int32_t>(id));
        }
        for (std::size_t byte = 0; byte < 256; ++byte) {
            const auto found = ids.find(utf8(alphabet[byte]));
            if (found == ids.end()) fail(file, "no token for the byte " + std::to_string(byte));
            byte_ids_[byte] = found->second;
        }
        return ids;
    }

    // A name that is not all of byte characters is an added token, which stands for its own text.
    static std::string bytes_of(const std::string& name, const std::unordered_map<std::string, char>& bytes) {
        std::string result;
        for (std::size_t at = 0, size = 0; at < name.size(); at += size) {
            size = first_utf8_unit(std::string_view(name).substr(at)).size;
            const auto found = bytes.find(name.substr(at, size));
            if (found == bytes.end()) return name;
            result += found->second;
        }
        return result;
    }

    void read_merges(const std::filesystem::path& file, const token_ids& ids) {
        std::istringstream lines(read_file(file));
        std::string line;
        for (std::size_t number = 1; std::getline(lines, line); ++number) {
            const auto fail_line = [&file, number](const std::string& what) { fail(file, "line " + std::to_string(number) + ": " + what); };
            const auto id_of = [&](const std::string& name, const char* part) {
                const auto found = ids.find(name);
                if (found == ids.end()) fail_line(std::string(part) + " is not in the vocabulary");
                return found->second;
            };
            if (line.ends_with('\r')) line.pop_back();
            if (line.empty() || (number == 1 && line.starts_with("#version"))) continue;

            const std::size_t space = line.find(' ');
            if (space == std::string::npos || space == 0 || space + 1 == line.size() || line.find(' ', space + 1) != std::string::npos) {
                fail_line("not two pieces with one space between them");
            }
            const std::string left = line.substr(0, space), right = line.substr(space + 1);
            const std::uint64_t pair = pair_key(id_of(left, "the first piece"), id_of(right, "the second piece"));
            const merge joined{static_cast<rank>(merges_.size()), id_of(left + right, "the merged token")};
            if (!merges_.emplace(pair, joined).second) fail_line("repeats an earlier merge");
        }
    }

    // ---- encoding ----

    static std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
        return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
    }

    std::optional<special_at> find_special(std::string_view text) const {
        for (std::size_t at = text.find("<|"); at != std::string_view::npos; at = text.find("<|", at + 1)) {
            for (const auto& [name, id] : specials_) {
                if (text.substr(at).starts_with(name)) return special_at{at, name.size(), id};
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
};

}  // namespace gpt2
