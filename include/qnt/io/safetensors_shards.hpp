// A model in one safetensors file or in several, as one list of tensors.
//
//     auto model = qnt::safetensors_shards::open("models/llama").value();       // a folder, an index, or a .safetensors file
//     std::vector<float> w = model.read_f32("model.norm.weight").value();
//
// Several files come with an index `model.safetensors.index.json`: {"metadata": {"total_size": BYTES}, "weight_map": {TENSOR: FILE}}
// (transformers and huggingface_hub write it). The index is held to: a file is a plain name in the folder of the index, so that nothing
// else can be opened; every tensor it maps is in that file, and every tensor of the files is mapped to the file that has it (one that
// is not would be lost without a word); total_size, where it is an integer, is the sum of their bytes. Other fields are ignored.
#pragma once
#include <dirent.h>

#include <map>
#include <memory>

#include "safetensors.hpp"

namespace qnt {

class safetensors_shards {
public:
    static constexpr std::size_t max_index_bytes = 100'000'000;

    // In place, see mapped_file; a name that ends in ".json" is an index. Of a folder: model.safetensors, else
    // model.safetensors.index.json, else its only *.safetensors. Errors: not_found, io, invalid_argument, corrupt.
    static result<safetensors_shards> open(const std::string& path) { return open_as(path, safetensors_file::open); }
    // From copies in memory of our own. Errors: also out_of_memory.
    static result<safetensors_shards> load(const std::string& path) { return open_as(path, safetensors_file::load); }

    std::span<const safetensors_file> files() const { return files_; }        // names ascending
    std::span<const safetensors_tensor> tensors() const { return tensors_; }  // file by file, each in the order of its header

    // As those of safetensors_file.
    result<const safetensors_tensor*> find(std::string_view name) const {
        const auto at = place_of(name);
        return at ? result<const safetensors_tensor*>(&tensors_[*at]) : at.error();
    }
    result<std::vector<float>> read_f32(std::string_view name) const {
        const auto at = place_of(name);
        return at ? files_[file_of_[*at]].read_f32(name) : at.error();
    }
    result<void> read_f32(std::string_view name, std::span<float> out) const {
        const auto at = place_of(name);
        return at ? files_[file_of_[*at]].read_f32(name, out) : at.error();
    }
    void forget(const safetensors_tensor& t) const {
        if (const auto at = place_of(t.name)) files_[file_of_[*at]].forget(tensors_[*at]);
    }

private:
    using opener = result<safetensors_file> (*)(const std::string&);
    static result<safetensors_shards> open_as(const std::string& path, opener open);
    result<std::size_t> place_of(std::string_view name) const;
    result<void> add(safetensors_file file);

    std::string path_;
    std::vector<safetensors_file> files_;
    std::vector<safetensors_tensor> tensors_;
    std::vector<std::size_t> file_of_;                          // of each tensor
    std::map<std::string, std::size_t, std::less<>> place_of_;  // in tensors_
};

namespace detail {

struct shard_index {
    std::map<std::string, std::string, std::less<>> file_of;  // of each tensor
    bool has_total = false;
    std::uint64_t total_size = 0;
};

inline namespace QNT_BASELINE {

inline bool is_plain_file_name(std::string_view name) {
    return !name.empty() && name != "." && name != ".." && name.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos;
}

// Errors: corrupt, naming tensor or field and the byte offset.
inline result<shard_index> parse_shard_index(std::string_view text) {
    shard_index index;
    bool has_map = false;
    json_reader in(text);
    const auto read_metadata = [&](std::string_view key) -> result<void> {
        if (key != "total_size" || in.next() != json_kind::number) return in.skip();
        const auto number = in.number();
        if (!number) return number.error();
        index.has_total = parse_number(*number, index.total_size);  // some writers make it a decimal fraction
        return {};
    };
    const auto read_place = [&](std::string_view tensor) -> result<void> {
        const std::string where = " (byte offset " + std::to_string(in.offset()) + ')';
        auto file = in.string();
        if (!file) return error{file.error().code, "weight_map, tensor " + in_quotes(tensor) + ": " + file.error().message};
        if (!is_plain_file_name(*file))
            return error{errc::corrupt, "weight_map, tensor " + in_quotes(tensor) + where + ": the shard " + in_quotes(*file) +
                                            " must be a plain file name in the folder of the index, not a path"};
        index.file_of.emplace(tensor, std::move(*file));
        return {};
    };
    QNT_TRY(in.object([&](std::string_view key) -> result<void> {
        if (key == "weight_map") return has_map = true, in.object(read_place);
        if (key == "metadata" && in.next() == json_kind::object) return in.object(read_metadata);
        return in.skip();
    }));
    QNT_TRY(in.end());
    if (!has_map) return error{errc::corrupt, "field \"weight_map\" is missing: no index of safetensors files"};
    return index;
}

inline bool exists(const std::string& path, bool is_folder) {
    struct stat status {};
    return ::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode) == is_folder;
}

struct close_folder {
    void operator()(DIR* folder) const { ::closedir(folder); }
};

// The file or index of a folder. Errors: not_found, io, invalid_argument (several files and no index).
inline result<std::string> find_safetensors_in(const std::string& folder) {
    const std::string prefix = folder.ends_with('/') ? folder : folder + '/';
    for (const char* name : {"model.safetensors", "model.safetensors.index.json"})
        if (exists(prefix + name, false)) return prefix + name;
    const std::unique_ptr<DIR, close_folder> listing(::opendir(folder.c_str()));
    if (!listing) return system_error(folder, "cannot list the folder");
    std::vector<std::string> found;
    errno = 0;
    for (const dirent* entry = nullptr; (entry = ::readdir(listing.get())) != nullptr; errno = 0)
        if (std::string_view(entry->d_name).ends_with(".safetensors")) found.push_back(prefix + entry->d_name);
    if (errno != 0) return system_error(folder, "cannot list the folder");
    if (found.size() == 1) return found[0];
    return error{found.empty() ? errc::not_found : errc::invalid_argument,
                 printable(folder, 4096) + ": has " + (found.empty() ? "no" : std::to_string(found.size())) +
                     " *.safetensors files and no model.safetensors.index.json" + (found.empty() ? "" : " that tells what they are")};
}

inline result<shard_index> read_shard_index(const std::string& path) {
    const auto bytes = read_file(path, safetensors_shards::max_index_bytes);
    if (!bytes) return bytes.error();
    auto index = parse_shard_index({reinterpret_cast<const char*>(bytes->data()), bytes->size()});
    if (!index) return error{index.error().code, printable(path, 4096) + ": index: " + index.error().message};
    return index;
}

}  // namespace QNT_BASELINE
}  // namespace detail

