// Any file of weights as one checkpoint: what it is, its content says.
//
//     auto file = qnt::checkpoint_file::open("gpt2/").value();                 // a folder or file of safetensors, a .gguf, a .qnt
//     for (const qnt::checkpoint_tensor& t : file.tensors()) use(t.name, t.shape, t.stored_as, t.read);
//     auto report = qnt::quantize_model(file.tensors(), policy, "out.qnt");    // codes that the policy asks for are taken over as they are
//
// A matrix of bitsandbytes, GPTQ or AWQ is one tensor, not the several that it is stored as: see composed_tensor.hpp. Of the latter two zero
// points and scales are read when the file is opened, no codes (but see find_gptq). The tensors keep the file open: they may outlive the
// checkpoint_file.
#pragma once
#include <filesystem>
#include <memory>
#include <set>

#include "../io/gguf.hpp"
#include "composed_tensor.hpp"

namespace qnt {

// What the first bytes of a file say; safetensors begin with a length, so they are what is neither of the others.
enum class weights_kind { safetensors, gguf, archive };
inline namespace QNT_BASELINE {
// Errors: not_found, io, invalid_argument (not a regular file).
inline result<weights_kind> weights_kind_of(const std::string& path) {
    const auto file = mapped_file::open(path);
    if (!file) return file.error();
    const detail::archive_header h;
    const auto begins = [&](const void* magic, std::size_t n) {
        return file->bytes().size() >= n && std::memcmp(file->bytes().data(), magic, n) == 0;
    };
    return begins("GGUF", 4) ? weights_kind::gguf : begins(h.magic, sizeof h.magic) ? weights_kind::archive : weights_kind::safetensors;
}
}  // namespace QNT_BASELINE

class checkpoint_file {
public:
    // A file is what its first bytes say; of folders and indices see safetensors_shards. The executor decodes, and must outlive the
    // tensors. Errors: those of the readers, naming the file.
    static result<checkpoint_file> open(const std::string& path, executor_ref executor = {}) { return from(path, false, executor); }
    // The same from copies in memory of our own: see read_file. Errors: also out_of_memory.
    static result<checkpoint_file> load(const std::string& path, executor_ref executor = {}) { return from(path, true, executor); }

    const std::string& path() const { return path_; }            // as given to open()
    const std::string& folder() const { return folder_; }        // where other files of the model lie
    const checkpoint& tensors() const { return tensors_; }       // in the order of the file, under the names there
    const checkpoint_tensor* find(std::string_view name) const;  // null: no such tensor

    // What it was read from; the others are null.
    const std::shared_ptr<const safetensors_shards>& as_safetensors() const { return safetensors_; }
    const std::shared_ptr<const gguf_file>& as_gguf() const { return gguf_; }
    const std::shared_ptr<const archive>& as_archive() const { return archive_; }

private:
    static result<checkpoint_file> from(const std::string& path, bool in_memory, executor_ref executor);
    result<void> read(bool in_memory, executor_ref executor);
    result<void> add(std::shared_ptr<const safetensors_shards> shards, executor_ref executor);
    result<void> add(std::shared_ptr<const gguf_file> file, executor_ref executor);
    result<void> add(std::shared_ptr<const archive> file, executor_ref executor);

