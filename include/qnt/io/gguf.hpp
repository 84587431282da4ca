// Reader and writer of GGUF files, version 3: metadata, then where each tensor lies, then the tensors' bytes, each on a multiple of the
// alignment (ggml, docs/gguf.md and src/gguf.cpp). What the types hold: gguf_blocks.hpp. Metadata: gguf_value.hpp.
//
//     auto model = qnt::gguf_file::open("model-q8_0.gguf").value();
//     qnt::any_matrix w = model.read_packed("blk.0.ffn_up.weight", pool).value();   // Q8_0 as int8:32, no number changed
//     std::string_view name = model.find_value("general.architecture")->as_string().value();
//
//     qnt::gguf_writer out;
//     out.set("general.architecture", "gpt2").value();
//     out.declare("blk.0.ffn_up.weight", qnt::gguf_type::q8_0, {3072, 768}).value();
//     out.begin("copy.gguf").value();
//     out.write("blk.0.ffn_up.weight", qnt::gguf_encode(w.view(), pool).value()).value();
//     out.finish().value();                                                         // the file appears now, complete
//
// The whole head is checked before a tensor is handed out: counts, lengths and sizes against the bytes of the file and without overflow, no
// key or name twice, tensors in any order but without overlap or hole. A type that this reader does not know is an error, since its size is
// unknown; one that it cannot decode is listed. Padding and bytes behind the last tensor are ignored, as ggml does.
#pragma once
#include <ranges>

#include "file.hpp"
#include "gguf_index.hpp"

namespace qnt {

class gguf_file {
public:
    // In place: see mapped_file for what must not happen to the file meanwhile. Errors: not_found, io, invalid_argument, corrupt.
    static result<gguf_file> open(const std::string& path) { return from(path, file_bytes::map(path)); }
    // From a copy in memory of our own. Errors: also out_of_memory.
    static result<gguf_file> load(const std::string& path) { return from(path, file_bytes::load(path)); }
    // Bytes that the caller keeps; `name` is for messages. Errors: corrupt.
    static result<gguf_file> view(std::span<const std::byte> bytes, std::string name) { return from(std::move(name), file_bytes(bytes)); }

    std::span<const gguf_tensor> tensors() const { return header_.tensors; }  // in the order of the file
    std::span<const std::pair<std::string, gguf_value>> metadata() const { return header_.metadata; }

    // Valid as long as this object. Errors: not_found.
    result<const gguf_tensor*> find(std::string_view name) const;
    // The value of a key, null if there is none.
    const gguf_value* find_value(std::string_view key) const;

    // All elements as f32, row-major, of any type that decodes. Errors: not_found, unsupported (a type that does not), not_finite (a block
    // with an infinite or NaN scale; NaN among F32, F16 and BF16 are read as they are).
    result<std::vector<float>> read_f32(std::string_view name, executor_ref executor = {}) const;
    // The same into out[elements]. Errors: also invalid_argument (another size).
    result<void> read_f32(std::string_view name, std::span<float> out, executor_ref executor = {}) const;

    // The grid of ours on which the numbers of this tensor's type lie exactly: int8:32 for Q8_0, int4:32 for Q4_0, f32, f16, bf16.
    static std::optional<any_format> grid_of(const gguf_tensor& t) { return qnt::grid_of(gguf_type(t.type)); }
    // A matrix on that grid, no number changed. Errors: not_found, not_finite, unsupported (a type without such a grid, a tensor that is no
    // matrix, a Q8_0 code of -128: ggml makes none, and int8 has none).
    result<any_matrix> read_packed(std::string_view name, executor_ref executor = {}) const;
    // Its data are not needed for now: see mapped_file::forget().
    void forget(const gguf_tensor& t) const noexcept { bytes_.forget(t.data); }

private:
    static result<gguf_file> from(std::string path, result<file_bytes> bytes);
    std::string about(const gguf_tensor& t) const { return printable(path_, 4096) + ": tensor " + in_quotes(t.name) + ": "; }

