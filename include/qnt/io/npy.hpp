// NumPy's .npy files, read and written: "\x93NUMPY", version, length and text of a Python dict, numbers (numpy/lib/format.py).
//
//     auto file = qnt::npy_file::open("w.npy").value();
//     std::vector<float> w = file.read_f32().value();                          // row-major, from f2, f4 or f8
//     auto view = file.matrix<float>().value();                                // in place, either order
//     qnt::write_npy("w.npy", w, {768, 3072}).value();                         // the bytes of numpy.save()
//
// Versions 1.0, 2.0 and 3.0; little-endian numbers and booleans. The header is parsed, never evaluated, and holds the three keys and
// nothing else; the data end where the file does. Refused by name: big-endian numbers, pickled objects, structures, texts, complex.
#pragma once
#include <charconv>
#include <cstring>
#include <limits>
#include <vector>

#include "../core/fp_env.hpp"
#include "../core/matrix_view.hpp"
#include "file.hpp"

namespace qnt {

enum class npy_dtype : std::uint8_t { boolean, i8, u8, i16, u16, f16, i32, u32, f32, i64, u64, f64 };

struct npy_dtype_info {
    const char* descr;  // as numpy writes it
    std::size_t bytes;  // of an element
};
inline constexpr npy_dtype_info npy_dtypes[] = {
    // in the order of npy_dtype
    {"|b1", 1}, {"|i1", 1}, {"|u1", 1}, {"<i2", 2}, {"<u2", 2}, {"<f2", 2}, {"<i4", 4}, {"<u4", 4}, {"<f4", 4}, {"<i8", 8}, {"<u8", 8}, {"<f8", 8},
};

// The dtype of each C++ type; booleans, 0 and 1, are read as std::uint8_t.
template <class T> inline constexpr int npy_dtype_of = -1;
template <> inline constexpr int npy_dtype_of<std::int8_t> = int(npy_dtype::i8);
template <> inline constexpr int npy_dtype_of<std::uint8_t> = int(npy_dtype::u8);
template <> inline constexpr int npy_dtype_of<std::int16_t> = int(npy_dtype::i16);
template <> inline constexpr int npy_dtype_of<std::uint16_t> = int(npy_dtype::u16);
template <> inline constexpr int npy_dtype_of<f16> = int(npy_dtype::f16);
template <> inline constexpr int npy_dtype_of<std::int32_t> = int(npy_dtype::i32);
template <> inline constexpr int npy_dtype_of<std::uint32_t> = int(npy_dtype::u32);
template <> inline constexpr int npy_dtype_of<float> = int(npy_dtype::f32);
template <> inline constexpr int npy_dtype_of<std::int64_t> = int(npy_dtype::i64);
template <> inline constexpr int npy_dtype_of<std::uint64_t> = int(npy_dtype::u64);
template <> inline constexpr int npy_dtype_of<double> = int(npy_dtype::f64);
template <class T>
concept npy_number = npy_dtype_of<T> >= 0;

struct npy_header {
    npy_dtype dtype = npy_dtype::boolean;
    bool is_fortran = false;         // the first index is the fastest
    std::vector<std::size_t> shape;  // rank 0 is one element
    std::size_t data_offset = 0;
};

class npy_file {
public:
    // In place: see mapped_file for what must not happen to the file meanwhile. Errors: not_found, io, invalid_argument, corrupt,
    // unsupported (numbers of another kind).
    static result<npy_file> open(const std::string& path) { return from(path, file_bytes::map(path)); }
    // From a copy in memory of our own. Errors: also out_of_memory.
    static result<npy_file> load(const std::string& path) { return from(path, file_bytes::load(path)); }
    // Bytes that the caller keeps; `name` is for messages. Errors: corrupt, unsupported.
    static result<npy_file> view(std::span<const std::byte> bytes, std::string name) { return from(std::move(name), file_bytes(bytes)); }

