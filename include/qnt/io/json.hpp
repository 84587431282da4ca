// Strict JSON (RFC 8259), read in one pass: UTF-8 and surrogate escapes checked, nothing behind the value, no key twice in an object,
// at most 64 levels. Errors name the byte offset.
//
//     auto config = qnt::parse_json(text);                                   // a tree
//     auto heads  = config->find("n_head")->as_uint64();
//
//     qnt::json_reader in(text);                                             // or value by value, without a tree
//     in.object([&](std::string_view key) { return key == "n_head" ? read_heads(in) : in.skip(); });
#pragma once
#include <algorithm>
#include <charconv>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "../core/error.hpp"
#include "text.hpp"

namespace qnt {

enum class json_kind : std::uint8_t { null, boolean, number, string, array, object, none };  // none: no value starts here

constexpr const char* name_of(json_kind k) {
    constexpr const char* names[] = {"null", "true or false", "a number", "a string", "an array", "an object", "no value"};
    return names[static_cast<std::size_t>(k)];
}

inline namespace QNT_BASELINE {

// Numbers are texts until somebody knows their type. uint64: digits only, so that 4.0, 4e0 and -0 are not counts.
inline bool parse_number(std::string_view text, std::uint64_t& value) {
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    return code == std::errc() && end == text.data() + text.size();
}
inline bool parse_number(std::string_view text, double& value) {  // nearest; false: a double overflows or underflows
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    return code == std::errc() && end == text.data() + text.size();
}

// A cursor over a JSON text, which must outlive it. Each function reads the one value that must come next; after an error the
// reader is of no further use. `offset` is where the text begins in its file: messages count from there.
class json_reader {
public:
    static constexpr int max_depth = 64;

    explicit json_reader(std::string_view text, std::size_t offset = 0) : text_(text), base_(offset) {}

    std::size_t offset() const { return base_ + at_; }
    error fail(const std::string& what) const { return {errc::corrupt, "JSON, byte offset " + std::to_string(offset()) + ": " + what}; }

    json_kind next() {
        skip_blanks();
        switch (peek()) {
        case 'n': return json_kind::null;
        case 't':
        case 'f': return json_kind::boolean;
        case '"': return json_kind::string;
        case '[': return json_kind::array;
        case '{': return json_kind::object;
        default: return peek() == '-' || is_digit() ? json_kind::number : json_kind::none;
        }
    }
    result<void> null() { return word("null") ? result<void>() : unexpected("null"); }
    result<bool> boolean() {
        if (word("true")) return true;
        if (word("false")) return false;
        return unexpected("true or false");
    }
    result<std::string_view> number() {  // as written
        if (next() != json_kind::number) return unexpected("a number");
        const std::size_t begin = at_;
        take('-');
        if (!take('0') && !digits()) return fail("expected a digit");
        if (take('.') && !digits()) return fail("expected a digit after the decimal point");
        if (take('e') || take('E')) {
            if (!take('+')) take('-');
            if (!digits()) return fail("expected a digit in the exponent");
        }
        return text_.substr(begin, at_ - begin);
    }
    result<std::uint64_t> uint64() {
        const std::size_t begin = (skip_blanks(), at_);
        const auto text = number();
        if (!text) return text.error();
        std::uint64_t value = 0;
        if (parse_number(*text, value)) return value;
        at_ = begin;
        return fail("expected an integer from 0 to 2^64 - 1, found " + printable(*text));
    }
    result<std::string> string() {
        if (next() != json_kind::string) return unexpected("a string");
        std::string out;
        for (++at_;;) {
            const std::size_t begin = at_;
            while (at_ < text_.size() && is_plain(text_[at_])) ++at_;
            out += text_.substr(begin, at_ - begin);
            if (at_ == text_.size()) return fail("the text ends inside a string");
            if (take('"')) return out;
            if (take('\\')) {
                QNT_TRY(escape(out));
            } else if (static_cast<unsigned char>(text_[at_]) < 0x20) {
                return fail("a control character in a string must be escaped");
            } else {
                const std::size_t n = utf8_length(text_.substr(at_, 4));
                if (n == 0) return fail("the string is not UTF-8");
                out += text_.substr(at_, n);
                at_ += n;
            }
        }
    }
    // element() -> result<void> reads one element.
    template <class Element> result<void> array(Element&& element) {
        QNT_TRY(open(json_kind::array));
        if (!take_after_blanks(']')) {
            do QNT_TRY(element());
            while (take_after_blanks(','));
            if (!take_after_blanks(']')) return fail("expected ',' or ']' in an array");
        }
        --depth_;
        return {};
    }
    // member(std::string_view key) -> result<void> reads one value.
    template <class Member> result<void> object(Member&& member) {
        std::vector<key> keys;
        QNT_TRY(members([&](std::string name, std::size_t at) {
            keys.push_back({std::move(name), at});
            return member(std::string_view(keys.back().name));
        }));
        return check_unique(keys);
    }
    // Any value; keys that come twice inside it are let pass, so that it costs no memory.
    result<void> skip() {
        switch (next()) {
        case json_kind::boolean: return drop(boolean());
        case json_kind::number: return drop(number());
        case json_kind::string: return drop(string());
        case json_kind::array: return array([&] { return skip(); });
        case json_kind::object: return members([&](const std::string&, std::size_t) { return skip(); });
        case json_kind::null: return null();
        default: return unexpected("a value");
        }
    }
    result<void> end() {
        skip_blanks();
        return at_ == text_.size() ? result<void>() : fail("expected the end of the text");
    }

private:
    struct key {
        std::string name;
        std::size_t offset;
    };

    template <class T> static result<void> drop(const result<T>& r) { return r ? result<void>() : r.error(); }
    static bool is_plain(char c) { return c != '"' && c != '\\' && static_cast<unsigned char>(c) >= 0x20 && static_cast<unsigned char>(c) < 0x80; }
    char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
    bool is_digit() const { return peek() >= '0' && peek() <= '9'; }
    bool take(char c) { return at_ < text_.size() && text_[at_] == c ? (++at_, true) : false; }
    bool take_after_blanks(char c) { return skip_blanks(), take(c); }
    bool word(std::string_view w) { return skip_blanks(), text_.substr(at_, w.size()) == w ? (at_ += w.size(), true) : false; }
    bool digits() {
        const std::size_t begin = at_;
        while (is_digit()) ++at_;
        return at_ > begin;
    }
    void skip_blanks() {
        while (peek() == ' ' || peek() == '\n' || peek() == '\r' || peek() == '\t') ++at_;
    }
    error unexpected(const char* wanted) {
        const json_kind found = next();
        if (found != json_kind::none) return fail(std::string("expected ") + wanted + ", found " + name_of(found));
        return fail(std::string("expected ") + wanted +
                    (at_ == text_.size() ? ", the text ends here" : ", found " + in_quotes(text_.substr(at_, 1))));
    }
    result<void> open(json_kind kind) {
        if (next() != kind) return unexpected(name_of(kind));
        if (++depth_ > max_depth) return fail("nested deeper than " + std::to_string(max_depth) + " levels");
        ++at_;
        return {};
    }
    template <class Member> result<void> members(Member&& member) {
        QNT_TRY(open(json_kind::object));
        if (!take_after_blanks('}')) {
            do {
                skip_blanks();
                const std::size_t begin = offset();
                auto name = string();
                if (!name) return name.error();
                if (!take_after_blanks(':')) return fail("expected ':' behind a key");
                QNT_TRY(member(std::move(*name), begin));
            } while (take_after_blanks(','));
            if (!take_after_blanks('}')) return fail("expected ',' or '}' in an object");
        }
        --depth_;
        return {};
    }
    result<void> escape(std::string& out) {
        constexpr std::string_view letters = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
        if (const std::size_t i = letters.find(peek()); i != letters.npos && at_ < text_.size()) {
            out += meanings[i];
            ++at_;
            return {};
        }
        std::uint32_t c = 0, low = 0;
        if (!hex4(c)) return fail("unknown escape in a string");
        if (c >= 0xdc00 && c < 0xe000) return fail("low surrogate escape without its high one");
        if (c >= 0xd800 && c < 0xdc00) {
            if (!take('\\') || !hex4(low) || low < 0xdc00 || low >= 0xe000) return fail("high surrogate escape without its low one");
            c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        }
        const auto put = [&](std::uint32_t byte) { out += static_cast<char>(byte); };
        if (c < 0x80) return put(c), result<void>();
        if (c < 0x800) put(0xc0 | c >> 6);
        else if (c < 0x10000) put(0xe0 | c >> 12), put(0x80 | (c >> 6 & 63));
        else put(0xf0 | c >> 18), put(0x80 | (c >> 12 & 63)), put(0x80 | (c >> 6 & 63));
        return put(0x80 | (c & 63)), result<void>();
    }
    bool hex4(std::uint32_t& value) {  // the uXXXX of an escape
        const std::string_view s = text_.substr(at_, 5);
        if (s.size() < 5 || s[0] != 'u') return false;
        const auto [end, code] = std::from_chars(s.data() + 1, s.data() + 5, value, 16);
        if (code != std::errc() || end != s.data() + 5) return false;
        at_ += 5;
        return true;
    }
    // Ordered by hash first, so that few texts are compared; a vocabulary has 50,000 keys.
    static result<void> check_unique(const std::vector<key>& keys) {
        std::vector<std::pair<std::size_t, const key*>> order;
        order.reserve(keys.size());
        for (const key& k : keys) order.emplace_back(std::hash<std::string_view>()(k.name), &k);
        std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
            if (a.first != b.first) return a.first < b.first;
            const int names = a.second->name.compare(b.second->name);
            return names != 0 ? names < 0 : a.second->offset < b.second->offset;
        });
        const key* twice = nullptr;  // the first in the text
        for (std::size_t i = 1; i < order.size(); ++i) {
            const key* k = order[i].second;
            if (order[i].first == order[i - 1].first && k->name == order[i - 1].second->name && (!twice || k->offset < twice->offset)) twice = k;
        }
        if (!twice) return {};
        return error{errc::corrupt, "JSON, byte offset " + std::to_string(twice->offset) + ": duplicate key " + in_quotes(twice->name)};
    }

