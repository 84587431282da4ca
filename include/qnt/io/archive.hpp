// The library's own file, `.qnt`: named matrices in panels, ready to be multiplied where they lie, beside arrays of any rank.
//
//     qnt::archive_writer out;
//     out.add("wte", matrix);                                   // a packed matrix or view; it must live until finish()
//     out.add("ln_f.bias", bias);                               // std::vector<float>
//     out.set_metadata("source", "gpt2/model.safetensors");
//     out.finish("gpt2.qnt").value();                           // atomic: the old file or the whole new one
//
//     out.declare("wte", qnt::any_format::parse("int4:32").value(), qnt::archive_layout::panels, {50257, 768});
//     out.begin("gpt2.qnt").value();                            // or tensor by tensor: all are declared, then each is written
//     out.write("wte", matrix).value();                         // and may go
//     out.finish().value();
//
//     auto file = qnt::archive::map("gpt2.qnt").value();        // instant; load() copies into huge pages, faster to compute with
//     auto wte  = file.get<qnt::nf4<64>>("wte").value();        // a view in place
//
// Opening checks the header, the index, their checksums and every length against the file, so that no view reaches outside of it.
// verify() reads the data too: one CRC-32C per MiB, and numbers that no writer makes. docs/file-format.md has the byte tables.
#pragma once
#include <array>
#include <optional>
#include <set>

#include "archive_index.hpp"
#include "file.hpp"

namespace qnt {

namespace detail {
inline namespace QNT_BASELINE {

inline result<void> verify_archive(std::span<const archive_tensor> tensors, std::span<const std::byte> file, executor_ref executor) {
    const auto offset = [&](const std::byte* p) { return " (byte offset " + std::to_string(p - file.data()) + ") "; };
    for (const archive_tensor& t : tensors) {
        const auto sums = chunk_checksums(t.data, executor);
        for (std::size_t i = 0; i < sums.size(); ++i)
            if (sums[i] != t.checksums[i])
                return bad_archive("tensor " + in_quotes(t.name) + ": the checksum of MiB " + std::to_string(i) +
                                   offset(t.data.data() + i * archive_chunk) + "is wrong, the file is damaged");
    }
    const std::byte* end = tensors.empty() ? nullptr : tensors[0].data.data();
    for (const archive_tensor& t : tensors) {
        if (!is_zero({end, t.data.data()}))
            return bad_archive("tensor " + in_quotes(t.name) + ": the bytes before it" + offset(end) + "must be zero");
        QNT_TRY(check_panel_values(t));
        QNT_TRY(check_columns(t));
        QNT_TRY(check_outlier_values(t));
        end = t.data.data() + t.data.size();
    }
    return {};
}

// A matrix as a tensor, its columns and outliers beside the data; one of an impossible shape has no data.
inline archive_tensor archive_tensor_of(std::string name, const any_view<layout::panels>& w) {
    archive_tensor t{std::move(name), {w.format, w.shape.group}, archive_layout::panels, {w.shape.rows, w.shape.cols}, {}, {}, w.transform(), {}};
    if (w.columns) t.columns = {w.columns, w.shape.cols};
    if (!w.outliers.empty()) {
        t.columns = w.outliers.columns;
        t.outliers = w.outliers.count();
        t.outlier_values = {w.outliers.values, outlier_values<layout::panels>(w.shape.rows, t.outliers)};
    }
    std::size_t bytes = 0;
    if (panel_bytes_of(t.format, t.shape, bytes)) t.data = {w.data, bytes};
    return t;
}

}  // namespace QNT_BASELINE
}  // namespace detail

class archive {
public:
    // In place: nothing is read but the header and the index. The file must keep its bytes as long as this object: one that is cut
    // short under it stops the program (SIGBUS), one that is written to changes the weights. Replacing it by renaming, as archive_writer
    // does, is safe; for files that others may rewrite in place there is load().
    // Errors: not_found, io, invalid_argument, corrupt, unsupported (another major version).
    static result<archive> map(const std::string& path) { return from(path, file_bytes::map(path)); }
    // Read with pread() into huge pages of our own; what becomes of the file then does not matter. Errors: also out_of_memory.
    static result<archive> load(const std::string& path) { return from(path, file_bytes::load(path)); }
    // Bytes that the caller keeps, aligned to 64; `name` is for messages.
    static result<archive> view(std::span<const std::byte> bytes, std::string name);

