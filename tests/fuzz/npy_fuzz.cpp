// npy_file: every array that is accepted is read by all ways, which agree, and written again.
#include <qnt/io/npy.hpp>

#include "fuzz.hpp"

namespace {

template <class T> void check_values(const qnt::npy_file& file) {
    const auto all = file.read<T>();
    FUZZ_CHECK(all.has_value() && all->size() == file.elements());
    const auto same = [&](const T* begin) { return all->empty() || std::memcmp(begin, all->data(), all->size() * sizeof(T)) == 0; };
    if (const auto in_place = file.get<T>()) FUZZ_CHECK(in_place->size() == all->size() && same(in_place->data()));
    if (const auto m = file.matrix<T>()) {
        FUZZ_CHECK(file.shape().size() == 2 && m->rows == file.shape()[0] && m->cols == file.shape()[1]);
        for (std::size_t i = 0; i < all->size(); ++i) FUZZ_CHECK(std::memcmp(&(*all)[i], &(*m)(i / m->cols, i % m->cols), sizeof(T)) == 0);
    }
    FUZZ_CHECK(qnt::write_npy(fuzz::scratch_file(), file.dtype(), std::as_bytes(std::span(*all)), file.shape()).has_value());
    const auto again = qnt::npy_file::open(fuzz::scratch_file());
    FUZZ_CHECK(again.has_value() && again->dtype() == file.dtype() && again->shape() == file.shape() && !again->is_fortran());
    const auto values = again->read<T>();
    FUZZ_CHECK(values.has_value() && values->size() == all->size() && same(values->data()));
}

}  // namespace

// The text of the header and the data apart, with the length of the text that it has.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size, unsigned seed) {
    const std::string file(fuzz::text(data, size));
    const std::size_t length = fuzz::load<std::uint16_t>(file, 8);
    if (seed % 4 == 0 || size < 10 || length > size - 10) return LLVMFuzzerMutate(data, size, max_size);
    std::string head = file.substr(0, 10), text = file.substr(10, length), rest = file.substr(10 + length);
    (seed % 4 == 1 ? rest : text) = fuzz::mutated(seed % 4 == 1 ? rest : text, max_size / 2);
    fuzz::store(head, 8, std::uint16_t(text.size()));
    return fuzz::put(head + text + rest, data, max_size);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const fuzz::memory_bound bound(size, 64);
    const auto file = qnt::npy_file::view(fuzz::bytes(data, size), "input");
    if (!file) return fuzz::refused(file.error());
    if (const auto f = file->read_f32(); f) FUZZ_CHECK(f->size() == file->elements());
    else fuzz::refused(f.error());
    switch (file->dtype()) {
    case qnt::npy_dtype::boolean:
    case qnt::npy_dtype::u8: return check_values<std::uint8_t>(*file), 0;
    case qnt::npy_dtype::i8: return check_values<std::int8_t>(*file), 0;
    case qnt::npy_dtype::i16: return check_values<std::int16_t>(*file), 0;
    case qnt::npy_dtype::u16: return check_values<std::uint16_t>(*file), 0;
    case qnt::npy_dtype::f16: return check_values<qnt::f16>(*file), 0;
    case qnt::npy_dtype::i32: return check_values<std::int32_t>(*file), 0;
    case qnt::npy_dtype::u32: return check_values<std::uint32_t>(*file), 0;
    case qnt::npy_dtype::f32: return check_values<float>(*file), 0;
    case qnt::npy_dtype::i64: return check_values<std::int64_t>(*file), 0;
    case qnt::npy_dtype::u64: return check_values<std::uint64_t>(*file), 0;
    default: return check_values<double>(*file), 0;
    }
}
