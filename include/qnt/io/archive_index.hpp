// The header and the index of a `.qnt` file: their bytes, written and read. docs/file-format.md has the tables; archive.hpp is for users.
//
// Versions: a reader refuses another major version. A newer minor version only adds bytes behind what this one knows (to the header,
// to a record, to the index), so its files are read and the additions skipped; in a file of our own minor such bytes are an error.
#pragma once
#include <algorithm>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../any_format.hpp"
#include "crc32c.hpp"
#include "name_order.hpp"
#include "text.hpp"

namespace qnt {

enum class archive_layout : std::uint8_t {
    array,   // f32, f16 or bf16 numbers of any rank, row-major
    panels,  // a matrix [rows, cols] in layout::panels
};

struct archive_tensor {
    std::string name;
    any_format format;
    archive_layout layout = archive_layout::array;
    std::vector<std::size_t> shape;
    std::span<const std::byte> data;       // in place, begins on a 64-byte line
    std::vector<std::uint32_t> checksums;  // CRC-32C of each MiB of data
    input_transform transform = input_transform::none;
    std::span<const std::uint32_t> columns = {};  // of a permutation or the outliers, the end of data; not checked by opening
    std::size_t outliers = 0;                     // how many
    std::span<const f16> outlier_values = {};     // in data, before their columns
};

using archive_metadata = std::vector<std::pair<std::string, std::string>>;

namespace detail {

inline constexpr std::size_t archive_chunk = std::size_t{1} << 20;
inline constexpr std::size_t archive_page = 4096;  // the data begin on one

struct archive_header {
    std::uint8_t magic[8] = {0x89, 'Q', 'N', 'T', '\r', '\n', 0x1a, '\n'};  // a transfer as text breaks it, as with PNG
    std::uint16_t major = 1;
    std::uint16_t minor = 0;
    std::uint32_t header_bytes = 64;  // of which the last 4 are the checksum of the others
    std::uint64_t index_bytes = 0;    // the index follows the header
    std::uint32_t index_checksum = 0;
    std::uint32_t tensors = 0;
    std::uint64_t data_offset = 0;  // of the first tensor
    std::uint64_t file_bytes = 0;
    std::uint8_t reserved[12] = {};
    std::uint32_t checksum = 0;
};
static_assert(sizeof(archive_header) == 64);

struct archive_index {
    std::vector<archive_tensor> tensors;
    archive_metadata metadata;
    std::vector<std::size_t> by_name;  // indices of tensors, names ascending
};

inline namespace QNT_BASELINE {

template <class T> T load_as(const std::byte* p) {
    T v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

// CRC-32C of each MiB.
inline std::vector<std::uint32_t> chunk_checksums(std::span<const std::byte> data, executor_ref executor) {
    std::vector<std::uint32_t> sums(ceil_div(data.size(), archive_chunk));
    executor.parallel_for(sums.size(), 1, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
            const auto rest = data.subspan(i * archive_chunk);
            sums[i] = crc32c(rest.first(std::min(rest.size(), archive_chunk)));
        }
    });
    return sums;
}

// The same of more data behind `size` bytes with these checksums.
inline void extend_checksums(std::vector<std::uint32_t>& sums, std::size_t size, std::span<const std::byte> more) {
    while (!more.empty()) {
        const std::size_t n = std::min(more.size(), archive_chunk - size % archive_chunk);
        if (size % archive_chunk == 0) sums.push_back(crc32c(more.first(n)));
        else sums.back() = crc32c(more.first(n), sums.back());
        more = more.subspan(n);
        size += n;
    }
}

inline bool is_zero(std::span<const std::byte> bytes) {
    return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

// What the bytes of a matrix in panels must be; false if it has no weights or is beyond any machine (2^40 a side).
inline bool panel_bytes_of(const any_format& format, std::span<const std::size_t> shape, std::size_t& bytes) {
    constexpr std::size_t most = std::size_t{1} << 40;
    if (shape.size() != 2 || shape[0] == 0 || shape[0] > most || shape[1] == 0 || shape[1] > most) return false;
    const panel_layout at(format.info, format.shape(shape[0], shape[1]));
    return !__builtin_mul_overflow(at.panels, at.panel_bytes, &bytes);
}

// Of an array of f32, f16 or bf16.
inline bool array_bytes_of(const any_format& format, std::span<const std::size_t> shape, std::size_t& bytes) {
    bytes = size_t(format.info.bits) / 8;
    for (const std::size_t n : shape)
        if (__builtin_mul_overflow(bytes, n, &bytes)) return false;
    return format.info.is_dense();
}

// Of one outlier column: its values in panels, and its index.
constexpr std::size_t outlier_bytes(std::size_t rows) { return outlier_values<layout::panels>(rows, 1) * sizeof(f16) + sizeof(std::uint32_t); }

inline bool tensor_bytes_of(const archive_tensor& t, std::size_t& bytes) {
    if (t.layout == archive_layout::array) return t.transform == input_transform::none && array_bytes_of(t.format, t.shape, bytes);
    if (!panel_bytes_of(t.format, t.shape, bytes)) return false;
    if (t.transform == input_transform::none) return true;
    if (t.shape[1] > std::size_t{1} << 32) return false;  // of a column's index
    if (t.transform == input_transform::permutation) return !__builtin_add_overflow(bytes, t.shape[1] * sizeof(std::uint32_t), &bytes);
    std::size_t more = 0;
    return !t.format.info.is_dense() && t.outliers > 0 && t.outliers <= t.shape[1] &&
           !__builtin_mul_overflow(t.outliers, outlier_bytes(t.shape[0]), &more) && !__builtin_add_overflow(bytes, more, &bytes);
}

// Where it is known to be possible.
inline std::size_t tensor_bytes_of(const archive_tensor& t) {
    std::size_t bytes = 0;
    return tensor_bytes_of(t, bytes) ? bytes : 0;
}

inline std::string archive_shape_text(std::span<const std::size_t> shape) {
    std::string s = "[";
    for (std::size_t i = 0; i < shape.size() && i < 8; ++i) s += (i ? ", " : "") + std::to_string(shape[i]);
    return s + (shape.size() > 8 ? ", ...]" : "]");
}

// A cursor over a part of the index. Reading beyond its end gives zeros and makes ok() false, for good.
class index_cursor {
public:
    index_cursor(std::span<const std::byte> bytes, std::size_t offset) : rest_(bytes), offset_(offset) {}

    bool ok() const { return ok_; }
    bool is_empty() const { return rest_.empty(); }
    std::size_t offset() const { return offset_; }  // in the file
    std::span<const std::byte> take(std::size_t n) {
        ok_ = ok_ && n <= rest_.size();
        if (!ok_) return {};
        const auto taken = rest_.first(n);
        rest_ = rest_.subspan(n);
        offset_ += n;
        return taken;
    }
    template <class T> T number() {
        const auto bytes = take(sizeof(T));
        return ok_ ? load_as<T>(bytes.data()) : T{};
    }
    std::string_view text() {  // u32 length, bytes
        const auto bytes = take(number<std::uint32_t>());
        return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    }
    index_cursor part(std::size_t n) {
        const std::size_t begin = offset_;
        return {take(n), begin};
    }

private:
    std::span<const std::byte> rest_;
    std::size_t offset_;
    bool ok_ = true;
};

inline error bad_archive(const std::string& what) { return {errc::corrupt, what}; }
inline error bad_field(const archive_tensor& t, const char* field, std::size_t offset, const std::string& what) {
    return bad_archive("tensor " + in_quotes(t.name) + ": field \"" + field + "\" (byte offset " + std::to_string(offset) + "): " + what);
}

// The header of a file, everything in it checked against the file. Errors: corrupt, unsupported (another major version).
inline result<archive_header> read_archive_header(std::span<const std::byte> file) {
    archive_header h;
    const auto is_magic = [&](std::size_t n) { return std::memcmp(file.data(), h.magic, n) == 0; };
    if (file.empty() || !is_magic(std::min(file.size(), sizeof h.magic)))
        return bad_archive("is no qnt archive: it does not begin with the bytes \\x89QNT");
    if (file.size() < sizeof h) return bad_archive("truncated: the header has 64 bytes, the file " + std::to_string(file.size()));
    h = load_as<archive_header>(file.data());
    const archive_header ours;
    if (h.major != ours.major)
        return error{errc::unsupported, "field \"major\" (byte offset 8): version " + std::to_string(h.major) + '.' + std::to_string(h.minor) +
                                            ", this library reads version " + std::to_string(ours.major) + ".x"};
    const bool is_size_possible = h.header_bytes >= sizeof h && h.header_bytes <= archive_page && h.header_bytes <= file.size();
    if (!is_size_possible || load_as<std::uint32_t>(file.data() + h.header_bytes - 4) != crc32c(file.first(h.header_bytes - 4)))
        return bad_archive("header (byte offset 0): the checksum is wrong, the file is damaged");
    if (h.file_bytes != file.size())
        return bad_archive("field \"file_bytes\" (byte offset 40): " + std::to_string(h.file_bytes) + ", the file has " +
                           std::to_string(file.size()) + (h.file_bytes > file.size() ? ": truncated" : ": trailing bytes"));
    if (h.minor <= ours.minor && h.header_bytes != sizeof h) return bad_archive("field \"header_bytes\" (byte offset 12): must be 64");
    if (h.index_bytes > file.size() - h.header_bytes) return bad_archive("field \"index_bytes\" (byte offset 16): the index ends behind the file");
    const std::size_t index_end = h.header_bytes + h.index_bytes;
    if (h.data_offset % archive_page != 0 || h.data_offset < index_end || h.data_offset > file.size() || h.data_offset - index_end >= archive_page)
        return bad_archive("field \"data_offset\" (byte offset 32): " + std::to_string(h.data_offset) +
                           " is not the first multiple of 4096 after the index");
    if (!is_zero(file.subspan(index_end, h.data_offset - index_end))) return bad_archive("bytes between the index and the data must be zero");
    if (crc32c(file.subspan(h.header_bytes, h.index_bytes)) != h.index_checksum)
        return bad_archive("index (byte offset " + std::to_string(h.header_bytes) + "): the checksum is wrong, the file is damaged");
    return h;
}

// One record of the index; those before it end at data_end.
inline result<archive_tensor> read_archive_tensor(index_cursor& in, std::span<const std::byte> file, std::size_t data_end) {
    archive_tensor t;
    const std::size_t begin = in.offset();
    const auto truncated = [&] {
        return bad_archive("index: the record of tensor " + in_quotes(t.name) + " (byte offset " + std::to_string(begin) + ") is too short");
    };
    t.name = in.text();
    if (!is_utf8(t.name)) return bad_field(t, "name", begin, "is not UTF-8");

    const std::size_t format_at = in.offset();
    const std::string_view text = in.text();
    if (!in.ok()) return truncated();
    auto format = any_format::parse(printable(text));
    if (!format) return bad_field(t, "format", format_at, format.error().message);
    if (format->name() != text) return bad_field(t, "format", format_at, in_quotes(text) + " must be written " + in_quotes(format->name()));
    t.format = *format;

    const std::size_t layout_at = in.offset();
    t.layout = static_cast<archive_layout>(in.number<std::uint8_t>());
    if (t.layout > archive_layout::panels) return bad_field(t, "layout", layout_at, std::to_string(int(t.layout)) + " is unknown");
    const int transform = in.number<std::uint8_t>();
    if (transform > int(input_transform::outliers)) return bad_field(t, "input_transform", layout_at + 1, std::to_string(transform) + " is unknown");
    t.transform = static_cast<input_transform>(transform);
    if (t.transform != input_transform::none && t.layout != archive_layout::panels)
        return bad_field(t, "input_transform", layout_at + 1, std::to_string(transform) + " is for matrices in panels only");
    if (t.transform == input_transform::outliers && t.format.info.is_dense())
        return bad_field(t, "input_transform", layout_at + 1, std::to_string(transform) + " is for matrices with codes only");
    const std::size_t rank = in.number<std::uint16_t>();
    for (std::size_t i = 0; i < rank && in.ok(); ++i) t.shape.push_back(in.number<std::uint64_t>());
    if (!in.ok()) return truncated();

    const std::size_t offset_at = in.offset();
    const std::uint64_t offset = in.number<std::uint64_t>(), bytes = in.number<std::uint64_t>();
    std::size_t needed = 0;
    if (!in.ok()) return truncated();
    if (std::size_t panels = 0; t.transform == input_transform::outliers && panel_bytes_of(t.format, t.shape, panels)) {
        const std::size_t more = bytes > panels ? (bytes - panels) / outlier_bytes(t.shape[0]) : 0;  // the number of them that may be right
        t.outliers = std::clamp<std::size_t>(more, 1, t.shape[1]);
    }
    if (!tensor_bytes_of(t, needed))
        return bad_field(t, "shape", layout_at + 4, archive_shape_text(t.shape) + " is impossible for " + std::string(text));
    if (bytes != needed)
        return bad_field(
            t, "bytes", offset_at + 8,
            std::to_string(bytes) + ", shape " + archive_shape_text(t.shape) + " of " + std::string(text) + " needs " + std::to_string(needed));
    if (const std::size_t next = round_up(data_end, line_bytes); offset != next)
        return bad_field(t, "offset", offset_at, std::to_string(offset) + ", must be " + std::to_string(next));
    if (offset > file.size() || bytes > file.size() - offset) return bad_field(t, "offset", offset_at, "the data end behind the file");
    t.data = file.subspan(offset, bytes);
    if (t.transform != input_transform::none) {  // panels are whole lines, outliers half a line each, so that what follows is aligned
        const std::size_t n = t.transform == input_transform::permutation ? t.shape[1] : t.outliers, at = bytes - n * sizeof(std::uint32_t);
        const std::size_t values = outlier_values<layout::panels>(t.shape[0], t.outliers);
        t.columns = {reinterpret_cast<const std::uint32_t*>(t.data.data() + at), n};
        t.outlier_values = {reinterpret_cast<const f16*>(t.data.data() + at - values * sizeof(f16)), values};
    }
    for (std::size_t n = ceil_div(bytes, archive_chunk); n-- > 0 && in.ok();) t.checksums.push_back(in.number<std::uint32_t>());
    if (!in.ok()) return truncated();
    return t;
}

inline result<archive_index> read_archive_index(std::span<const std::byte> file) {
    const auto header = read_archive_header(file);
    if (!header) return header.error();
    const bool skips_additions = header->minor > archive_header{}.minor;
    index_cursor in(file.subspan(header->header_bytes, header->index_bytes), header->header_bytes);
    archive_index index;
    std::size_t end = header->data_offset;
    for (std::uint32_t i = 0; i < header->tensors; ++i) {
        const std::size_t begin = in.offset();
        index_cursor record = in.part(in.number<std::uint32_t>());
        if (!in.ok()) return bad_archive("index: record " + std::to_string(i) + " (byte offset " + std::to_string(begin) + ") ends behind the index");
        auto t = read_archive_tensor(record, file, end);
        if (!t) return t.error();
        if (!record.is_empty() && !skips_additions) return bad_field(*t, "checksums", record.offset(), "the record is longer than they are");
        end = static_cast<std::size_t>(t->data.data() - file.data()) + t->data.size();
        index.tensors.push_back(std::move(*t));
    }
    const std::string metadata = "metadata (byte offset " + std::to_string(in.offset()) + ')';
    for (std::uint32_t n = in.number<std::uint32_t>(); n-- > 0 && in.ok();) {
        const std::string_view key = in.text(), value = in.text();
        if (!is_utf8(key) || !is_utf8(value)) return bad_archive(metadata + ": " + in_quotes(key) + " is not UTF-8");
        index.metadata.emplace_back(key, value);
    }
    if (!in.ok() || (!in.is_empty() && !skips_additions)) return bad_archive(metadata + " do not end where the index does");
    if (end != file.size()) return bad_archive("the data end at byte " + std::to_string(end) + ", the file has " + std::to_string(file.size()));

    const auto key = &archive_metadata::value_type::first;
    index.by_name = order_by_name(index.tensors, &archive_tensor::name);
    if (const auto* t = find_twice(index.tensors, index.by_name, &archive_tensor::name))
        return bad_archive("index: duplicate tensor " + in_quotes(t->name));
    if (const auto* entry = find_twice(index.metadata, order_by_name(index.metadata, key), key))
        return bad_archive(metadata + ": duplicate key " + in_quotes(entry->first));
    return index;
}

// The reverse: the bytes of the index, when the data begin at data_offset. Their number depends neither on it nor on the checksums.
inline std::string encode_archive_index(std::span<const archive_tensor> tensors, const archive_metadata& metadata, std::size_t data_offset,
                                        std::uint64_t& file_bytes) {
    const auto put = [](std::string& out, auto v) { out.append(reinterpret_cast<const char*>(&v), sizeof v); };
    const auto put_text = [&](std::string& out, std::string_view s) { put(out, static_cast<std::uint32_t>(s.size())), out += s; };
    std::string index, record;
    file_bytes = data_offset;
    for (const archive_tensor& t : tensors) {
        const std::uint64_t offset = round_up(file_bytes, line_bytes), bytes = tensor_bytes_of(t);
        record.clear();
        put_text(record, t.name);
        put_text(record, t.format.name());
        put(record, t.layout);
        put(record, t.transform);
        put(record, static_cast<std::uint16_t>(t.shape.size()));
        for (const std::uint64_t n : t.shape) put(record, n);
        put(record, offset);
        put(record, bytes);
        for (const std::uint32_t c : t.checksums) put(record, c);
        put_text(index, record);
        file_bytes = offset + bytes;
    }
    put(index, static_cast<std::uint32_t>(metadata.size()));
    for (const auto& [key, value] : metadata) put_text(index, key), put_text(index, value);
    return index;
}

// Header and index, as a file begins with them.
inline std::string encode_archive_front(std::span<const archive_tensor> tensors, const archive_metadata& metadata) {
    archive_header h;
    h.tensors = static_cast<std::uint32_t>(tensors.size());
    h.index_bytes = encode_archive_index(tensors, metadata, 0, h.file_bytes).size();
    h.data_offset = round_up(h.header_bytes + h.index_bytes, archive_page);
    const std::string index = encode_archive_index(tensors, metadata, h.data_offset, h.file_bytes);
    h.index_checksum = crc32c(std::as_bytes(std::span(index)));
    h.checksum = crc32c(std::as_bytes(std::span(&h, 1)).first(sizeof h - sizeof h.checksum));
    return std::string(reinterpret_cast<const char*>(&h), sizeof h) + index;
}

inline result<void> check_columns(const archive_tensor& t) {
    const bool are_outliers = t.transform == input_transform::outliers;
    if (are_outliers ? is_ascending(t.columns, t.shape[1]) : is_permutation(t.columns)) return {};
    return bad_archive("tensor " + in_quotes(t.name) + ": its column indices (byte offset in the tensor " +
                       std::to_string(t.data.size() - t.columns.size_bytes()) + ") are " +
                       (are_outliers ? "not ascending columns of it" : "no permutation"));
}

// Values of outlier columns that no writer makes: one that is not finite, or that lies beyond the rows of the matrix and is not zero.
inline result<void> check_outlier_values(const archive_tensor& t) {
    for (std::size_t i = 0; i < t.outlier_values.size(); ++i) {
        const std::size_t row = i / (panel_rows * t.outliers) * panel_rows + i % panel_rows;
        const bool is_good = row < t.shape[0] ? is_finite(float(t.outlier_values[i])) : t.outlier_values[i] == f16();
        if (is_good) continue;
        const auto* at = reinterpret_cast<const std::byte*>(&t.outlier_values[i]);
        return bad_archive("tensor " + in_quotes(t.name) + ": row " + std::to_string(row) + ", outlier " +
                           std::to_string(i / panel_rows % t.outliers) + " (byte offset in the tensor " + std::to_string(at - t.data.data()) +
                           "): " + (row < t.shape[0] ? "the value is not finite" : "padding is not zero"));
    }
    return {};
}

// Values in panels that no writer makes and kernels need not expect: a scale that is not finite, a zero point beyond its bits, the
// operand -128 (the sum of two of its products overflows 16 bits).
inline result<void> check_panel_values(const archive_tensor& t) {
    const format_info& f = t.format.info;
    if (t.layout != archive_layout::panels || f.is_dense()) return {};
    const packed_shape s = t.format.shape(t.shape[0], t.shape[1]);
    const panel_layout at(f, s);
    for (std::size_t p = 0; p < at.panels; ++p)
        for (std::size_t g = 0; g < s.groups(); ++g) {
            const std::byte* group = t.data.data() + p * at.panel_bytes + g * at.group_bytes;
            const std::byte* meta = group + at.code_bytes(s.group_length(g));
            const auto fail = [&](const char* what) {
                return bad_archive("tensor " + in_quotes(t.name) + ": rows from " + std::to_string(p * panel_rows) + ", group " + std::to_string(g) +
                                   " (byte offset in the tensor " + std::to_string(group - t.data.data()) + "): " + what);
            };
            for (std::size_t lane = 0; lane < panel_rows; ++lane) {
                if (!is_finite(load_scalar(meta + lane * size_of(f.scale), f.scale))) return fail("a scale is not finite");
                if (f.has_zero() && unsigned(meta[at.zero_offset + lane]) >> f.bits) return fail("a zero point is too large");
            }
            if (f.family == operand_family::byte_value && std::memchr(group, 0x80, at.code_bytes(s.group_length(g))))
                return fail("a code is -128, codes go from -127 to 127");
        }
    return {};
}

}  // namespace QNT_BASELINE
}  // namespace detail

}  // namespace qnt
