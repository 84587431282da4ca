// The matrices of bitsandbytes, GPTQ and AWQ: what can be packed decodes to the f32 that the other way out gives, and what bitsandbytes
// tensors we write from it are read. A text is a configuration of GPTQ or AWQ.
#include <qnt/io/awq.hpp>
#include <qnt/io/bitsandbytes.hpp>
#include <qnt/io/gptq.hpp>

#include <cmath>

#include "checkpoint_input.hpp"
#include "fuzz.hpp"

namespace {

std::vector<float> decoded(const qnt::any_matrix& w) {
    std::vector<float> v(w.rows() * w.cols());
    qnt::dequantize(qnt::matrix_view<float>{v.data(), w.rows(), w.cols()}, w.view());
    return v;
}

bool is_close(float a, float b) { return std::fabs(double(a) - double(b)) <= 0x1p-22 * std::fabs(double(b)) + 0x1p-140; }

void check_rewritten(const std::vector<float>& values, std::size_t rows, std::size_t cols, unsigned options) {
    using kind = qnt::bitsandbytes_kind;
    qnt::bitsandbytes_options o{.kind = options % 3 == 0 ? kind::nf4 : options % 3 == 1 ? kind::fp4 : kind::llm_int8};
    o.nested = o.kind != kind::llm_int8 && options % 2 == 1;
    const auto tensors = qnt::write_bitsandbytes("fc.weight", {values.data(), rows, cols}, o);
    if (!tensors) return void(fuzz::refused(tensors.error()));
    const std::string image = fuzz::safetensors_image(*tensors);
    const auto file = qnt::safetensors_file::view(fuzz::bytes(image), "written");
    FUZZ_CHECK(file.has_value());
    const auto again = qnt::read_bitsandbytes_f32(*file, "fc.weight");
    FUZZ_CHECK(again.has_value() && again->size() == values.size());
}

void check_bitsandbytes(const qnt::safetensors_file& file, unsigned options) {
    const auto what = qnt::find_bitsandbytes(file, "fc.weight");
    if (!what) return void(fuzz::refused(what.error()));
    if (!*what) return FUZZ_CHECK(!qnt::read_bitsandbytes(file, "fc.weight").has_value());
    const auto packed = qnt::read_bitsandbytes(file, "fc.weight");
    const auto values = qnt::read_bitsandbytes_f32(file, "fc.weight");
    if (!values) fuzz::refused(values.error());
    if (!packed) return void(fuzz::refused(packed.error()));
    FUZZ_CHECK(values.has_value() && packed->rows() * packed->cols() == values->size());
    const auto ours = decoded(*packed);
    if ((*what)->kind != qnt::bitsandbytes_kind::llm_int8) FUZZ_CHECK(ours == *values);
    for (std::size_t i = 0; i < ours.size(); ++i) FUZZ_CHECK(!std::isfinite((*values)[i]) || is_close(ours[i], (*values)[i]));
    check_rewritten(*values, packed->rows(), packed->cols(), options);
}

void check_gptq(const qnt::safetensors_file& file, unsigned options) {
    constexpr int bits[] = {0, 2, 3, 4, 8};
    qnt::gptq_options o;
    if (options & 1) o.convention = options & 2 ? qnt::gptq_convention::v2 : qnt::gptq_convention::v1;
    o.is_label = options & 4;
    o.asymmetric = options & 8;
    o.bits = bits[(options >> 4) % 5];
    o.group_size = options & 128 ? 16 : 0;
    const auto what = qnt::find_gptq(file, "fc", o);
    const auto packed = qnt::read_gptq(file, "fc", o);
    const auto values = qnt::read_gptq_f32(file, "fc", o);
    if (!what) return FUZZ_CHECK(!packed && !values), void(fuzz::refused(what.error()));
    if (!values) return FUZZ_CHECK(!packed), void(fuzz::refused(values.error()));
    FUZZ_CHECK(values->weights.size() == what->rows * what->cols && (values->bias.empty() || values->bias.size() == what->rows));
    if (!packed) return void(fuzz::refused(packed.error()));
    FUZZ_CHECK(decoded(packed->weights) == values->weights && packed->bias == values->bias);
}

void check_awq(const qnt::safetensors_file& file) {
    const auto packed = qnt::read_awq(file, "fc");
    const auto values = qnt::read_awq_f32(file, "fc");
    if (!values) return FUZZ_CHECK(!packed), void(fuzz::refused(values.error()));
    FUZZ_CHECK(values->weights.size() == values->rows * values->cols);
    if (!packed) return void(fuzz::refused(packed.error()));
    FUZZ_CHECK(decoded(packed->weights) == values->weights && packed->bias == values->bias);
}

}  // namespace

// The bytes of one tensor; a text is as long as it is.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size, unsigned seed) {
    auto c = fuzz::decode_checkpoint(fuzz::text(data, size));
    if (seed % 2 == 0 || c.tensors.empty()) return LLVMFuzzerMutate(data, size, max_size);
    auto& a = c.tensors[seed / 2 % c.tensors.size()];
    std::string bytes = fuzz::mutated({reinterpret_cast<const char*>(a.bytes.data()), a.bytes.size()}, std::min<std::size_t>(max_size, 4096));
    if (contains(a.name, "quant_state") && a.shape.size() == 1 && a.dtype == qnt::safetensors_dtype::u8) a.shape[0] = bytes.size();
    else bytes.resize(a.bytes.size());
    a.bytes.assign(reinterpret_cast<const std::byte*>(bytes.data()), reinterpret_cast<const std::byte*>(bytes.data()) + bytes.size());
    return fuzz::put(fuzz::encode_checkpoint(c), data, max_size);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text = fuzz::text(data, size);
    if (text.starts_with('{')) {
        const fuzz::memory_bound bound(size, 128);
        const auto gptq = qnt::parse_gptq_config(text);
        const auto awq = qnt::check_awq_config(text);
        if (!gptq) fuzz::refused(gptq.error());
        if (!awq) fuzz::refused(awq.error());
        return 0;
    }
    const auto input = fuzz::decode_checkpoint(text);
    const std::string image = fuzz::safetensors_image(input.tensors);
    const fuzz::memory_bound bound(image.size(), 1024);
    const auto file = qnt::safetensors_file::view(fuzz::bytes(image), "input");
    FUZZ_CHECK(file.has_value());
    check_bitsandbytes(*file, input.options);
    check_gptq(*file, input.options);
    check_awq(*file);
    return 0;
}