    npy_dtype dtype() const { return header_.dtype; }
    const std::vector<std::size_t>& shape() const { return header_.shape; }
    bool is_fortran() const { return header_.is_fortran; }
    std::span<const std::byte> data() const { return bytes_.bytes().subspan(header_.data_offset); }  // in the order of the file
    std::size_t elements() const { return data().size() / npy_dtypes[std::size_t(header_.dtype)].bytes; }

    // All elements, row-major. Errors: invalid_argument (another dtype).
    template <npy_number T> result<std::vector<T>> read() const {
        QNT_TRY(check_type(npy_dtype(npy_dtype_of<T>)));
        std::vector<T> out(elements());
        copy(reinterpret_cast<std::byte*>(out.data()));
        return out;
    }
    // From f2, f4 or f8, which is rounded to nearest. Errors: unsupported (another dtype), invalid_argument (an f8 beyond f32).
    result<std::vector<float>> read_f32() const;

    // In place, valid as long as this object. Errors: invalid_argument (another dtype; Fortran order; data that lie at an odd place).
    template <npy_number T> result<std::span<const T>> get() const {
        QNT_TRY(check_type(npy_dtype(npy_dtype_of<T>)));
        QNT_TRY(check_place(alignof(T)));
        if (header_.is_fortran && header_.shape.size() > 1)
            return fail(errc::invalid_argument, "is in Fortran order: read() sorts it, matrix() shows a matrix as it is");
        return std::span<const T>(reinterpret_cast<const T*>(data().data()), elements());
    }
    // Of rank 2, in place: Fortran order is the transpose of a row-major matrix. Errors: as get(), and invalid_argument (another rank).
    template <npy_number T> result<matrix_view<const T>> matrix() const {
        QNT_TRY(check_type(npy_dtype(npy_dtype_of<T>)));
        QNT_TRY(check_place(alignof(T)));
        if (header_.shape.size() != 2) return fail(errc::invalid_argument, "has rank " + std::to_string(header_.shape.size()) + ", not 2");
        const std::size_t rows = header_.shape[0], cols = header_.shape[1];
        const T* first = reinterpret_cast<const T*>(data().data());
        return header_.is_fortran ? matrix_view<const T>(first, cols, rows).transposed() : matrix_view<const T>(first, rows, cols);
    }

private:
    static result<npy_file> from(std::string path, result<file_bytes> bytes);
    error fail(errc code, const std::string& what) const { return {code, printable(path_, 4096) + ": " + what}; }
    result<void> check_type(npy_dtype asked) const;
    result<void> check_place(std::size_t alignment) const;
    void copy(std::byte* out) const;

