// gguf_file: of every file that is accepted all metadata and tensors are read, packed and decoded alike, and written again.
#include <qnt/io/gguf.hpp>

#include "fuzz.hpp"

namespace {

template <class T> void check_result(const qnt::result<T>& r) {
    if (!r) fuzz::refused(r.error());
}

void check_value(const qnt::gguf_value& v) {
    check_result(v.as_uint64());
    check_result(v.as_int64());
    check_result(v.as_f32());
    check_result(v.as_f64());
    check_result(v.as_bool());
    check_result(v.as_string());
    check_result(v.template numbers<std::uint8_t>());
    check_result(v.template numbers<std::int64_t>());
    check_result(v.template numbers<float>());
    check_result(v.template numbers<double>());
    check_result(v.template numbers<bool>());
    if (const auto texts = v.strings())
        for (const std::string_view s : *texts) FUZZ_CHECK(qnt::is_utf8(s));
    if (const auto inner = v.arrays())
        for (const auto& a : *inner) check_value(a);
}

void check_tensor(const qnt::gguf_file& file, const qnt::gguf_tensor& t) {
    FUZZ_CHECK(file.find(t.name).value() == &t);
    const auto values = file.read_f32(t.name);
    const auto packed = file.read_packed(t.name);
    check_result(values);
    check_result(packed);
    if (values) FUZZ_CHECK(values->size() == t.elements);
    if (!packed) return;
    FUZZ_CHECK(values.has_value() && packed->rows() * packed->cols() == t.elements);
    std::vector<float> decoded(t.elements);
    qnt::dequantize(qnt::matrix_view<float>{decoded.data(), packed->rows(), packed->cols()}, packed->view());
    FUZZ_CHECK(decoded == *values);
    const auto blocks = qnt::gguf_encode(packed->view());
    FUZZ_CHECK(blocks.has_value() && blocks->size() == t.data.size());
    FUZZ_CHECK(qnt::gguf_decode(t.type, *blocks, decoded).has_value());
    FUZZ_CHECK(decoded == *values);
}

// false: the writer makes no such names or shapes, because ggml reads none.
bool declare_all(qnt::gguf_writer& out, const qnt::gguf_file& file) {
    for (const auto& [key, value] : file.metadata()) FUZZ_CHECK(out.set(key, value).has_value());
    for (const auto& t : file.tensors()) {
        const auto r = out.declare(t.name, qnt::gguf_type(t.type), t.shape);
        if (r) continue;
        FUZZ_CHECK(t.name.empty() || t.name.size() > 63 || t.shape.empty() || t.elements == 0);
        return false;
    }
    return true;
}

void check_written(const qnt::gguf_file& file) {
    qnt::gguf_writer out;
    if (!declare_all(out, file)) return;
    FUZZ_CHECK(out.begin(fuzz::scratch_file()).has_value());
    for (const auto& t : file.tensors()) FUZZ_CHECK(out.write(t.name, t.data).has_value());
    FUZZ_CHECK(out.finish().has_value());

    const auto again = qnt::gguf_file::open(fuzz::scratch_file());
    FUZZ_CHECK(again.has_value() && again->tensors().size() == file.tensors().size());
    for (const auto& [key, value] : file.metadata()) {
        const auto* copy = again->find_value(key);
        FUZZ_CHECK(copy && copy->type() == value.type() && std::ranges::equal(copy->bytes(), value.bytes()));
    }
    for (std::size_t i = 0; i < file.tensors().size(); ++i) {
        const auto &t = file.tensors()[i], &copy = again->tensors()[i];
        FUZZ_CHECK(copy.name == t.name && copy.type == t.type && copy.shape == t.shape && std::ranges::equal(copy.data, t.data));
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const fuzz::memory_bound bound(size, 1024);  // a block of 256 two-bit codes has 84 bytes and becomes 1 KiB of f32, several times
    const auto file = qnt::gguf_file::view(fuzz::bytes(data, size), "input");
    if (!file) return fuzz::refused(file.error());
    for (const auto& [key, value] : file->metadata()) {
        FUZZ_CHECK(file->find_value(key)->bytes().data() == value.bytes().data());
        check_value(value);
    }
    for (const auto& t : file->tensors()) check_tensor(*file, t);
    check_written(*file);
    return 0;
}
