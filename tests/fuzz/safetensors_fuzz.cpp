// safetensors_file: every file that is accepted tiles its bytes, is read, and written again with the same tensors. The same bytes as the
// index of a model in several files.
#include <qnt/io/safetensors_shards.hpp>
#include <qnt/io/safetensors_writer.hpp>

#include "fuzz.hpp"

namespace {

using qnt::safetensors_dtype;

void check_reads(const qnt::safetensors_file& file, std::size_t size) {
    std::size_t bytes = 0;
    for (const auto& t : file.tensors()) {
        bytes += t.data.size();
        FUZZ_CHECK(file.find(t.name).value() == &t);
        const auto values = file.read_f32(t.name);
        const bool is_float = t.dtype == safetensors_dtype::f32 || t.dtype == safetensors_dtype::f16 || t.dtype == safetensors_dtype::bf16;
        FUZZ_CHECK(values.has_value() == is_float);
        if (values) FUZZ_CHECK(values->size() == t.elements);
        else fuzz::refused(values.error());
    }
    FUZZ_CHECK(bytes <= size);
    FUZZ_CHECK(!file.find("no such tensor in any input").has_value());
}

void check_written(const qnt::safetensors_file& file) {
    qnt::safetensors_writer out;
    for (const auto& t : file.tensors()) {
        if (t.dtype == safetensors_dtype::unknown) return;  // its bytes are nobody's to write
        FUZZ_CHECK(out.declare(t.name, t.dtype, t.shape).has_value());
    }
    for (const auto& [key, value] : file.metadata()) FUZZ_CHECK(out.set_metadata(key, value).has_value());
    FUZZ_CHECK(out.begin(fuzz::scratch_file()).has_value());
    for (const auto& t : out.order()) FUZZ_CHECK(out.write(t.name, (*file.find(t.name))->data).has_value());
    FUZZ_CHECK(out.finish().has_value());

    const auto again = qnt::safetensors_file::open(fuzz::scratch_file());
    FUZZ_CHECK(again.has_value() && again->tensors().size() == file.tensors().size());
    FUZZ_CHECK(std::ranges::equal(again->metadata(), file.metadata()));
    for (const auto& t : file.tensors()) {
        const auto copy = again->find(t.name);
        FUZZ_CHECK(copy.has_value() && (*copy)->dtype == t.dtype && (*copy)->shape == t.shape && std::ranges::equal((*copy)->data, t.data));
    }
}

}  // namespace

// The JSON and the data apart, with the length of the JSON that it has.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size, unsigned seed) {
    const std::string file(fuzz::text(data, size));
    const std::uint64_t length = fuzz::load<std::uint64_t>(file, 0);
    if (seed % 4 == 0 || size < 8 || length > size - 8) return LLVMFuzzerMutate(data, size, max_size);
    std::string head(8, '\0'), json = file.substr(8, length), rest = file.substr(8 + length);
    (seed % 4 == 1 ? rest : json) = fuzz::mutated(seed % 4 == 1 ? rest : json, max_size / 2);
    fuzz::store(head, 0, std::uint64_t{json.size()});
    return fuzz::put(head + json + rest, data, max_size);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size > 0 && data[0] == '{') {  // no length of a header is as large as text looks
        const fuzz::memory_bound bound(size, 64);
        const auto index = qnt::detail::parse_shard_index(fuzz::text(data, size));
        if (!index) return fuzz::refused(index.error());
        for (const auto& [tensor, file] : index->file_of) FUZZ_CHECK(file != ".." && file.find('/') == file.npos && file.find('\0') == file.npos);
        return 0;
    }
    const fuzz::memory_bound bound(size, 256);
    const auto file = qnt::safetensors_file::view(fuzz::bytes(data, size), "input");
    if (!file) return fuzz::refused(file.error());
    check_reads(*file, size);
    check_written(*file);
    return 0;
}