    std::span<const archive_tensor> tensors() const { return index_.tensors; }  // in the order of the file
    const archive_metadata& metadata() const { return index_.metadata; }
    std::size_t bytes() const { return bytes_.bytes().size(); }

    // Reads all data. Errors: corrupt, naming the first tensor and MiB whose checksum is wrong, or the value that no writer makes.
    result<void> verify(executor_ref executor = {}) const;

    // What follows points into the file and is valid as long as this object. Errors: not_found, invalid_argument (something else),
    // corrupt (columns that are no permutation, outliers that are not ascending).
    result<const archive_tensor*> find(std::string_view name) const;
    template <format_type F>
        requires is_static_group<F>
    result<packed_view<F>> get(std::string_view name) const {
        const auto w = find_panels(name, detail::format_name(format_of<F>()));
        if (!w) return w.error();
        if (w->columns) return fail({errc::invalid_argument, "tensor " + in_quotes(name) + " has its columns permuted, which get_any() can show"});
        return packed_view<F>{w->shape, w->data, w->outliers};
    }
    result<any_view<layout::panels>> get_any(std::string_view name) const { return find_panels(name, ""); }
    // The numbers of an array, row-major.
    template <scalar T> result<std::span<const T>> get_array(std::string_view name) const {
        const auto t = find_as(name, archive_layout::array, name_of(scalar_type_of<T>));
        if (!t) return t.error();
        return std::span<const T>(reinterpret_cast<const T*>((*t)->data.data()), (*t)->data.size() / sizeof(T));
    }
    // The same as f32, whichever of the three they are.
    result<std::vector<float>> read_f32(std::string_view name) const;
    // Its data are not needed for now: see mapped_file::forget().
    void forget(const archive_tensor& t) const noexcept { bytes_.forget(t.data); }

private:
    static result<archive> from(std::string path, result<file_bytes> bytes);
    error fail(const qnt::error& e) const { return {e.code, printable(path_, 4096) + ": " + e.message}; }
    // format "": any
    result<const archive_tensor*> find_as(std::string_view name, archive_layout layout, std::string_view format) const;
    result<any_view<layout::panels>> find_panels(std::string_view name, std::string_view format) const;

    std::string path_;
    file_bytes bytes_;
    detail::archive_index index_;
};

// Writes an archive tensor by tensor, so that one of them is in memory at a time: the index lies before the data, so what will come is
// declared first. After an error of write() or finish() only begin() is of use; without finish() nothing is left of the file.
class archive_writer {
public:
    // One more tensor; only before begin(). outliers: how many columns, where that is the transform. Errors: invalid_argument (a name that
    // was declared, is not UTF-8 or longer than 64 KiB; a shape that cannot be), unsupported (a format of your own: no name would tell a
    // reader what it is).
    result<void> declare(std::string name, const any_format& format, archive_layout layout, std::vector<std::size_t> shape,
                         input_transform transform = input_transform::none, std::size_t outliers = 0);

    // Text beside the tensors: where the weights come from, how they were quantized. The last value of a key counts. Only before
    // begin(). Errors: invalid_argument (not UTF-8, or longer than 2 GiB).
    result<void> set_metadata(std::string key, std::string value);

    // Opens a temporary file beside `path`: see atomic_file_writer. Errors: io, not_found, invalid_argument.
    result<void> begin(const std::string& path);

    // The bytes of the next tensor, in the order of the declarations. The executor computes the checksums. Errors: io,
    // invalid_argument (another tensor's turn, or not what was declared).
    result<void> write(std::string_view name, std::span<const std::byte> bytes, executor_ref executor = {}) {
        return write_parts(name, {bytes, {}, {}}, executor);
    }
    result<void> write(std::string_view name, const any_view<layout::panels>& w, executor_ref executor = {});
    result<void> write(std::string_view name, std::span<const float> values, executor_ref executor = {}) {
        return write_array(name, values, executor);
    }
    result<void> write(std::string_view name, std::span<const f16> values, executor_ref executor = {}) { return write_array(name, values, executor); }
    result<void> write(std::string_view name, std::span<const bf16> values, executor_ref executor = {}) {
        return write_array(name, values, executor);
    }

    // Makes the file durable and visible. Errors: io, invalid_argument (a declared tensor was not written).
    result<void> finish();