    std::string_view text_;
    std::size_t base_ = 0;
    std::size_t at_ = 0;
    int depth_ = 0;
};

}  // namespace QNT_BASELINE

struct json_member;

// A node of the tree. Asking it for what it is not is an error that says what it is and where.
class json_value {
public:
    struct number {
        std::string text;  // as written
    };
    using array = std::vector<json_value>;
    using object = std::vector<json_member>;                                                 // in the order of the text
    using storage = std::variant<std::monostate, bool, number, std::string, array, object>;  // in the order of json_kind

    json_value() = default;
    json_value(storage&& value, std::size_t offset);

    json_kind kind() const { return static_cast<json_kind>(value_.index()); }
    std::size_t offset() const { return offset_; }  // bytes from the start of the text

    result<bool> as_bool() const;
    result<std::uint64_t> as_uint64() const;
    result<double> as_double() const;
    result<std::string_view> as_string() const;
    std::span<const json_value> items() const;           // of an array, else none
    std::span<const json_member> members() const;        // of an object, else none
    const json_value* find(std::string_view key) const;  // of an object; null: no such key

    error unexpected(const char* wanted) const;

private:
    storage value_;
    std::size_t offset_ = 0;
};

struct json_member {
    std::string key;
    json_value value;
};

inline json_value::json_value(storage&& value, std::size_t offset) : value_(std::move(value)), offset_(offset) {}
inline error json_value::unexpected(const char* wanted) const {
    const number* n = std::get_if<number>(&value_);
    return {errc::corrupt,
            "JSON, byte offset " + std::to_string(offset_) + ": expected " + wanted + ", found " + (n ? printable(n->text) : name_of(kind()))};
}
inline result<bool> json_value::as_bool() const {
    if (const bool* b = std::get_if<bool>(&value_)) return *b;
    return unexpected("true or false");
}
inline result<std::uint64_t> json_value::as_uint64() const {
    const number* n = std::get_if<number>(&value_);
    std::uint64_t v = 0;
    if (n && parse_number(n->text, v)) return v;
    return unexpected("an integer from 0 to 2^64 - 1");
}
inline result<double> json_value::as_double() const {
    const number* n = std::get_if<number>(&value_);
    double v = 0;
    if (n && parse_number(n->text, v)) return v;
    return unexpected("a number that a double can hold");
}
inline result<std::string_view> json_value::as_string() const {
    if (const std::string* s = std::get_if<std::string>(&value_)) return std::string_view(*s);
    return unexpected("a string");
}
inline std::span<const json_value> json_value::items() const {
    const array* a = std::get_if<array>(&value_);
    return a ? std::span<const json_value>(*a) : std::span<const json_value>();
}
inline std::span<const json_member> json_value::members() const {
    const object* o = std::get_if<object>(&value_);
    return o ? std::span<const json_member>(*o) : std::span<const json_member>();
}
inline const json_value* json_value::find(std::string_view key) const {
    for (const json_member& m : members())
        if (m.key == key) return &m.value;
    return nullptr;
}

