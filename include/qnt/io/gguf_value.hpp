// Metadata of GGUF files: values of 13 types, arrays included, where the file has them. gguf.hpp is for users.
//
//     const qnt::gguf_value* heads = file.find_value("gpt2.attention.head_count");
//     std::uint64_t n = heads->as_uint64().value();             // whichever integer type the writer chose
//     auto tokens = file.find_value("tokenizer.ggml.tokens")->strings().value();
//
// A value is checked as a whole when the file is opened: lengths and counts against the bytes that are left, bool is 0 or 1, strings are
// UTF-8, arrays nest at most 8 deep. It is read when it is asked for, so that opening allocates nothing for what a file promises.
#pragma once
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../core/error.hpp"
#include "text.hpp"

namespace qnt {

enum class gguf_value_type : std::uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

// Valid as long as the file it is of.
class gguf_value {
public:
    // `bytes` as in the file, behind the type; checked by read_gguf_value.
    gguf_value(std::string_view key, gguf_value_type type, std::span<const std::byte> bytes);

    gguf_value_type type() const { return type_; }
    gguf_value_type element_type() const { return element_; }  // of an array; else type()
    std::size_t size() const { return size_; }                 // elements of an array; else 1
    std::span<const std::byte> bytes() const { return bytes_; }

    // The number, if it is of a type of this kind and fits; nothing is rounded, a bool is no number. Errors: corrupt, naming the key and what
    // is there.
    result<std::uint64_t> as_uint64() const { return scalar<std::uint64_t>("an unsigned integer"); }
    result<std::int64_t> as_int64() const { return scalar<std::int64_t>("a signed integer"); }
    result<float> as_f32() const { return scalar<float>("an f32"); }
    result<double> as_f64() const { return scalar<double>("a floating-point number"); }
    result<bool> as_bool() const;
    result<std::string_view> as_string() const;

    // All elements of an array. T is an integer or floating-point type that holds each of them, or bool. Errors: corrupt.
    template <class T> result<std::vector<T>> numbers() const;
    result<std::vector<std::string_view>> strings() const;
    result<std::vector<gguf_value>> arrays() const;

private:
    template <class T> result<T> scalar(const char* wanted) const;
    error mismatch(const char* wanted) const;

