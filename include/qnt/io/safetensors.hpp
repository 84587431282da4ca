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
#include <vector>

#include "../core/half.hpp"
#include "file.hpp"
#include "json.hpp"

namespace qnt {

enum class safetensors_dtype : std::uint8_t {
    unknown, boolean, f4, f6_e2m3, f6_e3m2, u8, i8, f8_e5m2, f8_e4m3, f8_e8m0, f8_e4m3fnuz, f8_e5m2fnuz, i16, u16, f16, bf16, i32, u32, f32, c64, f64, i64, u64,
};

struct safetensors_dtype_info {
    safetensors_dtype dtype;
    const char* name;  // in files
    std::size_t bits;  // of an element
};
inline constexpr safetensors_dtype_info safetensors_dtypes[] = {
    {safetensors_dtype::boolean, "BOOL", 8},        {safetensors_dtype::f4, "F4", 4},           {safetensors_dtype::f6_e2m3, "F6_E2M3", 6},
    {safetensors_dtype::f6_e3m2, "F6_E3M2", 6},     {safetensors_dtype::u8, "U8", 8},           {safetensors_dtype::i8, "I8", 8},
    {safetensors_dtype::f8_e5m2, "F8_E5M2", 8},     {safetensors_dtype::f8_e4m3, "F8_E4M3", 8}, {safetensors_dtype::f8_e8m0, "F8_E8M0", 8},
    {safetensors_dtype::f8_e4m3fnuz, "F8_E4M3FNUZ", 8}, {safetensors_dtype::f8_e5m2fnuz, "F8_E5M2FNUZ", 8}, {safetensors_dtype::i16, "I16", 16},
    {safetensors_dtype::u16, "U16", 16},            {safetensors_dtype::f16, "F16", 16},        {safetensors_dtype::bf16, "BF16", 16},
    {safetensors_dtype::i32, "I32", 32},            {safetensors_dtype::u32, "U32", 32},        {safetensors_dtype::f32, "F32", 32},
    {safetensors_dtype::c64, "C64", 64},            {safetensors_dtype::f64, "F64", 64},        {safetensors_dtype::i64, "I64", 64},
    {safetensors_dtype::u64, "U64", 64},
};

struct safetensors_tensor {
    std::string name;
    safetensors_dtype dtype = safetensors_dtype::unknown;
    std::string dtype_text;                // as the file says it
    std::vector<std::size_t> shape;        // row-major; rank 0 is one element
    std::span<const std::byte> data;       // in place, at any alignment
    std::size_t elements = 0;              // product of the shape
};

class safetensors_file {
public:
    static constexpr std::size_t max_header_bytes = 100'000'000;

    // In place: see mapped_file for what the file must not do meanwhile. Errors: not_found, io, corrupt.
    static result<safetensors_file> open(const std::string& path) { return from(path, file_bytes::map(path)); }
    // From a copy in memory of our own. Errors: also out_of_memory.
    static result<safetensors_file> load(const std::string& path) { return from(path, file_bytes::load(path)); }
    // Bytes of the caller's, who keeps them; `name` is for messages.
    static result<safetensors_file> view(std::span<const std::byte> bytes, std::string name) { return from(std::move(name), file_bytes(bytes)); }

    std::span<const safetensors_tensor> tensors() const { return tensors_; }  // in the order of the header
    std::span<const std::pair<std::string, std::string>> metadata() const { return metadata_; }
    const std::string& path() const { return path_; }

    // Errors: not_found.
    result<const safetensors_tensor*> find(std::string_view name) const;
    // All elements as f32, row-major; from F32, F16 and BF16, so nothing is rounded. Errors: not_found, unsupported (another dtype).
    result<std::vector<float>> read_f32(std::string_view name) const;
    // The same into out[elements]. Errors: also invalid_argument (another size).
    result<void> read_f32(std::string_view name, std::span<float> out) const;

private:
    friend class safetensors_parser;
    static result<safetensors_file> from(std::string path, result<file_bytes> bytes);

    std::string path_;
    file_bytes bytes_;
    std::vector<safetensors_tensor> tensors_;
    std::vector<std::size_t> by_name_;  // indices into tensors_
    std::vector<std::pair<std::string, std::string>> metadata_;
};

namespace detail {
inline namespace QNT_BASELINE {

inline bool multiply(std::size_t& product, std::size_t factor) { return !__builtin_mul_overflow(product, factor, &product); }

// What a file that should be something else begins with, for the message; "" if it is nothing known.
inline const char* describe_file(std::span<const std::byte> bytes) {
    const std::string_view head(reinterpret_cast<const char*>(bytes.data()), std::min<std::size_t>(bytes.size(), 64));
    const auto text = head.substr(std::min(head.find_first_not_of(" \t\r\n"), head.size()));
    if (head.starts_with("PK\3\4")) return " (it begins like a zip archive, such as a PyTorch checkpoint)";
    if (head.starts_with("\x80\2") || head.starts_with("\x80\3") || head.starts_with("\x80\4")) return " (it begins like a Python pickle)";
    if (head.starts_with("GGUF")) return " (it begins like a GGUF file)";
    if (head.starts_with("version https://git-lfs")) return " (it is a Git LFS pointer: fetch the file itself with `git lfs pull`)";
    if (text.starts_with("<")) return " (it begins like a web page)";
    if (text.starts_with("{")) return " (it begins like JSON without the length before it)";
    return "";
}

}  // namespace QNT_BASELINE
}  // namespace detail
}  // namespace qnt