    std::string path_, folder_;
    checkpoint tensors_;
    std::vector<std::size_t> by_name_;  // indices of tensors_, names ascending
    std::shared_ptr<const safetensors_shards> safetensors_;
    std::shared_ptr<const gguf_file> gguf_;
    std::shared_ptr<const archive> archive_;
};

namespace detail {
inline namespace QNT_BASELINE {

// A matrix of an archive as f32.
inline result<std::vector<float>> read_panels(const archive& file, const std::string& name, executor_ref executor) {
    const auto w = file.get_any(name);
    if (!w) return w.error();
    std::vector<float> values(w->shape.rows * w->shape.cols);  // its codes are in the file: no overflow
    dequantize(matrix_view<float>{values.data(), w->shape.rows, w->shape.cols}, *w, executor);
    return values;
}

inline result<any_matrix> copy_panels(const archive& file, const archive_tensor& t) {
    const auto w = file.get_any(t.name);  // its columns are checked
    if (!w) return w.error();
    auto bytes = aligned_buffer::allocate(streamed_bytes(w->format, w->shape));
    if (!bytes) return bytes.error();
    std::memcpy(bytes->data(), w->data, bytes->size());
    std::vector<std::uint32_t> columns(t.columns.begin(), t.columns.end());
    if (t.transform != input_transform::outliers) return any_matrix(t.format, w->shape, std::move(*bytes), std::move(columns));
    return any_matrix(t.format, w->shape, std::move(*bytes), outlier_columns{std::move(columns), {t.outlier_values.begin(), t.outlier_values.end()}});
}

// The bytes of little-endian f32 as such, if they are aligned; else nothing.
inline std::span<const float> floats_in(std::span<const std::byte> bytes) {
    if (reinterpret_cast<std::uintptr_t>(bytes.data()) % alignof(float) != 0) return {};
    return {reinterpret_cast<const float*>(bytes.data()), bytes.size() / sizeof(float)};
}

}  // namespace QNT_BASELINE
}  // namespace detail

inline result<void> checkpoint_file::add(std::shared_ptr<const safetensors_shards> shards, executor_ref executor) {
    const auto is_words = [](const safetensors_tensor& t) { return t.name.ends_with(".qweight") || t.name.ends_with(".qzeros"); };
    detail::quantization_config config;
    if (std::any_of(shards->tensors().begin(), shards->tensors().end(), is_words)) {
        auto found = detail::find_quantization_config(folder_);
        if (!found) return found.error();
        config = std::move(*found);
    }
    for (const safetensors_file& file : shards->files()) {
        std::vector<checkpoint_tensor> here;
        std::set<std::string, std::less<>> parts;
        for (const safetensors_tensor& t : file.tensors()) {
            auto composed = detail::compose_tensor(shards, file, t.name, config, executor);
            if (!composed) return composed.error();
            if (*composed) {
                const checkpoint_tensor& c = here.emplace_back(std::move(**composed));
                parts.insert(c.parts.begin(), c.parts.end());
                parts.erase(c.name);
            } else {
                checkpoint_tensor& plain = here.emplace_back(checkpoint_tensor{.name = t.name, .shape = t.shape, .stored_as = t.dtype_text});
                plain.read = [shards, &file, &t] { return file.read_f32(t.name); };
                if (t.dtype == safetensors_dtype::f32) plain.in_place = detail::floats_in(t.data);
            }
        }
        for (checkpoint_tensor& t : here) {
            if (parts.contains(t.name)) continue;
            t.forget = [shards, &file, names = t.parts.empty() ? std::vector{t.name} : t.parts] {
                for (const std::string& name : names)
                    if (const auto part = file.find(name)) file.forget(**part);
            };
            tensors_.push_back(std::move(t));
        }
    }
    safetensors_ = std::move(shards);
    return {};
}

inline result<void> checkpoint_file::add(std::shared_ptr<const gguf_file> file, executor_ref executor) {
    for (const gguf_tensor& t : file->tensors()) {
        checkpoint_tensor c{.name = t.name, .shape = t.shape, .stored_as = find_gguf_type(t.type)->name};
        c.read = [file, &t, executor] { return file->read_f32(t.name, executor); };
        c.forget = [file, &t] { file->forget(t); };
        if (t.type == std::uint32_t(gguf_type::f32)) c.in_place = detail::floats_in(t.data);
        c.packed_format = t.shape.size() == 2 ? gguf_file::grid_of(t) : std::nullopt;
        if (c.packed_format) c.read_packed = [file, &t, executor] { return file->read_packed(t.name, executor); };
        tensors_.push_back(std::move(c));
    }
    gguf_ = std::move(file);
    return {};
}

inline result<void> checkpoint_file::add(std::shared_ptr<const archive> file, executor_ref executor) {
    for (const archive_tensor& t : file->tensors()) {
        checkpoint_tensor c{.name = t.name, .shape = t.shape, .is_array = t.layout == archive_layout::array, .stored_as = t.format.name()};
        c.read = [file, &t, executor] {
            return t.layout == archive_layout::array ? file->read_f32(t.name) : detail::read_panels(*file, t.name, executor);
        };
        c.forget = [file, &t] { file->forget(t); };
        if (!c.is_array) {
            c.packed_format = t.format;
            c.packed_transform = t.transform;
            c.packed_outliers = t.outliers;
            c.read_packed = [&t, file] { return detail::copy_panels(*file, t); };
        }
        tensors_.push_back(std::move(c));
    }
    archive_ = std::move(file);
    return {};
}

inline result<void> checkpoint_file::read(bool in_memory, executor_ref executor) {
    const auto take = [&](auto file) -> result<void> {
        if (!file) return file.error();
        using type = std::remove_cvref_t<decltype(*file)>;
        return add(std::make_shared<const type>(std::move(*file)), executor);
    };
    std::error_code ignored;
    if (std::filesystem::is_directory(path_, ignored) || path_.ends_with(".json"))
        return take(in_memory ? safetensors_shards::load(path_) : safetensors_shards::open(path_));
    const auto kind = weights_kind_of(path_);
    if (!kind) return kind.error();
    if (*kind == weights_kind::archive) return take(in_memory ? archive::load(path_) : archive::map(path_));
    if (*kind == weights_kind::gguf) return take(in_memory ? gguf_file::load(path_) : gguf_file::open(path_));
    return take(in_memory ? safetensors_shards::load(path_) : safetensors_shards::open(path_));
}

inline result<checkpoint_file> checkpoint_file::from(const std::string& path, bool in_memory, executor_ref executor) {
    checkpoint_file c;
    c.path_ = path;
    std::error_code ignored;
    c.folder_ = std::filesystem::is_directory(path, ignored) ? path : std::filesystem::path(path).parent_path().string();
    QNT_TRY(c.read(in_memory, executor));
    c.by_name_ = detail::order_by_name(c.tensors_, &checkpoint_tensor::name);
    return c;
}

inline const checkpoint_tensor* checkpoint_file::find(std::string_view name) const {
    return detail::find_by_name(tensors_, by_name_, name, &checkpoint_tensor::name);
}

}  // namespace qnt
