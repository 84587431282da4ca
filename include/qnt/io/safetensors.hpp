// Reader of safetensors files: u64 little-endian N, N bytes of JSON, then the tensors' bytes (huggingface/safetensors, README and
// safetensors/src/tensor.rs).
//
//     auto model = qnt::safetensors_file::open("model.safetensors").value();
//     std::vector<float> w = model.read_f32("h.0.mlp.c_fc.weight").value();
//
// Every length is checked before it is used, and the whole header before a tensor is handed out: N <= 100,000,000, the tensors tile
// the data exactly (no hole, no overlap, nothing behind the last), shape x dtype is the size of the range, no name comes twice (the
// format's text forbids it, its reference reader lets it pass). A tensor of an unknown dtype does not spoil the others: it is listed
// with dtype unknown, and reading it is an error. Data need not be aligned. Unknown fields are ignored, as the reference does.
#pragma once
#include <cstring>
#include <iterator>
#include <vector>

#include "../core/half.hpp"
#include "file.hpp"
#include "json.hpp"
#include "name_order.hpp"

namespace qnt {

// clang-format off
enum class safetensors_dtype : std::uint8_t {
    unknown, boolean, f4, f6_e2m3, f6_e3m2, u8, i8, f8_e5m2, f8_e4m3, f8_e8m0, f8_e4m3fnuz, f8_e5m2fnuz,
    i16, u16, f16, bf16, i32, u32, f32, c64, f64, i64, u64,
};

struct safetensors_dtype_info {
    const char* name;  // in files
    std::size_t bits;  // of an element
};
inline constexpr safetensors_dtype_info safetensors_dtypes[] = {  // in the order of safetensors_dtype
    {"", 0}, {"BOOL", 8}, {"F4", 4}, {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8}, {"I8", 8}, {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8},
    {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16}, {"U16", 16}, {"F16", 16}, {"BF16", 16}, {"I32", 32}, {"U32", 32}, {"F32", 32},
    {"C64", 64}, {"F64", 64}, {"I64", 64}, {"U64", 64},
};
// clang-format on

struct safetensors_tensor {
    std::string name;
    safetensors_dtype dtype = safetensors_dtype::unknown;
    std::string dtype_text;           // as the file says it
    std::vector<std::size_t> shape;   // row-major; rank 0 is one element
    std::size_t elements = 0;         // product of the shape
    std::span<const std::byte> data;  // in place, at any alignment
};

struct safetensors_header {
    std::vector<safetensors_tensor> tensors;
    std::vector<std::pair<std::string, std::string>> metadata;
    std::vector<std::size_t> by_name;  // indices of tensors, names ascending
};

class safetensors_file {
public:
    static constexpr std::size_t max_header_bytes = 100'000'000;

    // In place: see mapped_file for what must not happen to the file meanwhile. Errors: not_found, io, invalid_argument, corrupt.
    static result<safetensors_file> open(const std::string& path) { return from(path, file_bytes::map(path)); }
    // From a copy in memory of our own. Errors: also out_of_memory.
    static result<safetensors_file> load(const std::string& path) { return from(path, file_bytes::load(path)); }
    // Bytes that the caller keeps; `name` is for messages. Errors: corrupt.
    static result<safetensors_file> view(std::span<const std::byte> bytes, std::string name) { return from(std::move(name), file_bytes(bytes)); }

    const std::string& path() const { return path_; }                                // or the name given to view()
    std::span<const safetensors_tensor> tensors() const { return header_.tensors; }  // in the order of the header
    std::span<const std::pair<std::string, std::string>> metadata() const { return header_.metadata; }

    // Valid as long as this object. Errors: not_found.
    result<const safetensors_tensor*> find(std::string_view name) const;
    // All elements as f32, row-major, from F32, F16 or BF16: nothing is rounded. Errors: not_found, unsupported (another dtype).
    result<std::vector<float>> read_f32(std::string_view name) const;
    // The same into out[elements]. Errors: also invalid_argument (another size).
    result<void> read_f32(std::string_view name, std::span<float> out) const;
    // Its data are not needed for now: see mapped_file::forget().
    void forget(const safetensors_tensor& t) const noexcept { bytes_.forget(t.data); }

private:
    static result<safetensors_file> from(std::string path, result<file_bytes> bytes);
    result<const safetensors_tensor*> find_float(std::string_view name) const;

