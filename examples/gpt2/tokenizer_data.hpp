// What a GPT-2 tokenizer is made of, from any of its sources: vocab.json + merges.txt, tokenizer.json, the metadata of a .gguf or of a .qnt.
//
//   gpt2::tokenizer_data data = gpt2::read_tokenizer("gpt2-q8_0.gguf");
//   gpt2::tokenizer tokenizer(data);
//
// Everything throws std::runtime_error with one line that names the file, the field or line, and what would be right.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include <qnt/model/checkpoint_file.hpp>

#include "config.hpp"

namespace gpt2 {

struct merge_rule {
    std::string left, right;
    std::size_t line = 0;  // in its source, from 1
};

struct tokenizer_data {
    std::vector<std::string> tokens;               // by id, each byte written as a printable character, as vocab.json has it; specials as they are
    std::vector<merge_rule> merges;                // the first goes first
    std::vector<std::int32_t> specials;            // ids, ascending: never made of text unless asked for
    std::string vocabulary_source, merges_source;  // for messages
};

// A byte is one printable character: itself where Latin-1 has one, else the next from U+0100 on (a space is U+0120), as UTF-8.
inline std::array<std::string, 256> byte_characters() {
    std::array<std::string, 256> characters;
    unsigned next = 0x100;
    for (unsigned byte = 0; byte < 256; ++byte) {
        const bool printable = (byte > 0x20 && byte < 0x7F) || (byte > 0xA0 && byte != 0xAD);
        const unsigned c = printable ? byte : next++;
        if (c < 0x80) characters[byte] = {static_cast<char>(c)};
        else characters[byte] = {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F))};
    }
    return characters;
}

namespace detail {

inline bool is_named_special(std::string_view name) { return name.size() > 4 && name.starts_with("<|") && name.ends_with("|>"); }

// Tokens in the order of the source become tokens by id.
class vocabulary_builder {
public:
    explicit vocabulary_builder(std::string source) : source_(std::move(source)) {}

    // Before any add_special(). The names differ: sources of tokens see to it.
    void add(std::string_view name, std::uint64_t id, bool is_special) {
        entries_.push_back({std::string(name), id, is_special || is_named_special(name)});
    }
    // A special token, which the vocabulary may hold too.
    void add_special(std::string_view name, std::uint64_t id) {
        if (by_name_.empty())
            for (std::size_t i = 0; i < entries_.size(); ++i) by_name_.emplace(entries_[i].name, i);
        const auto [found, is_new] = by_name_.emplace(name, entries_.size());
        if (is_new) return add(name, id, true);
        entry& e = entries_[found->second];
        if (e.id != id)
            refuse(source_,
                   "token " + qnt::in_quotes(name) + " has the ids " + std::to_string(e.id) + " and, as an added one, " + std::to_string(id));
        e.is_special = true;
    }

    void finish(tokenizer_data& out) {
        const std::size_t n = entries_.size();
        if (n == 0) refuse(source_, "not an object of \"token\": id, it has no tokens");
        if (n > std::size_t{1} << 22) refuse(source_, "has " + std::to_string(n) + " tokens, more than 4194304");
        out.vocabulary_source = source_;
        out.tokens.resize(n);
        std::vector<bool> taken(n);
        for (entry& e : entries_) {
            if (e.id >= n) refuse(source_, "id " + std::to_string(e.id) + " is outside 0.." + std::to_string(n - 1) + " (ids must be dense)");
            if (taken[e.id]) refuse(source_, "duplicate id " + std::to_string(e.id));
            taken[e.id] = true;
            out.tokens[e.id] = std::move(e.name);
            if (e.is_special) out.specials.push_back(static_cast<std::int32_t>(e.id));
        }
        std::sort(out.specials.begin(), out.specials.end());
    }

private:
    struct entry {
        std::string name;
        std::uint64_t id;
        bool is_special;
    };
    std::string source_;
    std::vector<entry> entries_;
    std::unordered_map<std::string, std::size_t> by_name_;  // indices of entries_; empty until there are special tokens to add
};

// {"token": id, ...}
template <class Add> void read_token_ids(std::string_view text, const std::string& source, const Add& add) {
    qnt::json_reader in(text);
    if (in.next() != qnt::json_kind::object) refuse(source, "JSON, byte offset " + std::to_string(in.offset()) + ": not an object of \"token\": id");
    auto r = in.object([&](std::string_view name) -> qnt::result<void> {
        const auto id = in.uint64();
        if (!id) return qnt::error{id.error().code, "the id of a token: " + id.error().message};
        add(name, *id);
        return {};
    });
    if (r) r = in.end();
    if (!r) refuse(source, r.error().message);
}

// Pieces are made of byte characters, of which none is white space: so merges.txt can hold them. source, line: where, for messages.
inline merge_rule merge_of(std::string_view left, std::string_view right, const std::string& source, std::size_t line) {
    for (const std::string_view piece : {left, right})
        if (piece.empty() || piece.find_first_of(" \r\n") != piece.npos)
            refuse(source, "line " + std::to_string(line) + ": not two pieces with one space between them");
    return {std::string(left), std::string(right), line};
}
inline merge_rule parse_merge(std::string_view text, const std::string& source, std::size_t line) {
    const std::size_t space = std::min(text.find(' '), text.size());
    return merge_of(text.substr(0, space), text.substr(std::min(space + 1, text.size())), source, line);
}

}  // namespace detail