// A tree costs some 50 bytes a value, so a text of a few bytes a value could ask for far more memory than it takes itself.
inline constexpr std::size_t json_max_values = std::size_t{1} << 20;

namespace detail {
inline namespace QNT_BASELINE {

inline result<json_value> read_json_value(json_reader& in, std::size_t& values_left) {
    const json_kind kind = in.next();
    const std::size_t offset = in.offset();
    if (values_left-- == 0) return in.fail("more than " + std::to_string(json_max_values) + " values");
    const auto node = [&](json_value::storage&& v) { return json_value(std::move(v), offset); };
    if (kind == json_kind::boolean) {
        auto v = in.boolean();
        return v ? result<json_value>(node(*v)) : v.error();
    }
    if (kind == json_kind::number) {
        auto v = in.number();
        return v ? result<json_value>(node(json_value::number{std::string(*v)})) : v.error();
    }
    if (kind == json_kind::string) {
        auto v = in.string();
        return v ? result<json_value>(node(std::move(*v))) : v.error();
    }
    if (kind == json_kind::array) {
        json_value::array items;
        QNT_TRY(in.array([&]() -> result<void> {
            auto v = read_json_value(in, values_left);
            if (!v) return v.error();
            items.push_back(std::move(*v));
            return {};
        }));
        return node(std::move(items));
    }
    if (kind == json_kind::object) {
        json_value::object members;
        QNT_TRY(in.object([&](std::string_view key) -> result<void> {
            auto v = read_json_value(in, values_left);
            if (!v) return v.error();
            members.push_back({std::string(key), std::move(*v)});
            return {};
        }));
        return node(std::move(members));
    }
    if (kind == json_kind::none) return in.skip().error();
    QNT_TRY(in.null());
    return node(std::monostate());
}

}  // namespace QNT_BASELINE
}  // namespace detail

inline namespace QNT_BASELINE {

// The whole text as a tree. Errors: corrupt, with the byte offset (counted from `offset`).
inline result<json_value> parse_json(std::string_view text, std::size_t offset = 0) {
    json_reader in(text, offset);
    std::size_t values_left = json_max_values;
    auto value = detail::read_json_value(in, values_left);
    if (value) QNT_TRY(in.end());
    return value;
}

// s as a JSON string, quotation marks included. s must be UTF-8.
inline std::string json_escape(std::string_view s) {
    constexpr const char* digits = "0123456789abcdef";
    std::string out = "\"";
    for (const char c : s) {
        if (c == '"' || c == '\\') out += '\\';
        if (static_cast<unsigned char>(c) >= 0x20) out += c;
        else out += std::string("\\u00") + digits[c >> 4] + digits[c & 15];
    }
    return out + '"';
}

}  // namespace QNT_BASELINE
}  // namespace qnt