    std::string path_;
    file_bytes bytes_;
    safetensors_header header_;
};

namespace detail {
inline namespace QNT_BASELINE {

// What a file that should be another one begins with, for the message; "" if it is nothing known.
inline const char* describe_file(std::span<const std::byte> bytes) {
    using namespace std::string_view_literals;
    const std::string_view head(reinterpret_cast<const char*>(bytes.data()), std::min<std::size_t>(bytes.size(), 64));
    const std::string_view text = head.substr(std::min(head.find_first_not_of(" \t\r\n"), head.size()));
    if (head.starts_with("PK\3\4"sv)) return " (it begins like a zip archive, as PyTorch checkpoints do)";
    if (head.size() > 1 && head[0] == '\x80' && head[1] >= 2 && head[1] <= 5) return " (it begins like a Python pickle)";
    if (head.starts_with("GGUF"sv)) return " (it begins like a GGUF file)";
    if (head.starts_with("\x93NUMPY"sv)) return " (it begins like a NumPy array)";
    if (head.starts_with("version https://git-lfs"sv)) return " (it is a Git LFS pointer: `git lfs pull` fetches the file itself)";
    if (text.starts_with('<')) return " (it begins like a web page)";
    if (text.starts_with('{')) return " (it begins like JSON, without the length before it)";
    return "";
}

inline std::string shape_text(std::span<const std::size_t> shape) {
    std::string s = "[";
    for (std::size_t i = 0; i < shape.size() && i < 8; ++i) {
        if (i) s += ',';  // not `"," + std::to_string()`: g++ 12 warns falsely at -O3
        s += std::to_string(shape[i]);
    }
    return s + (shape.size() > 8 ? ",...]" : "]");
}

// Product of the sizes in `shape`, from left to right; false if it does not fit.
inline bool count_elements(std::span<const std::size_t> shape, std::size_t& elements) {
    elements = 1;
    for (const std::size_t n : shape)
        if (__builtin_mul_overflow(elements, n, &elements)) return false;
    return true;
}

inline result<void> read_shape(json_reader& in, std::vector<std::size_t>& out) {
    return in.array([&]() -> result<void> {
        const auto n = in.uint64();
        if (!n) return n.error();
        out.push_back(*n);
        return {};
    });
}

inline result<void> read_safetensors_metadata(json_reader& in, std::vector<std::pair<std::string, std::string>>& out) {
    return in.object([&](std::string_view key) -> result<void> {
        auto value = in.string();
        if (!value) return error{value.error().code, "field " + in_quotes(key) + ": " + value.error().message};
        out.emplace_back(key, std::move(*value));
        return {};
    });
}

// One entry of the header; t.name is known. Errors name the field.
inline result<void> read_safetensors_entry(json_reader& in, std::span<const std::byte> data, safetensors_tensor& t) {
    const std::string where = " (byte offset " + std::to_string(in.offset()) + ')';
    const auto fail = [&](const std::string& what) { return error{errc::corrupt, what + where}; };
    std::vector<std::size_t> range;
    bool has_dtype = false, has_shape = false, has_range = false;
    QNT_TRY(in.object([&](std::string_view key) -> result<void> {
        const auto read = [&]() -> result<void> {
            if (key == "shape") return has_shape = true, read_shape(in, t.shape);
            if (key == "data_offsets") return has_range = true, read_shape(in, range);
            if (key != "dtype") return in.skip();
            auto text = in.string();
            if (!text) return text.error();
            t.dtype_text = *text;
            has_dtype = true;
            return {};
        };
        const auto r = read();
        return r ? r : error{r.error().code, "field " + in_quotes(key) + ": " + r.error().message};
    }));
    if (!has_dtype || !has_shape || !has_range)
        return fail(std::string("field \"") + (!has_dtype ? "dtype" : !has_shape ? "shape" : "data_offsets") + "\" is missing");

    const std::string range_text = "data_offsets " + shape_text(range);
    if (range.size() != 2 || range[0] > range[1]) return fail(range_text + " must be [begin,end] with begin <= end");
    if (range[1] > data.size())
        return fail(range_text + " end behind the data of " + std::to_string(data.size()) + " bytes: the file is truncated or the offsets are wrong");
    t.data = data.subspan(range[0], range[1] - range[0]);
    if (!count_elements(t.shape, t.elements)) return fail("shape " + shape_text(t.shape) + ": the number of elements overflows 64 bits");

    const auto* known =
        std::find_if(std::begin(safetensors_dtypes) + 1, std::end(safetensors_dtypes), [&](const auto& d) { return t.dtype_text == d.name; });
    if (known == std::end(safetensors_dtypes)) return {};  // of unknown size: nothing to compare the range with
    t.dtype = static_cast<safetensors_dtype>(known - safetensors_dtypes);
    std::size_t bits = 0;
    const std::string what = "shape " + shape_text(t.shape) + " of dtype " + t.dtype_text;
    if (__builtin_mul_overflow(t.elements, known->bits, &bits)) return fail(what + ": the size overflows 64 bits");
    if (bits % 8 != 0) return fail(what + ": does not end on a whole byte");
    if (bits / 8 != t.data.size())
        return fail(what + " needs " + std::to_string(bits / 8) + " bytes, " + range_text + " are " + std::to_string(t.data.size()));
    return {};
}

// Do the tensors cover the data from its first to its last byte, each once?
inline result<void> check_tiling(std::span<const safetensors_tensor> tensors, std::span<const std::byte> data) {
    const auto begin = [&](const safetensors_tensor& t) { return static_cast<std::size_t>(t.data.data() - data.data()); };
    const auto name = [](const safetensors_tensor* t) { return t ? "tensor " + in_quotes(t->name) : std::string("the start of the data"); };
    std::vector<const safetensors_tensor*> order;
    for (const safetensors_tensor& t : tensors) order.push_back(&t);
    std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
        return a->data.data() != b->data.data() ? a->data.data() < b->data.data() : a->data.size() < b->data.size();
    });
    std::size_t end = 0;
    const safetensors_tensor* last = nullptr;
    for (const safetensors_tensor* t : order) {
        if (begin(*t) != end)
            return error{errc::corrupt, name(t) + ": data_offsets begin at " + std::to_string(begin(*t)) +
                                            (begin(*t) < end ? ", an overlap with " : ", a hole after ") + name(last) + ", which ends at " +
                                            std::to_string(end)};
        end += t->data.size();
        last = t;
    }
    if (end != data.size())
        return error{errc::corrupt,
                     "data of " + std::to_string(data.size()) + " bytes, but data_offsets end at " + std::to_string(end) + ": trailing bytes"};
    return {};
}

// The header of a whole file, its tensors pointing into `bytes`. Errors: corrupt.
inline result<safetensors_header> read_safetensors_header(std::span<const std::byte> bytes) {
    const auto fail = [](const std::string& what) { return error{errc::corrupt, what}; };
    std::uint64_t length = 0;
    if (bytes.size() < sizeof length)
        return fail("truncated: a safetensors file begins with the 8-byte length of its header, this one has " + std::to_string(bytes.size()) +
                    " bytes");
    std::memcpy(&length, bytes.data(), sizeof length);
    const std::string header_length = "length (byte offset 0) is " + std::to_string(length);
    if (length > safetensors_file::max_header_bytes)
        return fail(header_length + ", safetensors allows " + std::to_string(safetensors_file::max_header_bytes) + describe_file(bytes));
    if (length > bytes.size() - sizeof length)
        return fail(header_length + ", the file has " + std::to_string(bytes.size() - sizeof length) +
                    " bytes behind it: truncated, or no safetensors file" + describe_file(bytes));
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + sizeof length, length);
    const auto data = bytes.subspan(sizeof length + length);