    std::string_view key_;
    gguf_value_type type_, element_;
    std::size_t size_ = 1;
    std::span<const std::byte> bytes_, items_;  // items_: without the head of an array
};

namespace detail {

struct gguf_value_type_info {
    const char* name;
    std::size_t bytes;  // of a value; 0: its own affair
    std::size_t least;  // bytes that a value has at least
};
inline constexpr gguf_value_type_info gguf_value_types[] = {
    // in the order of gguf_value_type
    {"u8", 1, 1},   {"i8", 1, 1},     {"u16", 2, 2},    {"i16", 2, 2}, {"u32", 4, 4}, {"i32", 4, 4}, {"f32", 4, 4},
    {"bool", 1, 1}, {"string", 0, 8}, {"array", 0, 12}, {"u64", 8, 8}, {"i64", 8, 8}, {"f64", 8, 8},
};
inline constexpr std::size_t gguf_max_nesting = 8;  // arrays in arrays

inline namespace QNT_BASELINE {

constexpr const gguf_value_type_info& info_of_value(gguf_value_type t) { return gguf_value_types[std::size_t(t)]; }

// A cursor over the head of a file. Every length is compared with what is left before it is used.
class gguf_cursor {
public:
    explicit gguf_cursor(std::span<const std::byte> bytes) : bytes_(bytes) {}

    std::size_t offset() const { return at_; }
    std::size_t left() const { return bytes_.size() - at_; }
    std::span<const std::byte> since(std::size_t begin) const { return bytes_.subspan(begin, at_ - begin); }
    static std::string where(std::size_t offset) { return " (byte offset " + std::to_string(offset) + ')'; }

    result<std::span<const std::byte>> take(std::size_t n, const char* what) {
        if (n > left())
            return error{errc::corrupt, std::string(what) + where(at_) + " has " + std::to_string(n) + " bytes, but " + std::to_string(left()) +
                                            " are left: the file is truncated, or the length is wrong"};
        at_ += n;
        return bytes_.subspan(at_ - n, n);
    }
    template <class T> result<T> number(const char* what) {
        const auto bytes = take(sizeof(T), what);
        if (!bytes) return bytes.error();
        T v;
        std::memcpy(&v, bytes->data(), sizeof v);
        return v;
    }
    // u64 length, bytes.
    result<std::string_view> string(const char* what) {
        const std::size_t begin = at_;
        const auto length = number<std::uint64_t>(what);
        if (!length) return length.error();
        const auto bytes = take(*length, what);
        if (!bytes) return bytes.error();
        const std::string_view text(reinterpret_cast<const char*>(bytes->data()), bytes->size());
        if (!is_utf8(text)) return error{errc::corrupt, std::string(what) + where(begin) + " is not UTF-8: " + in_quotes(text)};
        return text;
    }
    // A number of the file as the type it stands for.
    result<gguf_value_type> value_type(const char* what) {
        const std::size_t begin = at_;
        const auto type = number<std::uint32_t>(what);
        if (!type) return type.error();
        if (*type >= std::size(gguf_value_types))
            return error{errc::corrupt, std::string(what) + where(begin) + " is " + std::to_string(*type) + ", the last one known is 12"};
        return gguf_value_type(*type);
    }

private:
    std::span<const std::byte> bytes_;
    std::size_t at_ = 0;
};

inline result<void> check_bools(std::span<const std::byte> bytes, std::size_t offset) {
    for (std::size_t i = 0; i < bytes.size(); ++i)
        if (bytes[i] > std::byte{1})
            return error{errc::corrupt, "bool" + gguf_cursor::where(offset + i) + " is " + std::to_string(int(bytes[i])) + ", must be 0 or 1"};
    return {};
}

// Goes past a value of a type. Errors: corrupt.
inline result<void> skip_gguf_value(gguf_cursor& in, gguf_value_type type, std::size_t depth = 0) {
    const std::size_t begin = in.offset();
    if (type == gguf_value_type::string) {
        const auto text = in.string("string");
        return text ? result<void>() : text.error();
    }
    if (type != gguf_value_type::array) {
        const auto bytes = in.take(info_of_value(type).bytes, info_of_value(type).name);
        if (!bytes) return bytes.error();
        return type == gguf_value_type::boolean ? check_bools(*bytes, begin) : result<void>();
    }
    const auto element = in.value_type("element type of an array");
    if (!element) return element.error();
    const auto count = in.number<std::uint64_t>("length of an array");
    if (!count) return count.error();
    const gguf_value_type_info& t = info_of_value(*element);
    if (*count > in.left() / t.least)
        return error{errc::corrupt, "array" + in.where(begin) + " has the length " + std::to_string(*count) + ", but " + std::to_string(in.left()) +
                                        " bytes are left, no room for so many " + t.name};
    if (t.bytes) {
        const std::size_t items = in.offset();
        const auto bytes = in.take(*count * t.bytes, "array");
        if (!bytes) return bytes.error();
        return *element == gguf_value_type::boolean ? check_bools(*bytes, items) : result<void>();
    }
    if (*element == gguf_value_type::array && depth + 1 >= gguf_max_nesting)
        return error{errc::corrupt, "array" + in.where(begin) + ": nested deeper than " + std::to_string(gguf_max_nesting)};
    for (std::uint64_t i = 0; i < *count; ++i) QNT_TRY(skip_gguf_value(in, *element, depth + 1));
    return {};
}

// The next value, of a type that was read before. Errors: corrupt.
inline result<gguf_value> read_gguf_value(gguf_cursor& in, std::string_view key, gguf_value_type type) {
    const std::size_t begin = in.offset();
    QNT_TRY(skip_gguf_value(in, type));
    return gguf_value(key, type, in.since(begin));
}

// The number at p into out; false if it is no number of that kind, or does not fit.
template <class T> bool convert_gguf_number(gguf_value_type type, const std::byte* p, T& out) {
    const auto from = [&]<class From>(From v) {
        std::memcpy(&v, p, sizeof v);
        if constexpr (std::is_integral_v<T> && std::is_integral_v<From>) {
            if (!std::in_range<T>(v)) return false;
        } else if constexpr (!std::is_floating_point_v<T> || !std::is_floating_point_v<From> || sizeof(From) > sizeof(T)) return false;
        out = static_cast<T>(v);
        return true;
    };
    switch (type) {
    case gguf_value_type::u8: return from(std::uint8_t{});
    case gguf_value_type::i8: return from(std::int8_t{});
    case gguf_value_type::u16: return from(std::uint16_t{});
    case gguf_value_type::i16: return from(std::int16_t{});
    case gguf_value_type::u32: return from(std::uint32_t{});
    case gguf_value_type::i32: return from(std::int32_t{});
    case gguf_value_type::f32: return from(float{});
    case gguf_value_type::u64: return from(std::uint64_t{});
    case gguf_value_type::i64: return from(std::int64_t{});
    case gguf_value_type::f64: return from(double{});
    default: return false;
    }
}

}  // namespace QNT_BASELINE
}  // namespace detail

inline gguf_value::gguf_value(std::string_view key, gguf_value_type type, std::span<const std::byte> bytes)
    : key_(key), type_(type), element_(type), bytes_(bytes), items_(bytes) {
    if (type != gguf_value_type::array) return;
    std::uint32_t element;
    std::uint64_t count;
    std::memcpy(&element, bytes.data(), sizeof element);
    std::memcpy(&count, bytes.data() + sizeof element, sizeof count);
    element_ = gguf_value_type(element);
    size_ = count;
    items_ = bytes.subspan(sizeof element + sizeof count);
}

inline error gguf_value::mismatch(const char* wanted) const {
    std::string what = detail::info_of_value(type_).name;
    std::int64_t small = 0;
    std::uint64_t large = 0;
    if (type_ == gguf_value_type::array) what = "an array of " + std::to_string(size_) + ' ' + detail::info_of_value(element_).name;
    else if (detail::convert_gguf_number(type_, bytes_.data(), small)) what += ' ' + std::to_string(small);
    else if (detail::convert_gguf_number(type_, bytes_.data(), large)) what += ' ' + std::to_string(large);
    return {errc::corrupt, "metadata " + in_quotes(key_) + " is " + what + ", not " + wanted};
}

template <class T> result<T> gguf_value::scalar(const char* wanted) const {
    T v{};
    if (!detail::convert_gguf_number(type_, bytes_.data(), v)) return mismatch(wanted);
    return v;
}

inline result<bool> gguf_value::as_bool() const {
    if (type_ != gguf_value_type::boolean) return mismatch("a bool");
    return bytes_[0] == std::byte{1};
}

inline result<std::string_view> gguf_value::as_string() const {
    if (type_ != gguf_value_type::string) return mismatch("a string");
    const auto text = bytes_.subspan(sizeof(std::uint64_t));
    return std::string_view(reinterpret_cast<const char*>(text.data()), text.size());
}

template <class T> result<std::vector<T>> gguf_value::numbers() const {
    const bool is_bool = std::is_same_v<T, bool>, is_other = is_bool != (element_ == gguf_value_type::boolean);
    const char* wanted = is_bool                 ? "an array of bools"
                         : std::is_integral_v<T> ? "an array of integers that fit"
                                                 : "an array of such floating-point numbers";
    const std::size_t step = detail::info_of_value(element_).bytes;
    if (type_ != gguf_value_type::array || is_other || step == 0) return mismatch(wanted);
    std::vector<T> out(size_);
    for (std::size_t i = 0; i < size_; ++i) {
        T v{};
        if constexpr (std::is_same_v<T, bool>) v = items_[i] == std::byte{1};
        else if (!detail::convert_gguf_number(element_, items_.data() + i * step, v)) return mismatch(wanted);
        out[i] = v;
    }
    return out;
}

inline result<std::vector<std::string_view>> gguf_value::strings() const {
    if (type_ != gguf_value_type::array || element_ != gguf_value_type::string) return mismatch("an array of strings");
    std::vector<std::string_view> out(size_);
    detail::gguf_cursor in(items_);
    for (std::string_view& s : out) s = *in.string("string");
    return out;
}

inline result<std::vector<gguf_value>> gguf_value::arrays() const {
    if (type_ != gguf_value_type::array || element_ != gguf_value_type::array) return mismatch("an array of arrays");
    std::vector<gguf_value> out;
    detail::gguf_cursor in(items_);
    for (std::size_t i = 0; i < size_; ++i) out.push_back(*detail::read_gguf_value(in, key_, element_));
    return out;
}

}  // namespace qnt
