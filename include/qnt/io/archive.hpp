// The library's own file, `.qnt`: named matrices in panels, ready to be multiplied where they lie, beside arrays of any rank.
//
//     qnt::archive_writer out;
//     out.add("wte", matrix);                                   // a packed matrix or view; it must live until finish()
//     out.add("ln_f.bias", bias);                               // std::vector<float>
//     out.set_metadata("source", "gpt2/model.safetensors");
//     out.finish("gpt2.qnt").value();                           // atomic: the old file or the whole new one
//
//     auto file = qnt::archive::map("gpt2.qnt").value();        // instant; load() copies into huge pages, faster to compute with
//     auto wte  = file.get<qnt::nf4<64>>("wte").value();        // a view in place
//
// Opening checks the header, the index, their checksums and every length against the file, so that no view reaches outside of it.
// verify() reads the data too: one CRC-32C per MiB, and numbers that no writer makes. docs/file-format.md has the byte tables.
#pragma once
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
        end = t.data.data() + t.data.size();
    }
    return {};
}

inline void load_scalars(std::span<const std::byte> source, scalar_type type, std::span<float> out) {
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = load_scalar(source.data() + i * size_of(type), type);
}

// Fills in the checksums of the tensors.
inline result<void> write_archive(const std::string& path, std::span<archive_tensor> tensors, const archive_metadata& metadata,
                                  executor_ref executor) {
    for (archive_tensor& t : tensors) t.checksums = chunk_checksums(t.data, executor);
    archive_header h;
    h.tensors = static_cast<std::uint32_t>(tensors.size());
    h.index_bytes = encode_archive_index(tensors, metadata, 0).size();  // the size does not depend on the offsets
    h.data_offset = round_up(h.header_bytes + h.index_bytes, archive_page);
    const std::string index = encode_archive_index(tensors, metadata, h.data_offset);
    h.index_checksum = crc32c(std::as_bytes(std::span(index)));
    h.file_bytes = h.data_offset;
    for (const archive_tensor& t : tensors) h.file_bytes = round_up(h.file_bytes, line_bytes) + t.data.size();
    const auto header = std::as_bytes(std::span(&h, 1));
    h.checksum = crc32c(header.first(sizeof h - sizeof h.checksum));

    auto file = atomic_file_writer::create(path);
    if (!file) return file.error();
    const std::vector<std::byte> zeros(archive_page);
    const auto pad_to = [&](std::size_t alignment) { return file->write(std::span(zeros).first(round_up(file->size(), alignment) - file->size())); };
    QNT_TRY(file->write(header));
    QNT_TRY(file->write(std::as_bytes(std::span(index))));
    QNT_TRY(pad_to(archive_page));
    for (const archive_tensor& t : tensors) {
        QNT_TRY(pad_to(line_bytes));
        QNT_TRY(file->write(t.data));
    }
    return file->commit();
}

}  // namespace QNT_BASELINE
}  // namespace detail

class archive {
public:
    // In place: nothing is read but the header and the index. See mapped_file for what must not happen to the file meanwhile.
    // Errors: not_found, io, invalid_argument, corrupt, unsupported (another major version).
    static result<archive> map(const std::string& path) { return from(path, file_bytes::map(path)); }
    // Into huge pages of our own. Errors: also out_of_memory.
    static result<archive> load(const std::string& path) { return from(path, file_bytes::load(path)); }
    // Bytes that the caller keeps, aligned to 64; `name` is for messages.
    static result<archive> view(std::span<const std::byte> bytes, std::string name);

    std::span<const archive_tensor> tensors() const { return index_.tensors; }  // in the order of the file
    const archive_metadata& metadata() const { return index_.metadata; }
    std::size_t bytes() const { return bytes_.bytes().size(); }

    // Reads all data. Errors: corrupt, naming the first tensor and MiB whose checksum is wrong, or the value that no writer makes.
    result<void> verify(executor_ref executor = {}) const;