    safetensors_header h;
    json_reader in(text, sizeof length);
    QNT_TRY(in.object([&](std::string_view key) -> result<void> {
        if (key == "__metadata__") {
            const auto r = read_safetensors_metadata(in, h.metadata);
            return r ? r : fail("__metadata__: " + r.error().message);
        }
        h.tensors.emplace_back().name = key;
        const auto r = read_safetensors_entry(in, data, h.tensors.back());
        return r ? r : fail("tensor " + in_quotes(key) + ": " + r.error().message);
    }));
    QNT_TRY(in.end());
    QNT_TRY(check_tiling(h.tensors, data));
    h.by_name = order_by_name(h.tensors, &safetensors_tensor::name);
    return h;
}

// Numbers at any alignment to f32. source holds out.size() elements of dtype f32, f16 or bf16.
inline void widen(std::span<const std::byte> source, safetensors_dtype dtype, std::span<float> out) {
    if (out.empty()) return;
    if (dtype == safetensors_dtype::f32) {
        std::memcpy(out.data(), source.data(), source.size());
        return;
    }
    for (std::size_t i = 0; i < out.size(); ++i) {
        std::uint16_t bits;
        std::memcpy(&bits, source.data() + i * sizeof bits, sizeof bits);
        out[i] = dtype == safetensors_dtype::f16 ? float(f16::from_bits(bits)) : float(bf16::from_bits(bits));
    }
}

}  // namespace QNT_BASELINE
}  // namespace detail