    std::string path_;
    file_bytes bytes_;
    gguf_header header_;
};

namespace detail {
inline namespace QNT_BASELINE {

// Why a type has no grid of ours.
inline const char* why_no_grid(gguf_type type) {
    switch (type) {
    case gguf_type::q4_1:
    case gguf_type::q5_1:
    case gguf_type::q4_k:
    case gguf_type::q5_k:
    case gguf_type::q2_k: return "its blocks have a minimum that is no multiple of their scale";
    case gguf_type::q5_0:
    case gguf_type::q6_k:
    case gguf_type::q3_k: return "its codes have another number of bits";
    case gguf_type::iq4_nl:
    case gguf_type::iq4_xs:
    case gguf_type::mxfp4:
    case gguf_type::nvfp4: return "its codes stand for other values";
    default: return "it is none of the types that qnt computes with";
    }
}

// A row of blocks of Q8_0 or Q4_0. Errors: not_finite, unsupported.
inline result<void> blocks_to_row(gguf_type type, const std::byte* row, std::size_t blocks, const unpacked_row& out) {
    const auto* b = reinterpret_cast<const std::uint8_t*>(row);
    for (std::size_t g = 0; g < blocks; ++g) {
        out.scales[g] = f16_at(b);
        out.zeros[g] = 0;
        b += 2;
        std::uint8_t* q = out.codes + g * 32;
        if (!is_finite(out.scales[g])) return error{errc::not_finite, "block " + std::to_string(g) + ": its scale is not a finite number"};
        if (type == gguf_type::q8_0) {
            std::memcpy(q, b, 32);
            if (std::memchr(q, 0x80, 32))
                return error{errc::unsupported, "block " + std::to_string(g) + ": a code is -128, which int8 does not have"};
        }
        for (std::size_t j = 0; type == gguf_type::q4_0 && j < 16; ++j) {
            q[j] = b[j] & 15;
            q[j + 16] = b[j] >> 4;
        }
        b += type == gguf_type::q4_0 ? 16 : 32;
    }
    return {};
}

}  // namespace QNT_BASELINE
}  // namespace detail

inline result<gguf_file> gguf_file::from(std::string path, result<file_bytes> bytes) {
    if (!bytes) return bytes.error();
    gguf_file f;
    auto header = detail::read_gguf_header(bytes->bytes());
    if (!header) return detail::at_fault(printable(path, 4096), header.error());
    f.path_ = std::move(path);
    f.bytes_ = std::move(*bytes);
    f.header_ = std::move(*header);
    return f;
}

inline result<const gguf_tensor*> gguf_file::find(std::string_view name) const {
    if (const auto* t = detail::find_by_name(header_.tensors, header_.tensor_by_name, name, &gguf_tensor::name)) return t;
    return error{errc::not_found, printable(path_, 4096) + ": there is no tensor " + in_quotes(name)};
}

inline const gguf_value* gguf_file::find_value(std::string_view key) const { return detail::find_gguf_value(header_, key); }

inline result<std::vector<float>> gguf_file::read_f32(std::string_view name, executor_ref executor) const {
    const auto t = find(name);
    if (!t) return t.error();
    std::vector<float> out(find_gguf_type((*t)->type)->decodes ? (*t)->elements : 0);
    const auto r = read_f32(name, out, executor);
    if (!r) return r.error();
    return out;
}

inline result<void> gguf_file::read_f32(std::string_view name, std::span<float> out, executor_ref executor) const {
    const auto found = find(name);
    if (!found) return found.error();
    const gguf_tensor& t = **found;
    const gguf_type_info& type = *find_gguf_type(t.type);
    if (!type.decodes) return error{errc::unsupported, about(t) + "type " + type.name + " is not decoded"};
    if (out.size() != t.elements)
        return error{errc::invalid_argument, about(t) + "has " + std::to_string(t.elements) + " elements (shape " + detail::shape_text(t.shape) +
                                                 "), there is room for " + std::to_string(out.size())};
    if (type.block == 1) return gguf_decode(t.type, t.data, out, executor);
    detail::first_failure failed;
    executor.parallel_for(out.size() / type.block, detail::block_grain(type), [&](std::size_t begin, std::size_t end) {
        const std::size_t n = end - begin;
        const auto values = out.subspan(begin * type.block, n * type.block);
        static_cast<void>(gguf_decode(t.type, t.data.subspan(begin * type.bytes, n * type.bytes), values));  // whole blocks of a type that decodes
        for (std::size_t b = 0; b < n; ++b)
            if (!detail::all_finite(&values[b * type.block], type.block)) failed.note(begin + b);
    });
    if (!failed.any()) return {};
    return error{errc::not_finite, about(t) + "block " + std::to_string(failed.row()) +
                                       detail::gguf_cursor::where(std::size_t(t.data.data() - bytes_.bytes().data()) + failed.row() * type.bytes) +
                                       " of " + type.name + " holds a number that is not finite"};
}

inline result<any_matrix> gguf_file::read_packed(std::string_view name, executor_ref executor) const {
    const auto found = find(name);
    if (!found) return found.error();
    const gguf_tensor& t = **found;
    const auto type = gguf_type(t.type);
    const auto grid = grid_of(t);
    if (!grid)
        return error{errc::unsupported, about(t) + "type " + find_gguf_type(t.type)->name + " lies on no grid of qnt: " + detail::why_no_grid(type) +
                                            "; read_f32 and quantize it"};
    if (t.shape.size() != 2 || t.elements == 0) return error{errc::unsupported, about(t) + "shape " + detail::shape_text(t.shape) + " is no matrix"};
    const std::size_t rows = t.shape[0], cols = t.shape[1];
    const auto pack = [&]() -> result<any_matrix> {
        if (grid->info.is_dense()) {
            const auto numbers = read_f32(name, executor);
            if (!numbers) return numbers.error();
            return quantize(matrix_view<const float>{numbers->data(), rows, cols}, *grid, {}, executor);
        }
        const std::size_t blocks = cols / find_gguf_type(t.type)->block, row_bytes = t.data.size() / rows;
        return pack_matrix(
            *grid, rows, cols,
            [&](std::size_t row, const unpacked_row& out) -> result<void> {
                const auto r = detail::blocks_to_row(type, t.data.data() + row * row_bytes, blocks, out);
                return r ? r : detail::at_fault("row " + std::to_string(row), r.error());
            },
            executor);
    };
    auto w = pack();
    return w ? std::move(w) : error{w.error().code, about(t) + w.error().message};
}

namespace detail {

template <class T>
concept gguf_number = std::is_arithmetic_v<T> && !std::is_same_v<T, char> && (sizeof(T) <= 8);
template <class T>
concept gguf_text = std::convertible_to<const T&, std::string_view>;
template <class T>
concept gguf_scalar = gguf_number<T> || gguf_text<T>;

inline namespace QNT_BASELINE {

template <gguf_scalar T> consteval gguf_value_type gguf_value_type_of() {
    constexpr int bits = int(sizeof(T)) * 8;
    if constexpr (gguf_text<T>) return gguf_value_type::string;
    else if constexpr (std::is_same_v<T, bool>) return gguf_value_type::boolean;
    else if constexpr (std::is_floating_point_v<T>) return bits == 32 ? gguf_value_type::f32 : gguf_value_type::f64;
    else if constexpr (std::is_signed_v<T>)
        return bits == 8 ? gguf_value_type::i8 : bits == 16 ? gguf_value_type::i16 : bits == 32 ? gguf_value_type::i32 : gguf_value_type::i64;
    else return bits == 8 ? gguf_value_type::u8 : bits == 16 ? gguf_value_type::u16 : bits == 32 ? gguf_value_type::u32 : gguf_value_type::u64;
}

template <class T> void append_number(std::string& out, T v) {
    char bytes[sizeof v];
    std::memcpy(bytes, &v, sizeof v);
    out.append(bytes, sizeof v);
}
inline void append_text(std::string& out, std::string_view text) {
    append_number(out, std::uint64_t{text.size()});
    out += text;
}

}  // namespace QNT_BASELINE
}  // namespace detail

// Writes a file front to back; it appears under its name when finish() is done, see atomic_file_writer. What general.* keys a reader asks
// for is the caller's to know (llama.cpp: general.architecture); general.quantization_version is set where blocks need it, the alignment is
// 32 unless general.alignment (a u32) says otherwise.
class gguf_writer {
public:
    // bool, integers and floating-point numbers as they are, text, and arrays (vectors, spans, ..) of these. Errors: invalid_argument.
    template <class T> result<void> set(std::string_view key, const T& value);
    // A value of another file.
    result<void> set(std::string_view key, const gguf_value& value);
    // Shape row-major, outermost first; names of at most 63 bytes, ggml reads no longer ones. Errors: invalid_argument.
    result<void> declare(std::string name, gguf_type type, std::vector<std::size_t> shape);