    // For what is in memory anyway: declare() now, write() in finish(path). Views are borrowed: what they show must live until then.
    result<void> add(std::string name, const any_view<layout::panels>& w);
    result<void> add(std::string name, any_matrix&& w);                                  // kept until finish()
    template <format_type F> void add(std::string name, packed_matrix<F>&& w) = delete;  // would be gone before finish()

    // Numbers of any rank, row-major; without a shape, of rank 1. Errors: also invalid_argument (another number of elements).
    result<void> add(std::string name, std::span<const float> values, std::vector<std::size_t> shape = {}) {
        return add_array(std::move(name), values, std::move(shape));
    }
    result<void> add(std::string name, std::span<const f16> values, std::vector<std::size_t> shape = {}) {
        return add_array(std::move(name), values, std::move(shape));
    }
    result<void> add(std::string name, std::span<const bf16> values, std::vector<std::size_t> shape = {}) {
        return add_array(std::move(name), values, std::move(shape));
    }

    // begin(), write() and finish() for all that was added.
    result<void> finish(const std::string& path, executor_ref executor = {});

private:
    template <class T> result<void> write_array(std::string_view name, std::span<const T> values, executor_ref executor) {
        return write_as({std::string(name),
                         format_of<dense_format<T>>(),
                         archive_layout::array,
                         {values.size()},
                         std::as_bytes(values),
                         {},
                         input_transform::none,
                         {}},
                        executor);
    }
    template <class T> result<void> add_array(std::string name, std::span<const T> values, std::vector<std::size_t> shape) {
        if (shape.empty()) shape = {values.size()};
        return add_tensor({std::move(name),
                           format_of<dense_format<T>>(),
                           archive_layout::array,
                           std::move(shape),
                           std::as_bytes(values),
                           {},
                           input_transform::none,
                           {}});
    }
    result<void> add_tensor(archive_tensor t);
    using data_parts = std::array<std::span<const std::byte>, 3>;  // that lie behind each other in the file
    static data_parts parts_of(const archive_tensor& t) { return {t.data, std::as_bytes(t.outlier_values), std::as_bytes(t.columns)}; }
    static std::size_t bytes_of(const data_parts& parts) { return parts[0].size() + parts[1].size() + parts[2].size(); }
    result<void> write_parts(std::string_view name, const data_parts& parts, executor_ref executor);
    result<void> write_as(const archive_tensor& t, executor_ref executor);  // of an array the shape is that of its declaration
    static error fail(std::string_view name, const std::string& what, errc code = errc::invalid_argument) {
        return {code, "archive_writer: tensor " + in_quotes(name) + ": " + what};
    }