    std::string path_;
    file_bytes bytes_;
    npy_header header_;
};

namespace detail {
inline namespace QNT_BASELINE {

inline constexpr std::size_t npy_max_dimensions = 64;  // NPY_MAXDIMS of numpy 2

// A cursor over the text of a header: the few forms of Python that numpy writes.
class npy_parser {
public:
    npy_parser(std::string_view text, std::size_t offset) : text_(text), base_(offset) {}

    // Errors: corrupt, unsupported.
    result<npy_header> read() {
        constexpr std::string_view keys[] = {"descr", "fortran_order", "shape"};
        npy_header h;
        bool has[3] = {};
        if (!take('{')) return fail("expected a dict");
        while (!take('}')) {
            const auto key = string();
            if (!key) return key.error();
            const auto k = static_cast<std::size_t>(std::find(std::begin(keys), std::end(keys), *key) - std::begin(keys));
            if (k == std::size(keys)) return fail("key " + in_quotes(*key) + " is unknown");
            if (std::exchange(has[k], true)) return fail("key " + in_quotes(*key) + " comes twice");
            if (!take(':')) return fail("expected ':' behind a key");
            const result<void> value = k == 0 ? descr(h.dtype) : k == 1 ? boolean(h.is_fortran) : tuple(h.shape);
            if (!value) return error{value.error().code, value.error().message + " (key " + in_quotes(*key) + ')'};
            if (!take(',') && next() != '}') return fail("expected ',' or '}'");
        }
        if (next() != '\0' || at_ != text_.size()) return fail("expected the end of the header");
        for (std::size_t k = 0; k < std::size(keys); ++k)
            if (!has[k]) return fail("key " + in_quotes(keys[k]) + " is missing");
        return h;
    }

private:
    error fail(const std::string& what, errc code = errc::corrupt) const {
        return {code, "npy header, byte offset " + std::to_string(base_ + at_) + ": " + what};
    }
    char next() {  // '\0': the end
        while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r')) ++at_;
        return at_ < text_.size() ? text_[at_] : '\0';
    }
    bool take(char c) { return next() == c && at_ < text_.size() ? (++at_, true) : false; }
    bool word(std::string_view w) { return next(), text_.substr(at_, w.size()) == w ? (at_ += w.size(), true) : false; }
    result<std::string_view> string() {
        const char quote = next();
        if (quote != '\'' && quote != '"') return fail("expected a string");
        const std::size_t begin = at_ + 1, end = text_.find(quote, begin);
        const std::string_view s = text_.substr(begin, end - begin);
        if (end == std::string_view::npos || s.find('\\') != std::string_view::npos) return fail("expected a string without escapes that ends");
        at_ = end + 1;
        return s;
    }
    result<void> boolean(bool& value) {
        value = word("True");
        return value || word("False") ? result<void>() : fail("expected True or False");
    }
    result<void> descr(npy_dtype& dtype) {
        if (next() == '[') return fail("a structured dtype; numbers of one kind can be read", errc::unsupported);
        const std::size_t begin = at_;
        const auto s = string();
        if (!s) return s.error();
        for (std::size_t i = 0; i < std::size(npy_dtypes); ++i) {
            const std::string_view known = npy_dtypes[i].descr;
            const bool is_byte = npy_dtypes[i].bytes == 1;  // whose order says nothing
            if (*s != known && !(is_byte && s->size() == 3 && (*s)[0] == '<' && s->substr(1) == known.substr(1))) continue;
            dtype = static_cast<npy_dtype>(i);
            return {};
        }
        const char* why = s->starts_with('>')               ? " is big-endian, x.astype(x.dtype.newbyteorder('<')) would not be"
                          : *s == "|O"                      ? " is pickled Python objects, which are never loaded"
                          : s->find_first_of("cSUVmM") == 1 ? " is of another kind"
                                                            : " is unknown";
        at_ = begin;
        return fail("dtype " + in_quotes(*s) + why + "; b1, i1 to i8, u1 to u8 and f2 to f8, little-endian, can be read", errc::unsupported);
    }
    result<void> tuple(std::vector<std::size_t>& shape) {
        if (!take('(')) return fail("expected a tuple of sizes");
        bool comma = true;
        while (!take(')')) {
            if (!comma) return fail("expected ',' or ')' in a tuple of sizes");
            if (shape.size() == npy_max_dimensions) return fail("more than 64 dimensions, the most that NumPy has");
            std::uint64_t n = 0;
            next();
            const auto [end, code] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), n);
            if (code != std::errc()) return fail("expected a size from 0 to 2^64 - 1");
            at_ = static_cast<std::size_t>(end - text_.data());
            if (at_ < text_.size() && text_[at_] == 'L') ++at_;  // by Python 2
            shape.push_back(n);
            comma = take(',');
        }
        return shape.size() == 1 && !comma ? fail("a tuple of one size ends with a comma") : result<void>();
    }

