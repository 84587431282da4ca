// The head of a GGUF file: its metadata, and the names, types, shapes and places of its tensors, read and checked. gguf.hpp is for users.
#pragma once
#include <algorithm>

#include "gguf_blocks.hpp"
#include "gguf_value.hpp"
#include "name_order.hpp"
#include "safetensors.hpp"

namespace qnt {

struct gguf_tensor {
    std::string name;
    std::uint32_t type = 0;           // a gguf_type; find_gguf_type() has its facts
    std::vector<std::size_t> shape;   // row-major, outermost first: the reverse of the file's; rank 0 is one element
    std::size_t elements = 0;         // product of the shape
    std::span<const std::byte> data;  // in place
};

struct gguf_header {
    std::vector<gguf_tensor> tensors;
    std::vector<std::pair<std::string, gguf_value>> metadata;
    std::vector<std::size_t> tensor_by_name, value_by_key;  // indices, names ascending
};

namespace detail {

inline constexpr std::size_t gguf_max_alignment = std::size_t{1} << 20, gguf_max_name = 64, gguf_max_key = 65535;

inline namespace QNT_BASELINE {

// What is wrong with a key, "" if nothing.
inline std::string problem_of_key(std::string_view key) {
    if (key.empty()) return "the key is empty";
    if (key.size() > gguf_max_key) return "the key has " + std::to_string(key.size()) + " bytes, at most 65535 are allowed";
    for (const char c : key)
        if (c < 0x20 || c > 0x7e) return "the key holds a character that is not printable ASCII";
    return "";
}
inline std::string problem_of_name(std::string_view name, std::size_t most) {
    if (name.size() > most)
        return "the name has a length of " + std::to_string(name.size()) + " bytes, at most " + std::to_string(most) + " are allowed";
    if (name.find('\0') != std::string_view::npos) return "the name holds a NUL character";
    return "";
}
inline bool is_gguf_alignment(std::uint64_t n) { return n >= 8 && n <= gguf_max_alignment && (n & (n - 1)) == 0; }

// What `type` needs for a shape; "" if it fits 64 bits and rows are whole blocks.
inline std::string size_gguf_tensor(const gguf_type_info& t, std::span<const std::size_t> shape, std::size_t& elements, std::size_t& bytes) {
    const std::string text = "shape " + shape_text(shape);
    for (const std::size_t n : shape)
        if (n > std::size_t{1} << 62) return text + ": a dimension of " + std::to_string(n) + " is beyond any file";
    if (!count_elements(shape, elements)) return text + ": the number of elements overflows 64 bits";
    const std::size_t row = shape.empty() ? 1 : shape.back();
    if (row % t.block != 0)
        return text + ": rows of " + std::to_string(row) + " elements are no multiple of " + t.name + "'s block of " + std::to_string(t.block);
    if (__builtin_mul_overflow(elements / t.block, t.bytes, &bytes)) return text + " of type " + t.name + ": the size overflows 64 bits";
    return "";
}

// order_by_name() of things whose names must differ. Errors: corrupt, naming one that comes twice, and where in a file it does if `begins`
// has where each begins.
template <class Things, class NameOf>
result<std::vector<std::size_t>> order_by_own_name(const Things& things, const char* what, const NameOf& name_of,
                                                   std::span<const std::size_t> begins = {}) {
    auto order = order_by_name(things, name_of);
    if (const auto* twice = find_twice(things, order, name_of)) {
        const std::size_t i = static_cast<std::size_t>(twice - things.data());
        return error{errc::corrupt, std::string("duplicate ") + what + ' ' + in_quotes(std::invoke(name_of, *twice)) +
                                        (begins.empty() ? "" : gguf_cursor::where(begins[i]))};
    }
    return order;
}
inline constexpr auto key_of_value = [](const std::pair<std::string, gguf_value>& v) -> const std::string& { return v.first; };

inline error at_fault(const std::string& what, const error& e) { return {e.code, what + ": " + e.message}; }

inline const gguf_value* find_gguf_value(const gguf_header& h, std::string_view key) {
    const auto* found = find_by_name(h.metadata, h.value_by_key, key, key_of_value);
    return found ? &found->second : nullptr;
}

inline result<void> read_gguf_metadata(gguf_cursor& in, std::uint64_t count, gguf_header& h) {
    std::vector<std::size_t> begins;
    for (std::uint64_t i = 0; i < count; ++i) {
        const std::size_t begin = in.offset();
        const auto key = in.string("key");
        if (!key) return at_fault("metadata " + std::to_string(i) + " of " + std::to_string(count), key.error());
        const std::string what = "metadata " + in_quotes(*key);
        if (const std::string problem = problem_of_key(*key); !problem.empty()) return error{errc::corrupt, what + in.where(begin) + ": " + problem};
        const auto type = in.value_type("value type");
        if (!type) return at_fault(what, type.error());
        auto value = read_gguf_value(in, *key, *type);
        if (!value) return at_fault(what, value.error());
        h.metadata.emplace_back(*key, *value);
        begins.push_back(begin);
    }
    auto order = order_by_own_name(h.metadata, "key", key_of_value, begins);
    if (!order) return at_fault("metadata", order.error());
    h.value_by_key = std::move(*order);
    return {};
}

struct gguf_place {
    std::uint64_t offset = 0;
    std::size_t bytes = 0;
};

// Of the tensor whose name was read: all but where its data are.
inline result<gguf_place> read_gguf_info(gguf_cursor& in, gguf_tensor& t) {
    const auto fail = [](const std::string& what) { return error{errc::corrupt, what}; };
    const std::size_t begin = in.offset();
    const auto rank = in.number<std::uint32_t>("n_dims");
    if (!rank) return rank.error();
    if (*rank > 4) return fail("n_dims" + in.where(begin) + " is " + std::to_string(*rank) + ", at most 4 are allowed");
    for (std::uint32_t i = 0; i < *rank; ++i) {
        const auto n = in.number<std::uint64_t>("dimension");
        if (!n) return n.error();
        t.shape.insert(t.shape.begin(), *n);
    }
    const std::size_t type_at = in.offset();
    const auto type = in.number<std::uint32_t>("tensor type");
    if (!type) return type.error();
    t.type = *type;
    const auto offset = in.number<std::uint64_t>("offset");
    if (!offset) return offset.error();
    const gguf_type_info* known = find_gguf_type(t.type);
    if (!known)
        return fail("type" + in.where(type_at) + " is " + std::to_string(t.type) +
                    ", which is removed, or newer than this reader: its size is unknown");
    gguf_place place{*offset, 0};
    const std::string problem = size_gguf_tensor(*known, t.shape, t.elements, place.bytes);
    return problem.empty() ? result<gguf_place>(place) : fail(problem + in.where(begin));
}

// Points the tensors into the data: inside, aligned, each byte in one tensor, no hole but padding. `begin` is where data begin in the file.
inline result<void> place_gguf_tensors(std::span<gguf_tensor> tensors, std::span<const gguf_place> places, std::span<const std::byte> data,
                                       std::size_t begin, std::size_t alignment) {
    const auto fail = [&](std::size_t i, const std::string& what) {
        return error{errc::corrupt, "tensor " + in_quotes(tensors[i].name) + ": offset " + std::to_string(places[i].offset) + what};
    };
    for (std::size_t i = 0; i < tensors.size(); ++i) {
        const auto [offset, bytes] = places[i];
        if (offset % alignment != 0) return fail(i, " is not a multiple of the alignment " + std::to_string(alignment));
        if (offset > data.size() || bytes > data.size() - offset)
            return fail(i, " and a size of " + std::to_string(bytes) + " bytes end behind the data, which are " + std::to_string(data.size()) +
                               " bytes from byte offset " + std::to_string(begin) + " on: the file is truncated or the offset is wrong");
        tensors[i].data = data.subspan(offset, bytes);
    }
    std::vector<std::size_t> order(tensors.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        return places[a].offset != places[b].offset ? places[a].offset < places[b].offset : places[a].bytes < places[b].bytes;
    });
    std::size_t end = 0;
    std::string last = "the start of the data";
    for (const std::size_t i : order) {
        if (places[i].offset < end) return fail(i, " is an overlap with " + last + ", which ends at " + std::to_string(end));
        if (places[i].offset - end >= alignment) return fail(i, " leaves a hole after " + last + ", which ends at " + std::to_string(end));
        end = places[i].offset + places[i].bytes;
        last = "tensor " + in_quotes(tensors[i].name);
    }
    return {};
}

// Of the tensors' data in `file`.
inline result<std::size_t> gguf_alignment(const gguf_header& h, std::span<const std::byte> file) {
    const gguf_value* value = find_gguf_value(h, "general.alignment");
    if (!value) return std::size_t{32};
    const std::string what = "metadata \"general.alignment\"" + gguf_cursor::where(static_cast<std::size_t>(value->bytes().data() - file.data()));
    if (value->type() != gguf_value_type::u32) return error{errc::corrupt, what + " must be u32, its type is " + info_of_value(value->type()).name};
    const std::uint64_t n = *value->as_uint64();
    if (!is_gguf_alignment(n)) return error{errc::corrupt, what + " is " + std::to_string(n) + ", must be a power of two from 8 to 1048576"};
    return std::size_t{n};
}

inline std::string problem_of_version(std::uint32_t version) {
    std::string text = "version (byte offset 4) is " + std::to_string(version);
    if (version == 1 || version == 2) return text + ", an old one; 3 is read: convert the file with a current llama.cpp";
    if ((version & 0xffff) == 0 && version != 0) return text + ": a big-endian file, little-endian ones are read";
    return text + ", 3 is read";
}

// The head of a whole file, its tensors pointing into `bytes`. Errors: corrupt.
inline result<gguf_header> read_gguf_header(std::span<const std::byte> bytes) {
    const auto fail = [](const std::string& what) { return error{errc::corrupt, "header: " + what}; };
    const std::string_view magic(reinterpret_cast<const char*>(bytes.data()), std::min<std::size_t>(bytes.size(), 4));
    if (magic != "GGUF") return fail("magic (byte offset 0) is " + in_quotes(magic) + ", must be \"GGUF\"" + describe_file(bytes));
    if (bytes.size() < 24) return fail("truncated: the header has 24 bytes, the file ends after " + std::to_string(bytes.size()));
    gguf_cursor in(bytes.subspan(0));
    static_cast<void>(in.take(4, "magic"));
    const std::uint32_t version = *in.number<std::uint32_t>("version");
    if (version != 3) return fail(problem_of_version(version));
    const std::uint64_t tensors = *in.number<std::uint64_t>("tensor count"), values = *in.number<std::uint64_t>("kv count");
    const auto too_many = [&](const char* what, std::uint64_t n, std::size_t most) {
        return fail(std::string(what) + " is " + std::to_string(n) + ", the file ends too early for more than " + std::to_string(most));
    };
    if (tensors > in.left() / 24) return too_many("tensor count (byte offset 8)", tensors, in.left() / 24);             // name, n_dims, type, offset
    if (values > in.left() / 13) return too_many("kv count of the metadata (byte offset 16)", values, in.left() / 13);  // key, type, a byte

    gguf_header h;
    QNT_TRY(read_gguf_metadata(in, values, h));
    const auto alignment = gguf_alignment(h, bytes);
    if (!alignment) return alignment.error();
    std::vector<gguf_place> places;
    std::vector<std::size_t> begins;
    for (std::uint64_t i = 0; i < tensors; ++i) {
        const std::size_t begin = in.offset();
        const auto name = in.string("name");
        if (!name) return at_fault("tensor " + std::to_string(i) + " of " + std::to_string(tensors), name.error());
        const std::string what = "tensor " + in_quotes(*name);
        if (const std::string problem = problem_of_name(*name, gguf_max_name); !problem.empty())
            return error{errc::corrupt, what + in.where(begin) + ": " + problem};
        h.tensors.emplace_back().name = *name;
        const auto place = read_gguf_info(in, h.tensors.back());
        if (!place) return at_fault(what, place.error());
        places.push_back(*place);
        begins.push_back(begin);
    }
    auto order = order_by_own_name(h.tensors, "tensor", &gguf_tensor::name, begins);
    if (!order) return order.error();
    h.tensor_by_name = std::move(*order);
    const std::size_t begin = ceil_div(in.offset(), *alignment) * *alignment;
    QNT_TRY(place_gguf_tensors(h.tensors, places, bytes.subspan(std::min(begin, bytes.size())), begin, *alignment));
    return h;
}

}  // namespace QNT_BASELINE
}  // namespace detail
}  // namespace qnt