    std::vector<archive_tensor> tensors_;  // data, columns and outliers: of added ones, borrowed
    std::set<std::string, std::less<>> names_;
    std::vector<any_matrix> owned_;
    archive_metadata metadata_;
    std::optional<atomic_file_writer> file_;  // between begin() and finish()
    std::size_t written_ = 0;                 // tensors
};

inline result<archive> archive::from(std::string path, result<file_bytes> bytes) {
    if (!bytes) return bytes.error();
    archive a;
    a.path_ = std::move(path);
    auto index = detail::read_archive_index(bytes->bytes());
    if (!index) return a.fail(index.error());
    a.bytes_ = std::move(*bytes);
    a.index_ = std::move(*index);
    return a;
}

inline result<archive> archive::view(std::span<const std::byte> bytes, std::string name) {
    if (reinterpret_cast<std::uintptr_t>(bytes.data()) % line_bytes != 0)
        return error{errc::invalid_argument, printable(name, 4096) + ": the bytes must begin at a multiple of 64"};
    return from(std::move(name), file_bytes(bytes));
}

inline result<void> archive::verify(executor_ref executor) const {
    const auto r = detail::verify_archive(index_.tensors, bytes_.bytes(), executor);
    return r ? r : fail(r.error());
}

inline result<const archive_tensor*> archive::find(std::string_view name) const {
    if (const auto* t = detail::find_by_name(index_.tensors, index_.by_name, name, &archive_tensor::name)) return t;
    return fail({errc::not_found, "there is no tensor " + in_quotes(name)});
}

inline result<const archive_tensor*> archive::find_as(std::string_view name, archive_layout layout, std::string_view format) const {
    const auto t = find(name);
    if (!t || ((*t)->layout == layout && (format.empty() || (*t)->format.name() == format))) return t;
    const auto text = [](archive_layout l, std::string_view f) {
        return (l == archive_layout::panels ? "a matrix of " : "an array of ") + std::string(f.empty() ? "any format" : f);
    };
    return fail({errc::invalid_argument,
                 "tensor " + in_quotes(name) + " is " + text((*t)->layout, (*t)->format.name()) + ", asked for was " + text(layout, format)});
}

inline result<any_view<layout::panels>> archive::find_panels(std::string_view name, std::string_view format) const {
    const auto t = find_as(name, archive_layout::panels, format);
    if (!t) return t.error();
    const archive_tensor& w = **t;
    if (const auto r = detail::check_columns(w); !r) return fail(r.error());
    any_view<layout::panels> view{w.format.info, w.format.shape(w.shape[0], w.shape[1]), w.data.data()};
    if (w.transform == input_transform::permutation) view.columns = w.columns.data();
    if (w.transform == input_transform::outliers) view.outliers = {w.columns, w.outlier_values.data()};
    return view;
}

inline result<std::vector<float>> archive::read_f32(std::string_view name) const {
    const auto t = find_as(name, archive_layout::array, "");
    if (!t) return t.error();
    std::vector<float> out((*t)->data.size() * 8 / std::size_t((*t)->format.info.bits));
    if (!out.empty())
        detail::to_f32(reinterpret_cast<const std::uint8_t*>((*t)->data.data()), out.size(), detail::dense_type((*t)->format.info), out.data());
    return out;
}

inline result<void> archive_writer::declare(std::string name, const any_format& format, archive_layout layout, std::vector<std::size_t> shape,
                                            input_transform transform, std::size_t outliers) {
    constexpr std::size_t most = std::size_t{1} << 48;  // its checksums are counted with 32 bits, as bytes
    archive_tensor t{std::move(name), format, layout, std::move(shape), {}, {}, transform, {}, outliers};
    if (file_) return fail(t.name, "is declared after begin()");
    if (t.name.size() > 0xffff || !is_utf8(t.name)) return fail(t.name, "the name must be UTF-8 of at most 65535 bytes");
    const auto known = any_format::parse(format.name());
    if (!known || !(*known == format)) return fail(t.name, "an archive cannot name its format " + in_quotes(format.name()), errc::unsupported);
    std::size_t bytes = 0;
    if (t.shape.size() > 0xffff || !detail::tensor_bytes_of(t, bytes) || bytes > most)
        return fail(t.name, "shape " + detail::archive_shape_text(t.shape) + " is impossible for " + format.name() +
                                (outliers ? " with " + std::to_string(outliers) + " outlier columns" : ""));
    if (!names_.insert(t.name).second) return fail(t.name, "was added before");
    tensors_.push_back(std::move(t));
    return {};
}

inline result<void> archive_writer::set_metadata(std::string key, std::string value) {
    const auto bad = [&](const char* what) { return error{errc::invalid_argument, "archive_writer: metadata " + in_quotes(key) + what}; };
    if (file_) return bad(" come after begin()");
    if (!is_utf8(key) || !is_utf8(value) || key.size() >> 31 || value.size() >> 31) return bad(": key and value must be UTF-8 of less than 2 GiB");
    const auto at = std::find_if(metadata_.begin(), metadata_.end(), [&](const auto& m) { return m.first == key; });
    if (at != metadata_.end()) at->second = std::move(value);
    else metadata_.emplace_back(std::move(key), std::move(value));
    return {};
}

// Leaves room for header and index: until finish() the file begins with zeros, which no reader takes for an archive.
inline result<void> archive_writer::begin(const std::string& path) {
    file_.reset();
    written_ = 0;
    std::size_t total = 0;
    for (archive_tensor& t : tensors_) {
        const std::size_t bytes = detail::tensor_bytes_of(t);
        if (__builtin_add_overflow(total, bytes, &total) || total >> 62) return fail(t.name, "the file would be larger than 2^62 bytes");
        t.checksums.assign(ceil_div(bytes, detail::archive_chunk), 0);
    }
    auto file = atomic_file_writer::create(path);
    if (!file) return file.error();
    const std::string front(detail::encode_archive_front(tensors_, metadata_).size(), '\0');
    QNT_TRY(file->write(std::as_bytes(std::span(front))));
    QNT_TRY(file->pad_to(detail::archive_page));
    file_.emplace(std::move(*file));
    return {};
}

inline result<void> archive_writer::write_parts(std::string_view name, const data_parts& parts, executor_ref executor) {
    if (!file_) return fail(name, "is written before begin()");
    if (written_ == tensors_.size() || tensors_[written_].name != name)
        return fail(name, written_ == tensors_.size() ? "all declared tensors are written" : "the next one is " + in_quotes(tensors_[written_].name));
    archive_tensor& t = tensors_[written_];
    const std::size_t bytes = bytes_of(parts);
    if (const std::size_t needed = detail::tensor_bytes_of(t); bytes != needed)
        return fail(name, "has " + std::to_string(bytes) + " bytes, shape " + detail::archive_shape_text(t.shape) + " of " + t.format.name() +
                              " needs " + std::to_string(needed));
    t.checksums = detail::chunk_checksums(parts[0], executor);
    detail::extend_checksums(t.checksums, parts[0].size(), parts[1]);
    detail::extend_checksums(t.checksums, parts[0].size() + parts[1].size(), parts[2]);
    QNT_TRY(file_->pad_to(line_bytes));
    for (const auto& part : parts) QNT_TRY(file_->write(part));
    ++written_;
    return {};
}

inline result<void> archive_writer::write_as(const archive_tensor& t, executor_ref executor) {
    if (written_ == tensors_.size() || tensors_[written_].name != t.name) return write_parts(t.name, parts_of(t), executor);  // which says so
    const archive_tensor& declared = tensors_[written_];
    const auto text = [](const archive_tensor& x) {
        return x.format.name() + ' ' + detail::archive_shape_text(x.shape) +
               (x.transform == input_transform::permutation ? " with permuted columns"
                : x.transform == input_transform::outliers  ? " with " + std::to_string(x.outliers) + " outlier columns"
                                                            : "");
    };
    const bool is_shape_known = t.layout == archive_layout::panels;
    if (t.layout != declared.layout || !(t.format == declared.format) || t.transform != declared.transform || t.outliers != declared.outliers ||
        (is_shape_known && t.shape != declared.shape))
        return fail(t.name, "is " + text(t) + ", declared was " + text(declared));
    return write_parts(t.name, parts_of(t), executor);
}

inline result<void> archive_writer::write(std::string_view name, const any_view<layout::panels>& w, executor_ref executor) {
    return write_as(detail::archive_tensor_of(std::string(name), w), executor);
}

inline result<void> archive_writer::finish() {
    if (!file_) return error{errc::invalid_argument, "archive_writer: finish() without begin()"};
    if (written_ < tensors_.size()) return fail(tensors_[written_].name, "was declared, but not written");
    const std::string front = detail::encode_archive_front(tensors_, metadata_);
    QNT_TRY(file_->write_at(0, std::as_bytes(std::span(front))));
    QNT_TRY(file_->commit());
    file_.reset();
    return {};
}

inline result<void> archive_writer::add_tensor(archive_tensor t) {
    std::size_t bytes = 0;
    if (detail::tensor_bytes_of(t, bytes) && bytes != bytes_of(parts_of(t)))
        return fail(t.name, "shape " + detail::archive_shape_text(t.shape) + " does not fit its " + std::to_string(t.data.size()) + " bytes");
    QNT_TRY(declare(std::move(t.name), t.format, t.layout, std::move(t.shape), t.transform, t.outliers));
    tensors_.back().data = t.data;
    tensors_.back().columns = t.columns;
    tensors_.back().outlier_values = t.outlier_values;
    return {};
}

inline result<void> archive_writer::add(std::string name, const any_view<layout::panels>& w) {
    return add_tensor(detail::archive_tensor_of(std::move(name), w));
}

inline result<void> archive_writer::add(std::string name, any_matrix&& w) {
    QNT_TRY(add(std::move(name), w.view()));
    owned_.push_back(std::move(w));  // its bytes stay where they are
    return {};
}

inline result<void> archive_writer::finish(const std::string& path, executor_ref executor) {
    const auto write_all = [&]() -> result<void> {
        QNT_TRY(begin(path));
        for (const archive_tensor& t : tensors_) QNT_TRY(write_parts(t.name, parts_of(t), executor));
        return finish();
    };
    const auto r = write_all();
    file_.reset();
    return r;
}

}  // namespace qnt