    // What follows points into the file and is valid as long as this object. Errors: not_found, invalid_argument (something else).
    result<const archive_tensor*> find(std::string_view name) const;
    template <format_type F>
        requires is_static_group<F>
    result<packed_view<F>> get(std::string_view name) const {
        const auto w = find_panels(name, detail::format_name(format_of<F>()));
        if (!w) return w.error();
        return packed_view<F>{w->shape, w->data};
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

// Collects matrices and arrays and writes them. Views are borrowed: what they show must live until finish().
class archive_writer {
public:
    // Errors: invalid_argument (a name that was added, is not UTF-8 or longer than 64 KiB), unsupported (a format of your own: no name
    // would tell a reader what it is).
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

    // Text beside the tensors: where the weights come from, how they were quantized. The last value of a key counts.
    // Errors: invalid_argument (not UTF-8, or longer than 2 GiB).
    result<void> set_metadata(std::string key, std::string value);

    // Writes the file: see atomic_file_writer. The executor computes the checksums. Errors: io, not_found, invalid_argument.
    result<void> finish(const std::string& path, executor_ref executor = {});

private:
    template <class T> result<void> add_array(std::string name, std::span<const T> values, std::vector<std::size_t> shape) {
        if (shape.empty()) shape = {values.size()};
        return add_tensor({std::move(name), format_of<dense_format<T>>(), archive_layout::array, std::move(shape), std::as_bytes(values), {}});
    }
    result<void> add_tensor(archive_tensor t);

    std::vector<archive_tensor> tensors_;
    std::set<std::string, std::less<>> names_;
    std::vector<any_matrix> owned_;
    archive_metadata metadata_;
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
    const auto at = std::lower_bound(index_.by_name.begin(), index_.by_name.end(), name,
                                     [&](std::size_t i, std::string_view n) { return index_.tensors[i].name < n; });
    if (at != index_.by_name.end() && index_.tensors[*at].name == name) return &index_.tensors[*at];
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
    return any_view<layout::panels>{w.format.info, w.format.shape(w.shape[0], w.shape[1]), w.data.data()};
}

inline result<std::vector<float>> archive::read_f32(std::string_view name) const {
    const auto t = find_as(name, archive_layout::array, "");
    if (!t) return t.error();
    std::vector<float> out((*t)->data.size() * 8 / std::size_t((*t)->format.info.bits));
    detail::load_scalars((*t)->data, detail::dense_type((*t)->format.info), out);
    return out;
}

inline result<void> archive_writer::add_tensor(archive_tensor t) {
    const auto fail = [&](errc code, const std::string& what) { return error{code, "archive_writer: tensor " + in_quotes(t.name) + ": " + what}; };
    if (t.name.size() > 0xffff || !is_utf8(t.name)) return fail(errc::invalid_argument, "the name must be UTF-8 of at most 65535 bytes");
    const auto known = any_format::parse(t.format.name());
    if (!known || !(*known == t.format)) return fail(errc::unsupported, "an archive cannot name its format " + in_quotes(t.format.name()));
    std::size_t bytes = 0;
    if (t.shape.size() > 0xffff || !detail::tensor_bytes_of(t, bytes) || bytes != t.data.size())
        return fail(errc::invalid_argument,
                    "shape " + detail::archive_shape_text(t.shape) + " does not fit its " + std::to_string(t.data.size()) + " bytes");
    if (!names_.insert(t.name).second) return fail(errc::invalid_argument, "was added before");
    tensors_.push_back(std::move(t));
    return {};
}

inline result<void> archive_writer::add(std::string name, const any_view<layout::panels>& w) {
    archive_tensor t{std::move(name), {w.format, w.shape.group}, archive_layout::panels, {w.shape.rows, w.shape.cols}, {}, {}};
    std::size_t bytes = 0;
    if (detail::tensor_bytes_of(t, bytes)) t.data = {w.data, bytes};
    return add_tensor(std::move(t));
}

inline result<void> archive_writer::add(std::string name, any_matrix&& w) {
    QNT_TRY(add(std::move(name), w.view()));
    owned_.push_back(std::move(w));  // its bytes stay where they are
    return {};
}

inline result<void> archive_writer::set_metadata(std::string key, std::string value) {
    if (!is_utf8(key) || !is_utf8(value) || key.size() >> 31 || value.size() >> 31)
        return error{errc::invalid_argument, "archive_writer: metadata " + in_quotes(key) + ": key and value must be UTF-8 of less than 2 GiB"};
    const auto at = std::find_if(metadata_.begin(), metadata_.end(), [&](const auto& m) { return m.first == key; });
    if (at != metadata_.end()) at->second = std::move(value);
    else metadata_.emplace_back(std::move(key), std::move(value));
    return {};
}

inline result<void> archive_writer::finish(const std::string& path, executor_ref executor) {
    return detail::write_archive(path, tensors_, metadata_, executor);
}

}  // namespace qnt
