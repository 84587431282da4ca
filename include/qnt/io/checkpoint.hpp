// What readers of other systems' quantized checkpoints share: the tensors that one matrix is made of, found by name and checked.
#pragma once
#include <optional>

#include "../any_format.hpp"
#include "json.hpp"
#include "safetensors.hpp"

namespace qnt {

// A tensor on its way into a safetensors file.
struct named_array {
    std::string name;
    safetensors_dtype dtype = safetensors_dtype::unknown;
    std::vector<std::size_t> shape;
    std::vector<std::byte> bytes;
};

namespace detail {
inline namespace QNT_BASELINE {

inline error bad_tensor(const safetensors_file& file, std::string_view name, const std::string& what, errc code = errc::corrupt) {
    return {code, printable(file.path(), 4096) + ": tensor " + in_quotes(name) + ": " + what};
}
inline bool has_tensor(const safetensors_file& file, std::string_view name) { return file.find(name).has_value(); }

// A tensor of exactly this type and shape.
inline result<std::span<const std::byte>> find_part(const safetensors_file& file, std::string_view name, safetensors_dtype dtype,
                                                    std::span<const std::size_t> shape) {
    const auto found = file.find(name);
    if (!found) return found.error();
    const safetensors_tensor& t = **found;
    if (t.dtype != dtype)
        return bad_tensor(file, name, "dtype " + in_quotes(t.dtype_text) + ", must be " + safetensors_dtypes[std::size_t(dtype)].name);
    if (!std::equal(t.shape.begin(), t.shape.end(), shape.begin(), shape.end()))
        return bad_tensor(file, name, "shape " + shape_text(t.shape) + ", must be " + shape_text(shape));
    return t.data;
}

// A tensor [rows, cols] of 32-bit words, as GPTQ and AWQ pack codes into.
inline result<const safetensors_tensor*> find_words(const safetensors_file& file, std::string_view name) {
    const auto found = file.find(name);
    if (!found) return found;
    const safetensors_tensor& t = **found;
    if (t.dtype != safetensors_dtype::i32)
        return bad_tensor(file, name, "dtype " + in_quotes(t.dtype_text) + ", only I32 words can be read", errc::unsupported);
    if (t.shape.size() != 2 || t.elements == 0) return bad_tensor(file, name, "shape " + shape_text(t.shape) + ", must be of rank 2 and not empty");
    return found;
}

inline result<void> check_finite(const safetensors_file& file, std::string_view name, std::span<const float> values) {
    for (std::size_t i = 0; i < values.size(); ++i)
        if (!is_finite(values[i])) return bad_tensor(file, name, "element " + std::to_string(i) + " is not a finite number", errc::not_finite);
    return {};
}

// Finite numbers of this shape, from F32, F16 or BF16.
inline result<std::vector<float>> read_part_f32(const safetensors_file& file, std::string_view name, std::span<const std::size_t> shape) {
    const auto found = file.find(name);
    if (!found) return found.error();
    if (!std::equal((*found)->shape.begin(), (*found)->shape.end(), shape.begin(), shape.end()))
        return bad_tensor(file, name, "shape " + shape_text((*found)->shape) + ", must be " + shape_text(shape));
    auto values = file.read_f32(name);
    if (values) QNT_TRY(check_finite(file, name, *values));
    return values;
}

// The fields of a JSON object, or of its member "quantization_config" if it has one: field(reader, key) -> result<void> reads one value.
// Fields that are null count as missing.
template <class Field> result<void> read_quantization_config(std::string_view text, Field&& field) {
    constexpr std::string_view member = "quantization_config";
    bool is_inside = false;
    json_reader look(text);
    QNT_TRY(look.object([&](std::string_view key) {
        is_inside = is_inside || key == member;
        return look.skip();
    }));
    QNT_TRY(look.end());
    json_reader in(text);
    const auto read = [&](std::string_view key) -> result<void> {
        const auto r = in.next() == json_kind::null ? in.null() : field(in, key);
        return r ? r : error{r.error().code, "field " + in_quotes(key) + ": " + r.error().message};
    };
    return in.object([&](std::string_view key) { return !is_inside ? read(key) : key == member ? in.object(read) : in.skip(); });
}
template <class T, class U> result<void> assign(T& to, result<U> value) {
    if (!value) return value.error();
    to = std::move(*value);
    return {};
}

// Of groups of columns; 0: "-1", one group is a whole row.
inline result<std::uint64_t> read_group_size(json_reader& in) {
    std::uint64_t size = 0;
    const auto number = in.number();
    if (!number) return number.error();
    if (*number != "-1" && !parse_number(*number, size)) return in.fail(printable(*number) + " is no group size");
    return size;
}
inline std::string lower_case(std::string s) {
    for (char& c : s) c = c >= 'A' && c <= 'Z' ? char(c + ('a' - 'A')) : c;
    return s;
}

inline std::uint32_t load_u32(const std::byte* p) {
    std::uint32_t v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

}  // namespace QNT_BASELINE
}  // namespace detail
}  // namespace qnt