    std::string_view text_;
    std::size_t base_;
    std::size_t at_ = 0;
};

inline std::string npy_shape_text(std::span<const std::size_t> shape) {  // as Python writes it
    std::string s = "(";
    for (std::size_t i = 0; i < shape.size(); ++i) {
        if (i > 0) s += ", ";
        s += std::to_string(shape[i]);
    }
    return s + (shape.size() == 1 ? ",)" : ")");
}

// false: overflows.
inline bool npy_bytes_of(npy_dtype dtype, std::span<const std::size_t> shape, std::size_t& bytes) {
    bytes = npy_dtypes[static_cast<std::size_t>(dtype)].bytes;
    for (const std::size_t n : shape)
        if (__builtin_mul_overflow(bytes, n, &bytes)) return false;
    return true;
}

// The header of a whole file, its shape checked against the bytes. Errors: corrupt, unsupported.
inline result<npy_header> read_npy_header(std::span<const std::byte> file) {
    const auto fail = [](const std::string& what) { return error{errc::corrupt, what}; };
    constexpr std::string_view magic = "\x93NUMPY";
    const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
    if (!text.starts_with(magic))
        return fail(std::string("is no npy file: it does not begin with the magic \\x93NUMPY") +
                    (text.starts_with("PK\3\4") ? " (it begins like a zip archive, as .npz do: unpack it first)" : ""));
    if (file.size() < magic.size() + 2) return fail("truncated: the npy header ends with the file, after " + std::to_string(file.size()) + " bytes");
    const auto byte = [&](std::size_t i) { return std::to_integer<std::size_t>(file[i]); };
    const std::size_t major = byte(6), minor = byte(7), begin = major == 1 ? 10 : 12;
    if (major < 1 || major > 3 || minor != 0)
        return fail("npy version (byte offset 6) is " + std::to_string(major) + '.' + std::to_string(minor) + ", known are 1.0, 2.0 and 3.0");
    std::size_t length = 0;
    for (std::size_t i = begin; file.size() >= begin && i-- > 8;) length = length << 8 | byte(i);
    if (file.size() < begin || length > file.size() - begin)
        return fail("truncated: the npy header of " + std::to_string(length) + " bytes (byte offset 8) ends behind the file of " +
                    std::to_string(file.size()));
    auto h = npy_parser(text.substr(begin, length), begin).read();
    if (!h) return h;
    h->data_offset = begin + length;
    std::size_t bytes = 0;
    const std::string what = std::string("shape ") + npy_shape_text(h->shape) + " of " + npy_dtypes[static_cast<std::size_t>(h->dtype)].descr;
    if (!npy_bytes_of(h->dtype, h->shape, bytes)) return fail(what + ": the size overflows 64 bits");
    if (const std::size_t has = file.size() - h->data_offset; bytes != has)
        return fail(what + " needs " + std::to_string(bytes) + " bytes of data, from byte offset " + std::to_string(h->data_offset) +
                    " on the file has " + std::to_string(has) + (has < bytes ? ": truncated" : ": trailing bytes"));
    return h;
}

// From Fortran order to row-major, both of elements of `size` bytes.
inline void sort_fortran(const std::byte* source, std::byte* out, std::span<const std::size_t> shape, std::size_t size, std::size_t elements) {
    std::vector<std::size_t> strides, index(shape.size());
    std::size_t stride = size;
    for (const std::size_t n : shape) strides.push_back(stride), stride *= n;
    for (std::size_t i = 0; i < elements; ++i, out += size) {
        std::memcpy(out, source, size);
        for (std::size_t d = shape.size(); d-- > 0; index[d] = 0) {
            source += strides[d];
            if (++index[d] < shape[d]) break;
            source -= strides[d] * shape[d];
        }
    }
}

}  // namespace QNT_BASELINE
}  // namespace detail

inline result<npy_file> npy_file::from(std::string path, result<file_bytes> bytes) {
    if (!bytes) return bytes.error();
    npy_file f;
    auto header = detail::read_npy_header(bytes->bytes());
    f.path_ = std::move(path);
    if (!header) return f.fail(header.error().code, header.error().message);
    f.bytes_ = std::move(*bytes);
    f.header_ = std::move(*header);
    return f;
}

inline result<void> npy_file::check_type(npy_dtype asked) const {
    if (header_.dtype == asked || (header_.dtype == npy_dtype::boolean && asked == npy_dtype::u8)) return {};
    return fail(errc::invalid_argument, std::string("is an array of ") + npy_dtypes[std::size_t(header_.dtype)].descr + ", asked for was " +
                                            npy_dtypes[std::size_t(asked)].descr);
}

inline result<void> npy_file::check_place(std::size_t alignment) const {
    if (reinterpret_cast<std::uintptr_t>(data().data()) % alignment == 0) return {};
    return fail(errc::invalid_argument, "the data (byte offset " + std::to_string(header_.data_offset) + ") do not begin at a multiple of " +
                                            std::to_string(alignment) + ": read() copies them");
}

