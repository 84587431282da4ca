// GPT-2's tokenizer. Every input is a text, which the shipped tokenizer encodes and decodes to the same bytes; and it is the files of a
// tokenizer, which must do the same if it is accepted, and be written and read back equal. These are, by the first bytes,
//   GGUF   the metadata of such a file
//   {      tokenizer.json; with NUL between them, vocab.json, merges.txt and added_tokens.json
//   +      what a vocabulary has beyond the 256 bytes: tokens, a line each, NUL, merges.txt, NUL, special tokens, a line each
#include <gpt2/gguf.hpp>
#include <gpt2/tokenizer.hpp>

#include "fuzz.hpp"

namespace {

void check_text(const gpt2::tokenizer& t, std::string_view text) {
    for (const auto mode : {gpt2::special_tokens::as_text, gpt2::special_tokens::recognised}) {
        const auto ids = t.encode(text, mode);
        FUZZ_CHECK(ids.size() <= text.size() && t.decode(ids) == text);
        gpt2::utf8_stream stream;
        std::string printed;
        for (const std::int32_t id : ids) printed += stream.push(t.token_bytes(id));
        printed += stream.finish();
        FUZZ_CHECK(qnt::is_utf8(printed) && (printed == text || !qnt::is_utf8(text)));
    }
}

// Text becomes a special token only where that is asked for.
void check_specials(const gpt2::tokenizer& t, const gpt2::tokenizer_data& d) {
    for (const std::int32_t id : d.specials) {
        const std::string& name = d.tokens[std::size_t(id)];
        const auto ids = t.encode(name);
        FUZZ_CHECK(std::ranges::find_first_of(ids, d.specials) == ids.end());
        if (!name.empty() && name.size() <= 256) FUZZ_CHECK(t.encode(name, gpt2::special_tokens::recognised) == std::vector{id});
    }
}

bool is_equal(const gpt2::tokenizer_data& a, const gpt2::tokenizer_data& b) {
    return a.tokens == b.tokens && a.specials == b.specials &&
           std::ranges::equal(a.merges, b.merges, [](const auto& x, const auto& y) { return x.left == y.left && x.right == y.right; });
}

void check_tokenizer(const gpt2::tokenizer_data& d, std::string_view text) {
    const gpt2::tokenizer t(d);
    FUZZ_CHECK(t.vocab_size() == d.tokens.size());
    check_text(t, text);
    check_specials(t, d);
    const auto texts = gpt2::tokenizer_texts(d);
    const std::string_view added = texts.size() > 2 ? std::string_view(texts[2].second) : std::string_view();
    std::optional<gpt2::tokenizer_data> again;
    try {
        again = gpt2::parse_tokenizer(texts[0].second, "v", texts[1].second, "m", added, "a");
    } catch (const std::runtime_error& e) {
        fuzz::fail(__FILE__, __LINE__, std::string("what was written is read: ") + e.what());
    }
    FUZZ_CHECK(is_equal(*again, d));
}

std::vector<std::string_view> split(std::string_view text, char at, std::size_t most) {
    std::vector<std::string_view> parts;
    for (std::size_t end = 0; parts.size() + 1 < most && (end = text.find(at)) != text.npos; text.remove_prefix(end + 1))
        parts.push_back(text.substr(0, end));
    parts.push_back(text);
    return parts;
}

using token_ids = std::map<std::string, std::size_t, std::less<>>;

// {"line": id, ...}, the next ids for new names; of what is not UTF-8, nothing.
std::string object_of(std::string_view lines, token_ids& ids, std::string text = "{") {
    for (const std::string_view line : split(lines, '\n', 1000))
        if (!line.empty() && qnt::is_utf8(line))
            text += (text.size() > 1 ? "," : "") + qnt::json_escape(line) + ":" + std::to_string(ids.emplace(line, ids.size()).first->second);
    return text;
}

gpt2::tokenizer_data parse(std::string_view text) {
    if (text.starts_with("GGUF")) return gpt2::tokenizer_of(qnt::gguf_file::view(fuzz::bytes(text), "input").value(), "input");
    auto parts = split(text, '\0', 3);
    if (text.starts_with('+')) {
        parts.resize(3);
        token_ids ids;
        std::string vocab = "{";
        for (const std::string& c : gpt2::byte_characters()) vocab = object_of(c, ids, std::move(vocab));
        vocab = object_of(parts[0].substr(1), ids, std::move(vocab)) + '}';
        const std::string added = object_of(parts[2], ids) + '}';
        return gpt2::parse_tokenizer(vocab, "vocab", parts[1], "merges", added, "added");
    }
    if (parts.size() == 1) return gpt2::parse_tokenizer_json(text, "input");
    return gpt2::parse_tokenizer(parts[0], "vocab", parts[1], "merges", parts.size() > 2 ? parts[2] : "", "added");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const gpt2::tokenizer shipped(QNT_SOURCE_DIR "/examples/models/qnt-gpt2-5m");
    const std::string_view text = fuzz::text(data, size);
    const fuzz::memory_bound bound(size, 4096, std::size_t{2} << 20);  // any vocabulary has 256 tokens, and there are three of them here
    check_text(shipped, text);
    try {
        check_tokenizer(parse(text), text);
    } catch (const std::runtime_error& e) {
        return fuzz::refused(e);
    }
    return 0;
}
