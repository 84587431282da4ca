// Writer of safetensors files, tensor by tensor: what will come is declared first, because the header lies before the data.
//
//     qnt::safetensors_writer out;
//     out.declare("w", qnt::safetensors_dtype::f32, {2, 3}).value();
//     out.set_metadata("format", "pt").value();
//     out.begin("model.safetensors").value();
//     for (const qnt::safetensors_tensor& t : out.order()) out.write(t.name, values_of(t.name)).value();
//     out.finish().value();                                     // atomic: the old file or the whole new one
//
// The bytes are those of the reference writer (safetensors/src/tensor.rs, prepare()): dtypes in descending order of safetensors_dtype,
// larger ones first, so that all are aligned, then names ascending; the header is padded with spaces to a multiple of 8.
#pragma once
#include <optional>
#include <set>

#include "safetensors.hpp"

namespace qnt {

// After an error of write() or finish() only begin() is of use; without finish() nothing is left of the file.
class safetensors_writer {
public:
    // One more tensor; only before begin(). Errors: invalid_argument (a name that was declared, is not UTF-8 or is "__metadata__"; dtype
    // unknown; a size that overflows or does not end on a whole byte).
    result<void> declare(std::string name, safetensors_dtype dtype, std::vector<std::size_t> shape);
    // The last value of a key counts; only before begin(). Errors: invalid_argument (not UTF-8).
    result<void> set_metadata(std::string key, std::string value);

    // Opens a temporary file beside `path` (see atomic_file_writer) and writes the header. Errors: io, not_found, invalid_argument
    // (also: a header of more than 100,000,000 bytes, which no reader takes).
    result<void> begin(const std::string& path);
    // The tensors in the order in which they are written, known from begin() on; they have no data.
    std::span<const safetensors_tensor> order() const { return tensors_; }

    // The next tensor. Errors: io, invalid_argument (another tensor's turn, dtype or size).
    result<void> write(std::string_view name, std::span<const std::byte> bytes);
    result<void> write(std::string_view name, std::span<const float> values) { return write_as(name, safetensors_dtype::f32, std::as_bytes(values)); }
    result<void> write(std::string_view name, std::span<const f16> values) { return write_as(name, safetensors_dtype::f16, std::as_bytes(values)); }
    result<void> write(std::string_view name, std::span<const bf16> values) { return write_as(name, safetensors_dtype::bf16, std::as_bytes(values)); }

    // Makes the file durable and visible. Errors: io, invalid_argument (a declared tensor was not written).
    result<void> finish();

private:
    result<void> write_as(std::string_view name, safetensors_dtype dtype, std::span<const std::byte> bytes);
    result<std::string> encode_header() const;
    static error fail(std::string_view name, const std::string& what) {
        return {errc::invalid_argument, "safetensors_writer: tensor " + in_quotes(name) + ": " + what};
    }