inline void npy_file::copy(std::byte* out) const {
    const std::size_t n = elements();
    if (header_.is_fortran) detail::sort_fortran(data().data(), out, header_.shape, npy_dtypes[std::size_t(header_.dtype)].bytes, n);
    else if (n > 0) std::memcpy(out, data().data(), data().size());
}

inline result<std::vector<float>> npy_file::read_f32() const {
    if (header_.dtype == npy_dtype::f32) return read<float>();
    std::vector<float> out;
    if (header_.dtype == npy_dtype::f16) {
        const auto values = read<f16>();
        out.reserve(values->size());
        for (const f16 v : *values) out.push_back(float(v));
        return out;
    }
    if (header_.dtype != npy_dtype::f64)
        return fail(errc::unsupported,
                    std::string("is an array of ") + npy_dtypes[std::size_t(header_.dtype)].descr + "; <f2, <f4 and <f8 can be read as floats");
    const auto values = read<double>();
    const fp_env env;
    out.reserve(values->size());
    for (const double v : *values) {
        constexpr double beyond = 0x1.ffffffp127;  // halfway from the largest f32 to 2^128
        if (const double size = v < 0 ? -v : v; size >= beyond && size < std::numeric_limits<double>::infinity())
            return fail(errc::invalid_argument, "element " + std::to_string(out.size()) + " (row-major), " + std::to_string(v) + ", overflows f32");
        out.push_back(static_cast<float>(v));
    }
    return out;
}

inline namespace QNT_BASELINE {

// Writes `path` whole or not at all: version 1.0, row-major. Errors: io, not_found, invalid_argument (a shape of other than
// bytes.size() bytes, or of more than 64 dimensions, which NumPy does not read).
inline result<void> write_npy(const std::string& path, npy_dtype dtype, std::span<const std::byte> bytes, std::span<const std::size_t> shape) {
    std::size_t needed = 0;
    const auto fail = [&](const std::string& what) { return error{errc::invalid_argument, printable(path, 4096) + ": " + what}; };
    if (shape.size() > detail::npy_max_dimensions) return fail(std::to_string(shape.size()) + " dimensions, NumPy has at most 64");
    if (!detail::npy_bytes_of(dtype, shape, needed) || needed != bytes.size())
        return fail("shape " + detail::npy_shape_text(shape) + " of " + npy_dtypes[static_cast<std::size_t>(dtype)].descr + " does not fit " +
                    std::to_string(bytes.size()) + " bytes");
    constexpr std::size_t begin = 10, growth = 21;  // numpy leaves room for a first size of 21 digits
    std::string text = std::string("\x93NUMPY\1\0\0\0{'descr': '", begin + 11) + npy_dtypes[static_cast<std::size_t>(dtype)].descr +
                       "', 'fortran_order': False, 'shape': " + detail::npy_shape_text(shape) + ", }";
    if (!shape.empty()) text.append(growth - std::to_string(shape[0]).size(), ' ');
    text.resize(round_up(text.size() + 1, 64) - 1, ' ');
    text += '\n';
    const std::size_t length = text.size() - begin;
    text[8] = static_cast<char>(length & 255);
    text[9] = static_cast<char>(length >> 8);
    auto out = atomic_file_writer::create(path);
    if (!out) return out.error();
    QNT_TRY(out->write(std::as_bytes(std::span(text))));
    QNT_TRY(out->write(bytes));
    return out->commit();
}

// Values of a type of npy_dtype_of, in a vector, an array or a span; without a shape, of rank 1.
template <class Values> result<void> write_npy(const std::string& path, const Values& values, std::vector<std::size_t> shape = {}) {
    const std::span all(values);
    using number = typename decltype(all)::value_type;
    static_assert(npy_number<number>, "not a type of NumPy's");
    if (shape.empty()) shape = {all.size()};
    return write_npy(path, npy_dtype(npy_dtype_of<number>), std::as_bytes(all), shape);
}

}  // namespace QNT_BASELINE
}  // namespace qnt