    // Everything is set and declared: writes the head. Errors: io, not_found, invalid_argument.
    result<void> begin(const std::string& path);
    // The next tensor in the order of declaration, all its bytes. Errors: io, invalid_argument.
    result<void> write(std::string_view name, std::span<const std::byte> data);
    // After the last tensor. Errors: io, invalid_argument (a tensor is missing).
    result<void> finish();

private:
    struct declared {
        std::string name;
        gguf_type type;
        std::vector<std::size_t> shape;
        std::size_t bytes;
    };
    struct entry {
        std::string key, bytes;  // the type and the value, as in a file
    };
    static error wrong(const std::string& what) { return {errc::invalid_argument, "qnt::gguf_writer: " + what}; }
    result<void> check(std::string_view key) const;
    result<void> write_padded(std::span<const std::byte> bytes);
    result<std::string> head() const;

    std::vector<entry> entries_;
    std::vector<declared> tensors_;
    std::size_t alignment_ = 32, written_ = 0;  // written_: tensors
    std::optional<atomic_file_writer> file_;
    bool finished_ = false;
};

inline result<void> gguf_writer::check(std::string_view key) const {
    if (file_) return wrong("key " + in_quotes(key) + " after begin()");
    const std::string problem = detail::problem_of_key(key);
    return problem.empty() ? result<void>() : wrong("key " + in_quotes(key) + ": " + problem);
}

template <class T> result<void> gguf_writer::set(std::string_view key, const T& value) {
    QNT_TRY(check(key));
    std::string bytes;
    bool is_text_good = true;
    const auto append_type = [&](gguf_value_type t) { detail::append_number(bytes, std::uint32_t(t)); };
    const auto append = [&](const auto& v) {
        if constexpr (detail::gguf_text<std::remove_cvref_t<decltype(v)>>) {
            is_text_good = is_text_good && is_utf8(v);
            detail::append_text(bytes, v);
        } else detail::append_number(bytes, v);
    };
    if constexpr (detail::gguf_scalar<T>) {
        append_type(detail::gguf_value_type_of<T>());
        append(value);
    } else {
        static_assert(std::ranges::sized_range<const T>, "a value is a number, a bool, text, or an array of these");
        using element = std::ranges::range_value_t<const T>;
        append_type(gguf_value_type::array);
        append_type(detail::gguf_value_type_of<element>());
        detail::append_number(bytes, std::uint64_t{std::ranges::size(value)});
        for (const element& v : value) append(v);
    }
    if (!is_text_good) return wrong("key " + in_quotes(key) + ": the text is not UTF-8");
    if (key == "general.alignment") {
        std::uint32_t n = 0;
        if constexpr (std::is_same_v<T, std::uint32_t>) n = value;
        if (!detail::is_gguf_alignment(n)) return wrong("general.alignment must be a u32, a power of two from 8 to 1048576");
        alignment_ = n;
    }
    entries_.push_back({std::string(key), std::move(bytes)});
    return {};
}

inline result<void> gguf_writer::set(std::string_view key, const gguf_value& value) {
    if (key == "general.alignment" && value.type() == gguf_value_type::u32) return set(key, std::uint32_t(*value.as_uint64()));
    QNT_TRY(check(key));
    if (key == "general.alignment") return wrong("general.alignment must be a u32, a power of two from 8 to 1048576");
    std::string bytes;
    detail::append_number(bytes, std::uint32_t(value.type()));
    bytes.append(reinterpret_cast<const char*>(value.bytes().data()), value.bytes().size());
    entries_.push_back({std::string(key), std::move(bytes)});
    return {};
}

inline result<void> gguf_writer::declare(std::string name, gguf_type type, std::vector<std::size_t> shape) {
    const auto fail = [&](const std::string& what) { return wrong("tensor " + in_quotes(name) + ": " + what); };
    if (file_) return fail("declared after begin()");
    if (name.empty() || !is_utf8(name)) return fail("the name must be UTF-8 and not empty");
    if (const std::string problem = detail::problem_of_name(name, detail::gguf_max_name - 1); !problem.empty()) return fail(problem);
    const gguf_type_info* t = find_gguf_type(std::uint32_t(type));
    if (!t) return fail("type " + std::to_string(std::uint32_t(type)) + " is unknown");
    std::size_t elements = 0, bytes = 0;
    if (const std::string problem = detail::size_gguf_tensor(*t, shape, elements, bytes); !problem.empty()) return fail(problem);
    if (shape.size() > 4 || elements == 0)
        return fail("shape " + detail::shape_text(shape) + ": ggml has 1 to 4 dimensions and at least one element");
    tensors_.push_back({std::move(name), type, std::move(shape), bytes});
    return {};
}

inline result<std::string> gguf_writer::head() const {
    for (const auto& order :
         {detail::order_by_own_name(entries_, "key", &entry::key), detail::order_by_own_name(tensors_, "tensor", &declared::name)})
        if (!order) return wrong(order.error().message);
    std::string out = "GGUF";
    detail::append_number(out, std::uint32_t{3});
    detail::append_number(out, std::uint64_t{tensors_.size()});
    detail::append_number(out, std::uint64_t{entries_.size()});
    for (const entry& e : entries_) {
        detail::append_text(out, e.key);
        out += e.bytes;
    }
    std::size_t offset = 0;
    for (const declared& t : tensors_) {
        detail::append_text(out, t.name);
        detail::append_number(out, std::uint32_t(t.shape.size()));
        for (std::size_t i = t.shape.size(); i-- > 0;) detail::append_number(out, std::uint64_t{t.shape[i]});
        detail::append_number(out, std::uint32_t(t.type));
        detail::append_number(out, std::uint64_t{offset});
        if (__builtin_add_overflow(offset, t.bytes, &offset) || __builtin_add_overflow(offset, alignment_ - 1, &offset))
            return wrong("tensor " + in_quotes(t.name) + ": the sizes overflow 64 bits");
        offset = offset / alignment_ * alignment_;
    }
    return out;
}

inline result<void> gguf_writer::write_padded(std::span<const std::byte> bytes) {
    QNT_TRY(file_->write(bytes));
    const std::vector<std::byte> padding((alignment_ - file_->size() % alignment_) % alignment_);
    return file_->write(padding);
}

inline result<void> gguf_writer::begin(const std::string& path) {
    if (file_) return wrong("begin() is called twice");
    bool has_blocks = false, has_version = false;
    for (const declared& t : tensors_) has_blocks = has_blocks || find_gguf_type(std::uint32_t(t.type))->block > 1;
    for (const entry& e : entries_) has_version = has_version || e.key == "general.quantization_version";
    if (has_blocks && !has_version) QNT_TRY(set("general.quantization_version", std::uint32_t{2}));
    const auto bytes = head();
    if (!bytes) return bytes.error();
    auto file = atomic_file_writer::create(path);
    if (!file) return file.error();
    file_.emplace(std::move(*file));
    return write_padded(std::as_bytes(std::span(bytes->data(), bytes->size())));
}

inline result<void> gguf_writer::write(std::string_view name, std::span<const std::byte> data) {
    const std::string what = "write() of tensor " + in_quotes(name);
    if (!file_ || finished_) return wrong(what + (finished_ ? " after finish()" : " before begin()"));
    if (written_ == tensors_.size()) return wrong(what + " after the last one declared");
    const declared& t = tensors_[written_];
    if (t.name != name) return wrong(what + ", but the next one declared is " + in_quotes(t.name));
    if (t.bytes != data.size())
        return wrong(what + ": " + std::to_string(data.size()) + " bytes, shape " + detail::shape_text(t.shape) + " of " +
                     detail::gguf_type_text(std::uint32_t(t.type)) + " needs " + std::to_string(t.bytes));
    QNT_TRY(write_padded(data));
    ++written_;
    return {};
}

inline result<void> gguf_writer::finish() {
    if (!file_ || finished_) return wrong(finished_ ? "finish() is called twice" : "finish() before begin()");
    if (written_ != tensors_.size()) return wrong("finish(), but tensor " + in_quotes(tensors_[written_].name) + " is not written");
    finished_ = true;
    return file_->commit();
}

}  // namespace qnt