    std::vector<safetensors_tensor> tensors_;
    std::set<std::string, std::less<>> names_;
    std::vector<std::pair<std::string, std::string>> metadata_;
    std::optional<atomic_file_writer> file_;  // between begin() and finish()
    std::size_t written_ = 0;                 // tensors
};

namespace detail {
inline namespace QNT_BASELINE {

// false: it overflows, or ends inside a byte.
inline bool safetensors_bytes_of(const safetensors_tensor& t, std::size_t& bytes) {
    std::size_t bits = 0;
    if (__builtin_mul_overflow(t.elements, safetensors_dtypes[static_cast<std::size_t>(t.dtype)].bits, &bits) || bits % 8 != 0) return false;
    return bytes = bits / 8, true;
}
// Of a declared tensor.
inline std::size_t safetensors_bytes_of(const safetensors_tensor& t) {
    std::size_t bytes = 0;
    return safetensors_bytes_of(t, bytes) ? bytes : 0;
}

}  // namespace QNT_BASELINE
}  // namespace detail

inline result<void> safetensors_writer::declare(std::string name, safetensors_dtype dtype, std::vector<std::size_t> shape) {
    safetensors_tensor t{std::move(name), dtype, "", std::move(shape), 0, {}};
    std::size_t bytes = 0;
    if (file_) return fail(t.name, "is declared after begin()");
    if (!is_utf8(t.name) || t.name == "__metadata__") return fail(t.name, "the name must be UTF-8 and not \"__metadata__\"");
    if (dtype == safetensors_dtype::unknown || dtype > safetensors_dtype::u64) return fail(t.name, "its dtype is unknown");
    t.dtype_text = safetensors_dtypes[static_cast<std::size_t>(dtype)].name;
    if (!detail::count_elements(t.shape, t.elements) || !detail::safetensors_bytes_of(t, bytes))
        return fail(t.name,
                    "shape " + detail::shape_text(t.shape) + " of dtype " + t.dtype_text + ": the size overflows 64 bits or ends inside a byte");
    if (!names_.insert(t.name).second) return fail(t.name, "was declared before");
    tensors_.push_back(std::move(t));
    return {};
}

inline result<void> safetensors_writer::set_metadata(std::string key, std::string value) {
    const auto bad = [&](const char* what) { return error{errc::invalid_argument, "safetensors_writer: metadata " + in_quotes(key) + what}; };
    if (file_) return bad(" come after begin()");
    if (!is_utf8(key) || !is_utf8(value)) return bad(": key and value must be UTF-8");
    const auto at = std::find_if(metadata_.begin(), metadata_.end(), [&](const auto& m) { return m.first == key; });
    if (at != metadata_.end()) at->second = std::move(value);
    else metadata_.emplace_back(std::move(key), std::move(value));
    return {};
}

// Length and JSON, padded.
inline result<std::string> safetensors_writer::encode_header() const {
    std::string out(sizeof(std::uint64_t), '\0');
    const auto open = [&](std::string_view key, char before) { out += before, out += json_escape(key), out += ':'; };
    char before = '{';
    if (!metadata_.empty()) {
        open("__metadata__", before);
        char separator = '{';
        for (const auto& [key, value] : metadata_) {
            open(key, separator);
            out += json_escape(value);
            separator = ',';
        }
        out += '}';
        before = ',';
    }
    std::size_t end = 0;
    for (const safetensors_tensor& t : tensors_) {
        const std::size_t begin = end;
        if (__builtin_add_overflow(begin, detail::safetensors_bytes_of(t), &end) || end >> 62)
            return fail(t.name, "the file would be larger than 2^62 bytes");
        open(t.name, before);
        out += "{\"dtype\":" + json_escape(t.dtype_text) + ",\"shape\":[";
        for (std::size_t i = 0; i < t.shape.size(); ++i) {
            if (i > 0) out += ',';
            out += std::to_string(t.shape[i]);
        }
        out += "],\"data_offsets\":[" + std::to_string(begin) + ',' + std::to_string(end) + "]}";
        before = ',';
    }
    out += before == '{' ? "{}" : "}";
    out.resize(round_up(out.size(), 8), ' ');
    const std::uint64_t length = out.size() - sizeof(std::uint64_t);
    if (length > safetensors_file::max_header_bytes)
        return error{errc::invalid_argument, "safetensors_writer: a header of " + std::to_string(length) + " bytes, the format allows " +
                                                 std::to_string(safetensors_file::max_header_bytes)};
    std::memcpy(out.data(), &length, sizeof length);
    return out;
}

inline result<void> safetensors_writer::begin(const std::string& path) {
    file_.reset();
    written_ = 0;
    std::sort(tensors_.begin(), tensors_.end(),
              [](const auto& a, const auto& b) { return a.dtype != b.dtype ? a.dtype > b.dtype : a.name < b.name; });
    const auto header = encode_header();
    if (!header) return header.error();
    auto file = atomic_file_writer::create(path);
    if (!file) return file.error();
    QNT_TRY(file->write(std::as_bytes(std::span(*header))));
    file_.emplace(std::move(*file));
    return {};
}

inline result<void> safetensors_writer::write(std::string_view name, std::span<const std::byte> bytes) {
    if (!file_) return fail(name, "is written before begin()");
    if (written_ == tensors_.size()) return fail(name, "all declared tensors are written");
    const safetensors_tensor& t = tensors_[written_];
    if (t.name != name) return fail(name, "the next one is " + in_quotes(t.name) + ", see order()");
    if (const std::size_t needed = detail::safetensors_bytes_of(t); bytes.size() != needed)
        return fail(name, "has " + std::to_string(bytes.size()) + " bytes, shape " + detail::shape_text(t.shape) + " of dtype " + t.dtype_text +
                              " needs " + std::to_string(needed));
    QNT_TRY(file_->write(bytes));
    ++written_;
    return {};
}

inline result<void> safetensors_writer::write_as(std::string_view name, safetensors_dtype dtype, std::span<const std::byte> bytes) {
    if (written_ < tensors_.size() && tensors_[written_].name == name && tensors_[written_].dtype != dtype)
        return fail(
            name, std::string("is ") + safetensors_dtypes[static_cast<std::size_t>(dtype)].name + ", declared was " + tensors_[written_].dtype_text);
    return write(name, bytes);
}

inline result<void> safetensors_writer::finish() {
    if (!file_) return error{errc::invalid_argument, "safetensors_writer: finish() without begin()"};
    if (written_ < tensors_.size()) return fail(tensors_[written_].name, "was declared, but not written");
    QNT_TRY(file_->commit());
    file_.reset();
    return {};
}

}  // namespace qnt