// The texts of vocab.json and merges.txt, and of added_tokens.json if there is one; the names of the files are for messages.
inline tokenizer_data parse_tokenizer(std::string_view vocab, const std::string& vocab_name, std::string_view merges, const std::string& merges_name,
                                      std::string_view added = "", const std::string& added_name = "") {
    tokenizer_data out;
    detail::vocabulary_builder tokens(vocab_name);
    detail::read_token_ids(vocab, vocab_name, [&](std::string_view name, std::uint64_t id) { tokens.add(name, id, false); });
    if (!added.empty()) detail::read_token_ids(added, added_name, [&](std::string_view name, std::uint64_t id) { tokens.add_special(name, id); });
    tokens.finish(out);

    out.merges_source = merges_name;
    for (std::size_t number = 1; !merges.empty(); ++number) {
        std::string_view line = merges.substr(0, merges.find('\n'));
        merges.remove_prefix(std::min(merges.size(), line.size() + 1));
        if (line.ends_with('\r')) line.remove_suffix(1);
        if (line.empty() || (number == 1 && line.starts_with("#version"))) continue;
        out.merges.push_back(detail::parse_merge(line, merges_name, number));
    }
    return out;
}

// The tokenizer.json of Hugging Face's tokenizers, of byte-level BPE as GPT-2 has it.
inline tokenizer_data parse_tokenizer_json(std::string_view text, const std::string& source) {
    const auto json = qnt::parse_json(text);
    if (!json) refuse(source, json.error().message);
    const auto get = [&](const std::string& field, auto r) {
        if (!r) refuse(source, "'" + field + "': " + r.error().message);
        return *r;
    };
    const auto find = [](const qnt::json_value& v, const char* key) {
        const qnt::json_value* found = v.find(key);
        return found && found->kind() != qnt::json_kind::null ? found : nullptr;
    };
    // A field that would change the ids must be absent or what it is for GPT-2.
    const auto only = [&](const qnt::json_value& v, const char* key, std::string_view wanted) {
        const qnt::json_value* found = find(v, key);
        if (!found) return;
        const bool is_text = found->kind() == qnt::json_kind::string, is_bool = found->kind() == qnt::json_kind::boolean;
        if (is_text ? *found->as_string() == wanted : is_bool && wanted == (*found->as_bool() ? "true" : "false")) return;
        refuse(source, "'" + std::string(key) + "' (byte offset " + std::to_string(found->offset()) + ") is not " +
                           (wanted.empty() ? "null" : std::string(wanted)) + ": this is no tokenizer of GPT-2's kind");
    };
    const qnt::json_value* model = json->find("model");
    const qnt::json_value* vocab = model ? model->find("vocab") : nullptr;
    const qnt::json_value* merges = model ? model->find("merges") : nullptr;
    if (!vocab || vocab->kind() != qnt::json_kind::object) refuse(source, "'model.vocab' is missing or not an object of \"token\": id");
    if (!merges || merges->kind() != qnt::json_kind::array) refuse(source, "'model.merges' is missing or not a list");
    only(*json, "normalizer", "");
    only(*model, "type", "BPE");
    only(*model, "dropout", "");
    only(*model, "continuing_subword_prefix", "");
    only(*model, "end_of_word_suffix", "");
    only(*model, "byte_fallback", "false");
    only(*model, "ignore_merges", "false");
    const qnt::json_value* cut = find(*json, "pre_tokenizer");
    if (!cut) refuse(source, "'pre_tokenizer' is missing: this is no tokenizer of GPT-2's kind");
    only(*cut, "type", "ByteLevel");
    only(*cut, "add_prefix_space", "false");
    only(*cut, "use_regex", "true");

    tokenizer_data out;
    detail::vocabulary_builder tokens(source);
    for (const qnt::json_member& m : vocab->members()) tokens.add(m.key, get("model.vocab", m.value.as_uint64()), false);
    if (const qnt::json_value* list = find(*json, "added_tokens"))
        for (const qnt::json_value& t : list->items()) {
            const qnt::json_value *content = t.find("content"), *id = t.find("id");
            if (!content || !id)
                refuse(source, "'added_tokens' (byte offset " + std::to_string(t.offset()) + "): a token without \"content\" or \"id\"");
            tokens.add_special(get("added_tokens", content->as_string()), get("added_tokens", id->as_uint64()));
        }
    tokens.finish(out);

    out.merges_source = source + ": model.merges";
    for (const qnt::json_value& m : merges->items()) {
        const std::size_t number = out.merges.size() + 1;
        const auto piece = [&](const qnt::json_value& v) {
            const auto name = v.as_string();
            if (!name) refuse(out.merges_source, "line " + std::to_string(number) + ": " + name.error().message);
            return *name;
        };
        if (m.kind() == qnt::json_kind::array) {
            if (m.items().size() != 2) refuse(out.merges_source, "line " + std::to_string(number) + ": not two pieces");
            out.merges.push_back(detail::merge_of(piece(m.items()[0]), piece(m.items()[1]), out.merges_source, number));
        } else {
            out.merges.push_back(detail::parse_merge(piece(m), out.merges_source, number));
        }
    }
    return out;
}

