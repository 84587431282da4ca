// What readers of other systems' quantized checkpoints share: the tensors that one matrix is made of, found by name and checked.
#pragma once
#include <optional>

#include "../any_format.hpp"
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

inline std::uint32_t load_u32(const std::byte* p) {
    std::uint32_t v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

}  // namespace QNT_BASELINE
}  // namespace detail
}  // namespace qnt