inline result<safetensors_file> safetensors_file::from(std::string path, result<file_bytes> bytes) {
    if (!bytes) return bytes.error();
    safetensors_file f;
    auto header = detail::read_safetensors_header(bytes->bytes());
    if (!header) return error{header.error().code, printable(path, 4096) + ": header: " + header.error().message};
    f.path_ = std::move(path);
    f.bytes_ = std::move(*bytes);
    f.header_ = std::move(*header);
    return f;
}

inline result<const safetensors_tensor*> safetensors_file::find(std::string_view name) const {
    if (const auto* t = detail::find_by_name(header_.tensors, header_.by_name, name, &safetensors_tensor::name)) return t;
    return error{errc::not_found, printable(path_, 4096) + ": there is no tensor " + in_quotes(name)};
}

inline result<const safetensors_tensor*> safetensors_file::find_float(std::string_view name) const {
    auto t = find(name);
    if (!t) return t;
    const safetensors_dtype d = (*t)->dtype;
    if (d == safetensors_dtype::f32 || d == safetensors_dtype::f16 || d == safetensors_dtype::bf16) return t;
    const char* why = d == safetensors_dtype::unknown ? " is unknown" : " cannot be read as floats";
    return error{errc::unsupported,
                 printable(path_, 4096) + ": tensor " + in_quotes(name) + ": dtype " + in_quotes((*t)->dtype_text) + why + "; F32, F16 and BF16 can"};
}

inline result<std::vector<float>> safetensors_file::read_f32(std::string_view name) const {
    const auto t = find_float(name);
    if (!t) return t.error();
    std::vector<float> out((*t)->elements);
    detail::widen((*t)->data, (*t)->dtype, out);
    return out;
}

inline result<void> safetensors_file::read_f32(std::string_view name, std::span<float> out) const {
    const auto t = find_float(name);
    if (!t) return t.error();
    if (out.size() != (*t)->elements)
        return error{errc::invalid_argument, printable(path_, 4096) + ": tensor " + in_quotes(name) + " has " + std::to_string((*t)->elements) +
                                                 " elements (shape " + detail::shape_text((*t)->shape) + "), there is room for " +
                                                 std::to_string(out.size())};
    detail::widen((*t)->data, (*t)->dtype, out);
    return {};
}

}  // namespace qnt