// The metadata of a GGUF file as llama.cpp writes it (gguf-py, constants.py).
inline tokenizer_data tokenizer_of(const qnt::gguf_file& file, const std::string& path) {
    const auto need = [&](const char* key) {
        const qnt::gguf_value* v = file.find_value(key);
        if (!v) refuse(path, "there is no \"" + std::string(key) + "\" in its metadata");
        return v;
    };
    const auto get = [&](auto r) {
        if (!r) refuse(path, r.error().message);
        return std::move(*r);
    };
    const auto only = [&](const char* key, std::string_view text, std::initializer_list<std::string_view> allowed) {
        if (std::find(allowed.begin(), allowed.end(), text) == allowed.end())
            refuse(path, "\"" + std::string(key) + "\" is " + qnt::in_quotes(text) + ", only \"" + std::string(*allowed.begin()) + "\" is supported");
    };
    only("tokenizer.ggml.model", get(need("tokenizer.ggml.model")->as_string()), {"gpt2"});
    if (const auto* pre = file.find_value("tokenizer.ggml.pre")) only("tokenizer.ggml.pre", get(pre->as_string()), {"gpt-2", "default"});

    constexpr std::int64_t control = 3, user_defined = 4;
    const auto names = get(need("tokenizer.ggml.tokens")->strings());
    std::vector<std::int64_t> types;
    if (const auto* v = file.find_value("tokenizer.ggml.token_type")) {
        types = get(v->numbers<std::int64_t>());
        if (types.size() != names.size())
            refuse(path, "\"tokenizer.ggml.token_type\" has " + std::to_string(types.size()) + " elements, there are " +
                             std::to_string(names.size()) + " tokens");
    }
    tokenizer_data out;
    const std::string source = path + ": tokenizer.ggml.tokens";
    detail::vocabulary_builder tokens(source);
    std::unordered_set<std::string_view> seen(names.size());
    for (std::size_t id = 0; id < names.size(); ++id) {
        if (!seen.insert(names[id]).second) refuse(source, "token " + qnt::in_quotes(names[id]) + " comes twice");
        tokens.add(names[id], id, !types.empty() && (types[id] == control || types[id] == user_defined));
    }
    tokens.finish(out);
    out.merges_source = path + ": tokenizer.ggml.merges";
    for (const std::string_view m : get(need("tokenizer.ggml.merges")->strings()))
        out.merges.push_back(detail::parse_merge(m, out.merges_source, out.merges.size() + 1));
    return out;
}