inline result<safetensors_shards> safetensors_shards::open_as(const std::string& path, opener open) {
    std::string file = path;
    if (detail::exists(path, true)) {
        auto found = detail::find_safetensors_in(path);
        if (!found) return found.error();
        file = std::move(*found);
    }
    safetensors_shards s;
    s.path_ = file;
    if (!file.ends_with(".json")) {
        auto single = open(file);
        if (!single) return single.error();
        QNT_TRY(s.add(std::move(*single)));
        return s;
    }
    const auto index = detail::read_shard_index(file);
    if (!index) return index.error();
    const auto fail = [&](const std::string& what) { return error{errc::corrupt, printable(file, 4096) + ": index: " + what}; };
    std::map<std::string, std::size_t> number_of;  // of each file
    for (const auto& [tensor, name] : index->file_of) number_of.emplace(name, 0);
    for (auto& [name, number] : number_of) {
        auto shard = open(file.substr(0, file.rfind('/') + 1) + name);
        if (!shard) return error{shard.error().code, printable(file, 4096) + ": index: shard " + in_quotes(name) + ": " + shard.error().message};
        number = s.files_.size();
        QNT_TRY(s.add(std::move(*shard)));
    }
    std::uint64_t total = 0;
    for (const auto& [tensor, name] : index->file_of) {
        const auto at = s.place_of_.find(tensor);
        if (at == s.place_of_.end() || s.file_of_[at->second] != number_of[name])
            return fail("weight_map, tensor " + in_quotes(tensor) + ": is not in its shard " + in_quotes(name));
        total += s.tensors_[at->second].data.size();  // of mapped files: cannot overflow
    }
    for (const safetensors_tensor& t : s.tensors_)
        if (!index->file_of.contains(t.name)) return fail("weight_map does not name tensor " + in_quotes(t.name) + ", which a shard has");
    if (index->has_total && index->total_size != total)
        return fail("metadata, total_size is " + std::to_string(index->total_size) + ", the tensors have " + std::to_string(total) + " bytes");
    return s;
}

inline result<void> safetensors_shards::add(safetensors_file file) {
    for (const safetensors_tensor& t : file.tensors()) {
        if (!place_of_.emplace(t.name, tensors_.size()).second)
            return error{errc::corrupt, printable(path_, 4096) + ": index: tensor " + in_quotes(t.name) + " is in two shards"};
        tensors_.push_back(t);
        file_of_.push_back(files_.size());
    }
    files_.push_back(std::move(file));
    return {};
}

inline result<std::size_t> safetensors_shards::place_of(std::string_view name) const {
    const auto at = place_of_.find(name);
    if (at != place_of_.end()) return at->second;
    return error{errc::not_found, printable(path_, 4096) + ": there is no tensor " + in_quotes(name)};
}

}  // namespace qnt
