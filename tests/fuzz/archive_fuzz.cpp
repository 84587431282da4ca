// archive: what opens can be shown and decoded, verified or not; what verifies is written again byte for byte. The mutator makes two kinds
// of files: with the lengths and checksums that belong to them, to reach what lies behind, and raw ones.
#include <qnt/io/archive.hpp>

#include "fuzz.hpp"

namespace {

using qnt::detail::archive_header;

struct parts {
    archive_header head;
    std::string index, data;
};

std::optional<parts> split(const std::string& file) {
    parts p;
    if (file.size() < sizeof p.head) return std::nullopt;
    std::memcpy(&p.head, file.data(), sizeof p.head);
    const auto& h = p.head;
    if (h.header_bytes != sizeof h || h.index_bytes > file.size() - sizeof h || h.data_offset > file.size()) return std::nullopt;
    p.index = file.substr(sizeof h, h.index_bytes);
    p.data = file.substr(h.data_offset);
    return p;
}

std::string join(parts p) {
    p.head.index_bytes = p.index.size();
    p.head.data_offset = qnt::round_up(sizeof p.head + p.index.size(), qnt::detail::archive_page);
    p.head.file_bytes = p.head.data_offset + p.data.size();
    std::string file(reinterpret_cast<const char*>(&p.head), sizeof p.head);
    file += p.index;
    file.resize(p.head.data_offset);
    return file + p.data;
}

// f(begin, bytes) for each record, in the index.
template <class F> void for_each_record(std::string_view index, std::uint32_t tensors, F&& f) {
    for (std::size_t at = 0; tensors-- > 0 && at + 4 <= index.size();) {
        const std::size_t n = std::min<std::size_t>(fuzz::load<std::uint32_t>(index, at), index.size() - at - 4);
        f(at + 4, n);
        at += 4 + n;
    }
}

void fix_checksums(std::string& file) {
    auto p = split(file);
    if (!p) return;
    for_each_record(p->index, p->head.tensors, [&](std::size_t begin, std::size_t bytes) {
        std::size_t at = begin;
        for (int text = 0; text < 2; ++text) at = std::min(at + 4 + fuzz::load<std::uint32_t>(p->index, at), p->index.size());  // name, format
        at += 4 + std::size_t{8} * fuzz::load<std::uint16_t>(p->index, at + 2);                                                 // the shape
        const auto offset = fuzz::load<std::uint64_t>(p->index, at), size = fuzz::load<std::uint64_t>(p->index, at + 8);
        at += 16;
        if (offset > file.size() || size > file.size() - offset || at + 4 > begin + bytes) return;
        const auto sums = qnt::detail::chunk_checksums(fuzz::bytes(file).subspan(offset, size), {});
        for (const std::uint32_t sum : sums) fuzz::store(p->index, at, sum), at += 4;
    });
    p->head.index_checksum = qnt::crc32c(fuzz::bytes(p->index));
    p->head.checksum = qnt::crc32c(std::as_bytes(std::span(&p->head, 1)).first(sizeof p->head - 4));
    std::memcpy(file.data(), &p->head, sizeof p->head);
    std::memcpy(file.data() + sizeof p->head, p->index.data(), p->index.size());
}

void check_tensor(const qnt::archive& file, const qnt::archive_tensor& t, bool is_verified) {
    FUZZ_CHECK(file.find(t.name).value() == &t);
    if (t.layout == qnt::archive_layout::array) {
        const auto values = file.read_f32(t.name);
        FUZZ_CHECK(values.has_value() && values->size() == t.data.size() * 8 / std::size_t(t.format.info.bits));
        const auto in_place = file.get_array<float>(t.name);
        FUZZ_CHECK(in_place.has_value() == (t.format.name() == "f32"));
        FUZZ_CHECK(!file.get_any(t.name).has_value());
        return;
    }
    FUZZ_CHECK(!file.get_array<float>(t.name).has_value() && !file.read_f32(t.name).has_value());
    const auto fixed = file.get<qnt::nf4<64>>(t.name);
    const auto w = file.get_any(t.name);
    FUZZ_CHECK(w.has_value() || (!is_verified && !t.columns.empty()));
    if (!w) return;
    FUZZ_CHECK(fixed.has_value() == (t.format == qnt::format_of<qnt::nf4<64>>() && !w->columns));
    std::vector<float> values(w->shape.rows * w->shape.cols);
    qnt::dequantize(qnt::matrix_view<float>{values.data(), w->shape.rows, w->shape.cols}, *w);
    FUZZ_CHECK(!is_verified || qnt::detail::is_ascending(w->outliers.columns, w->shape.cols));
}

// Nothing in a file of our own version is left to choice but the bytes that are reserved.
void check_written(const qnt::archive& file, std::span<const std::byte> bytes) {
    qnt::archive_writer out;
    for (const auto& t : file.tensors()) FUZZ_CHECK(out.declare(t.name, t.format, t.layout, t.shape, t.transform, t.outliers).has_value());
    for (const auto& [key, value] : file.metadata()) FUZZ_CHECK(out.set_metadata(key, value).has_value());
    FUZZ_CHECK(out.begin(fuzz::scratch_file()).has_value());
    for (const auto& t : file.tensors()) FUZZ_CHECK(out.write(t.name, t.data).has_value());
    FUZZ_CHECK(out.finish().has_value());
    const auto again = qnt::read_file(fuzz::scratch_file());
    FUZZ_CHECK(again.has_value());
    const auto head = qnt::detail::load_as<archive_header>(bytes.data());
    const bool is_plain = head.minor == 0 && qnt::detail::is_zero(std::as_bytes(std::span(head.reserved)));
    if (is_plain) FUZZ_CHECK(std::ranges::equal(std::span(again->data(), again->size()), bytes));
    FUZZ_CHECK(qnt::archive::view({again->data(), again->size()}, "written").has_value());
}

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size, unsigned seed) {
    auto p = split(std::string(fuzz::text(data, size)));
    if (seed % 8 == 0 || !p) return LLVMFuzzerMutate(data, size, max_size);
    std::mt19937 random(seed);
    if (seed % 4 == 1) {
        p->data = fuzz::mutated(p->data, max_size / 2);
    } else if (seed % 4 == 2) {
        p->index = fuzz::mutated(p->index, 4000);
    } else {  // one record, with its length
        std::vector<std::pair<std::size_t, std::size_t>> records;
        for_each_record(p->index, p->head.tensors, [&](std::size_t begin, std::size_t bytes) { records.emplace_back(begin, bytes); });
        if (records.empty()) return LLVMFuzzerMutate(data, size, max_size);
        const auto [begin, bytes] = records[random() % records.size()];
        const std::string record = fuzz::mutated(p->index.substr(begin, bytes), 1000);
        p->index.replace(begin, bytes, record);
        fuzz::store(p->index, begin - 4, std::uint32_t(record.size()));
    }
    std::string file = join(std::move(*p));
    if (random() % 8 > 0) fix_checksums(file);
    return fuzz::put(file, data, max_size);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    struct free_aligned {
        void operator()(std::byte* p) const { ::operator delete[](p, std::align_val_t(qnt::line_bytes)); }
    };
    const std::unique_ptr<std::byte[], free_aligned> copy(new (std::align_val_t(qnt::line_bytes)) std::byte[size]);
    if (size > 0) std::memcpy(copy.get(), data, size);
    const std::span<const std::byte> bytes(copy.get(), size);
    const fuzz::memory_bound bound(size, 64);
    const auto file = qnt::archive::view(bytes, "input");
    if (!file) return fuzz::refused(file.error());
    const auto verified = file->verify();
    for (const auto& t : file->tensors()) check_tensor(*file, t, verified.has_value());
    if (!verified) return fuzz::refused(verified.error());
    check_written(*file, bytes);
    return 0;
}