// A text of a .qnt, null if it has none: those of the files beside the weights, under their names.
inline const std::string* metadata_of(const qnt::archive& file, std::string_view key) {
    for (const auto& [k, value] : file.metadata())
        if (k == key) return &value;
    return nullptr;
}

inline tokenizer_data tokenizer_of(const qnt::archive& file, const std::string& path) {
    const std::string *vocab = metadata_of(file, "vocab.json"), *merges = metadata_of(file, "merges.txt"),
                      *added = metadata_of(file, "added_tokens.json");
    if (!vocab || !merges) refuse(path, "there is no \"vocab.json\" or no \"merges.txt\" in its metadata");
    return parse_tokenizer(*vocab, path + ": vocab.json", *merges, path + ": merges.txt", added ? *added : "", path + ": added_tokens.json");
}

// From a folder with vocab.json and merges.txt or with tokenizer.json, from a .gguf, a .qnt, or from beside another file.
inline tokenizer_data read_tokenizer(const std::filesystem::path& path) {
    namespace fs = std::filesystem;
    std::error_code ignored;
    if (!fs::is_directory(path, ignored)) {
        const qnt::weights_kind kind = qnt::weights_kind_of(path.string()).value();
        if (kind == qnt::weights_kind::gguf) return tokenizer_of(qnt::gguf_file::open(path.string()).value(), path.string());
        if (kind == qnt::weights_kind::archive) return tokenizer_of(qnt::archive::map(path.string()).value(), path.string());
    }
    const fs::path folder = fs::is_directory(path, ignored) ? path : path.parent_path();
    const auto name = [&](const char* file) { return (folder / file).string(); };
    if (!fs::exists(name("vocab.json"), ignored) && fs::exists(name("tokenizer.json"), ignored))
        return parse_tokenizer_json(read_text(name("tokenizer.json")), name("tokenizer.json"));
    const std::string vocab = read_text(name("vocab.json")), merges = read_text(name("merges.txt"));
    const bool has_added = fs::exists(name("added_tokens.json"), ignored);
    return parse_tokenizer(vocab, name("vocab.json"), merges, name("merges.txt"), has_added ? read_text(name("added_tokens.json")) : "",
                           name("added_tokens.json"));
}

// The metadata of a .qnt, from which tokenizer_of() reads the same back: pairs of key and text.
inline std::vector<std::pair<std::string, std::string>> tokenizer_texts(const tokenizer_data& data) {
    const auto object = [&](const auto& ids) {
        std::string text = "{";
        for (const auto id : ids) text += (text.size() > 1 ? ", " : "") + qnt::json_escape(data.tokens[std::size_t(id)]) + ": " + std::to_string(id);
        return text + "}";
    };
    std::vector<std::size_t> plain;
    std::vector<std::int32_t> added;
    for (const std::int32_t id : data.specials)
        if (!detail::is_named_special(data.tokens[std::size_t(id)])) added.push_back(id);
    for (std::size_t id = 0; id < data.tokens.size(); ++id)
        if (!std::binary_search(added.begin(), added.end(), static_cast<std::int32_t>(id))) plain.push_back(id);
    std::string merges = "#version: 0.2\n";
    for (const merge_rule& m : data.merges) merges += m.left + ' ' + m.right + '\n';
    std::vector<std::pair<std::string, std::string>> texts{{"vocab.json", object(plain)}, {"merges.txt", std::move(merges)}};
    if (!added.empty()) texts.emplace_back("added_tokens.json", object(added));
    return texts;
}

}  // namespace gpt2
