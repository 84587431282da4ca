// Any file of weights as one checkpoint: what it is, its content says.
//
//     auto file = qnt::checkpoint_file::open("gpt2/").value();                 // a folder with model.safetensors, or the file itself, or a .qnt
//     for (const qnt::checkpoint_tensor& t : file.tensors()) use(t.name, t.shape, t.stored_as, t.read);
//     auto report = qnt::quantize_model(file.tensors(), policy, "out.qnt");    // stored codes stay as they are where the policy asks for their format
//
// The tensors keep the file open: they may outlive the checkpoint_file.
#pragma once
#include <sys/stat.h>
#include <memory>

#include "../io/safetensors.hpp"
#include "quantize_model.hpp"

namespace qnt {

class checkpoint_file {
public:
    // Errors: those of the readers, naming the file.
    static result<checkpoint_file> open(const std::string& path);

    const std::string& path() const { return path_; }            // of the file that was found
    const checkpoint& tensors() const { return tensors_; }       // in the order of the file, under the names there
    const checkpoint_tensor* find(std::string_view name) const;  // null: no such tensor

    // What it was read from; the others are null.
    const std::shared_ptr<const archive>& as_archive() const { return archive_; }
    const std::shared_ptr<const safetensors_file>& as_safetensors() const { return safetensors_; }

private:
    void add(std::shared_ptr<const safetensors_file> file);
    void add(std::shared_ptr<const archive> file);

    std::string path_;
    checkpoint tensors_;
    std::vector<std::size_t> by_name_;  // indices of tensors_, names ascending
    std::shared_ptr<const archive> archive_;
    std::shared_ptr<const safetensors_file> safetensors_;
};

namespace detail {
inline namespace QNT_BASELINE {

// The first bytes of a file: enough to tell what it is.
inline result<std::string> read_head(const std::string& path) {
    const auto file = mapped_file::open(path);
    if (!file) return file.error();
    const auto head = file->bytes().first(std::min<std::size_t>(file->bytes().size(), 8));
    return std::string(reinterpret_cast<const char*>(head.data()), head.size());
}

inline bool is_folder(const std::string& path) {
    struct stat status {};
    return path.find('\0') == std::string::npos && ::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}
inline bool is_there(const std::string& path) {
    struct stat status {};
    return path.find('\0') == std::string::npos && ::stat(path.c_str(), &status) == 0;
}

inline bool is_archive(std::string_view head) {
    const archive_header h;
    return head == std::string_view(reinterpret_cast<const char*>(h.magic), sizeof h.magic);
}

// A matrix of an archive as f32.
inline result<std::vector<float>> read_panels(const archive& file, const std::string& name) {
    const auto w = file.get_any(name);
    if (!w) return w.error();
    std::vector<float> values(w->shape.rows * w->shape.cols);  // its codes are in the file: no overflow
    dequantize(matrix_view<float>{values.data(), w->shape.rows, w->shape.cols}, *w);
    return values;
}

inline result<any_matrix> copy_panels(const archive_tensor& t) {
    auto bytes = aligned_buffer::allocate(t.data.size());
    if (!bytes) return bytes.error();
    std::memcpy(bytes->data(), t.data.data(), t.data.size());
    return any_matrix(t.format, t.format.shape(t.shape[0], t.shape[1]), std::move(*bytes));
}

}  // namespace QNT_BASELINE
}  // namespace detail

inline void checkpoint_file::add(std::shared_ptr<const safetensors_file> file) {
    for (const safetensors_tensor& t : file->tensors())
        tensors_.push_back(
            {.name = t.name, .shape = t.shape, .read = [file, name = t.name] { return file->read_f32(name); }, .stored_as = t.dtype_text});
    safetensors_ = std::move(file);
}

inline void checkpoint_file::add(std::shared_ptr<const archive> file) {
    for (const archive_tensor& t : file->tensors()) {
        checkpoint_tensor c{.name = t.name, .shape = t.shape, .stored_as = t.format.name()};
        if (t.layout == archive_layout::panels) {
            c.read = [file, name = t.name] { return detail::read_panels(*file, name); };
            c.packed_format = t.format;
            c.read_packed = [file, &t] { return detail::copy_panels(t); };
        } else {
            c.is_array = true;
            c.read = [file, name = t.name] { return file->read_f32(name); };
        }
        tensors_.push_back(std::move(c));
    }
    archive_ = std::move(file);
}

inline result<checkpoint_file> checkpoint_file::open(const std::string& path) {
    checkpoint_file c;
    c.path_ = path;
    if (detail::is_folder(path)) {
        c.path_ += c.path_.ends_with('/') ? "" : "/";
        c.path_ += "model.safetensors";
        if (!detail::is_there(c.path_))
            return error{errc::not_found,
                         printable(path, 4096) + ": there is no model.safetensors in this folder; a .gguf or .qnt file can be named itself"};
    }
    const auto head = detail::read_head(c.path_);
    if (!head) return head.error();
    if (detail::is_archive(*head)) {
        auto file = archive::map(c.path_);
        if (!file) return file.error();
        c.add(std::make_shared<const archive>(std::move(*file)));
    } else {
        auto file = safetensors_file::open(c.path_);
        if (!file) return file.error();
        c.add(std::make_shared<const safetensors_file>(std::move(*file)));
    }
    for (std::size_t i = 0; i < c.tensors_.size(); ++i) c.by_name_.push_back(i);
    std::sort(c.by_name_.begin(), c.by_name_.end(), [&](std::size_t a, std::size_t b) { return c.tensors_[a].name < c.tensors_[b].name; });
    return c;
}

inline const checkpoint_tensor* checkpoint_file::find(std::string_view name) const {
    const auto at = std::lower_bound(by_name_.begin(), by_name_.end(), name, [&](std::size_t i, std::string_view n) { return tensors_[i].name < n; });
    return at != by_name_.end() && tensors_[*at].name == name ? &tensors_[*at] : nullptr;
}

}  // namespace qnt
