#include <qnt/io/archive.hpp>

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <random>

#include "catch.hpp"
#include "temp_folder.hpp"

using namespace qnt;

namespace {

std::vector<float> random_values(std::size_t n, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> v(n);
    for (float& x : v) x = normal(random);
    return v;
}

any_matrix quantized(const char* format, std::size_t rows, std::size_t cols) {
    const auto w = random_values(rows * cols, unsigned(rows + cols));
    return quantize(matrix_view<const float>{w.data(), rows, cols}, any_format::parse(format).value()).value();
}

// A whole archive in memory, to be damaged. Where the fields of the first tensor, "w" of "int8:16" [3, 20], lie:
//   64 record length | 68 name length | 72 "w" | 73 format length | 77 "int8:16" | 84 layout | 85 input_transform | 86 rank
//   88 shape | 104 offset | 112 bytes | 120 checksum | 124 the next record
class image {
public:
    explicit image(const std::string& path) : bytes_(read_file(path).value()) {}
    explicit image(const image& other, std::size_t size) : bytes_(aligned_buffer::allocate(size).value()) {
        if (size > 0) std::memcpy(bytes_.data(), other.bytes_.data(), std::min(size, other.size()));
    }
    std::size_t size() const { return bytes_.size(); }
    std::byte* data() { return bytes_.data(); }
    template <class T> void put(std::size_t at, T value) { std::memcpy(bytes_.data() + at, &value, sizeof value); }
    template <class T> T at(std::size_t offset) const { return detail::load_as<T>(bytes_.data() + offset); }
    std::span<const std::byte> index() const { return std::span<const std::byte>(bytes_.data(), size()).subspan(64, at<std::uint64_t>(16)); }
    image& seal() {  // makes the checksums of header and index right again
        if (at<std::uint64_t>(16) <= size() - 64) put(24, crc32c(index()));
        put(60, crc32c({bytes_.data(), 60}));
        return *this;
    }
    result<archive> open() const { return archive::view({bytes_.data(), size()}, "image"); }
    bool is_good() const {
        const auto a = open();
        return a && a->verify();
    }

private:
    aligned_buffer bytes_;
};

std::string write_small(const temp_folder& folder) {
    const any_matrix a = quantized("int8:16", 3, 20), b = quantized("uint4:16", 2, 16);
    const auto bias = random_values(3, 1);
    archive_writer out;
    out.add("w", a.view()).value();
    out.add("bias", bias).value();
    out.add("b", b.view()).value();
    out.set_metadata("source", "a test").value();
    out.finish(folder / "small.qnt").value();
    return folder / "small.qnt";
}

}  // namespace

TEST_CASE("an archive gives back what went in, mapped or loaded") {
    const temp_folder folder;
    const std::string path = folder / "model.qnt";
    const char* formats[] = {"f32",    "f16",       "bf16",    "int8",        "int8_channel", "int8:32",
                             "nf4:64", "nf4_dq:64", "int4:32", "int4:16:f32", "uint4:64:bf16"};
    const std::vector<float> f = random_values(30, 7);
    std::vector<f16> h;
    std::vector<bf16> b;
    for (const float x : f) h.push_back(f16(x)), b.push_back(bf16(x));
    std::vector<any_matrix> matrices;
    archive_writer out;
    for (const char* format : formats) matrices.push_back(quantized(format, 37, 83));
    for (std::size_t i = 0; i < matrices.size(); ++i) REQUIRE(out.add(formats[i], matrices[i].view()));
    REQUIRE(out.add("owned", quantized("int4:32", 5, 5)));
    const auto typed = quantize<nf4<64>>(matrix_view<const float>{f.data(), 5, 6}).value();
    REQUIRE(out.add("typed", typed));
    REQUIRE(out.add("typed view", typed.view()));
    REQUIRE(out.add("bias f32", f, {2, 3, 5}));
    REQUIRE(out.add("bias f16", h));
    REQUIRE(out.add("bias bf16", b, {30, 1}));
    REQUIRE(out.add("", std::vector<float>{}));
    REQUIRE(out.set_metadata("source", "first"));
    REQUIRE(out.set_metadata("caf\xc3\xa9", ""));
    REQUIRE(out.set_metadata("source", "tests"));
    REQUIRE(out.finish(path));

    const archive mapped = archive::map(path).value(), loaded = archive::load(path).value();
    CHECK(mapped.bytes() == std::filesystem::file_size(path));
    for (const archive* a : {&mapped, &loaded}) {
        CHECK(a->verify());
        REQUIRE(a->tensors().size() == matrices.size() + 7);
        CHECK(a->metadata() == archive_metadata{{"source", "tests"}, {"caf\xc3\xa9", ""}});
        for (std::size_t i = 0; i < matrices.size(); ++i) {
            const archive_tensor& t = *a->find(formats[i]).value();
            CHECK(&t == &a->tensors()[i]);
            CHECK(t.format.name() == formats[i]);
            CHECK(t.shape == std::vector<std::size_t>{37, 83});
            CHECK(std::equal(t.data.begin(), t.data.end(), matrices[i].bytes().begin(), matrices[i].bytes().end()));
            CHECK(reinterpret_cast<std::uintptr_t>(t.data.data()) % 64 == 0);
            const auto view = a->get_any(formats[i]).value();
            CHECK(view.format == matrices[i].format().info);
            CHECK(view.shape == matrices[i].shape());
            CHECK(view.data == t.data.data());
        }
        CHECK(a->get<int4<32>>("owned").value().rows() == 5);
        CHECK(std::memcmp(a->get<nf4<64>>("typed").value().data, typed.bytes().data(), typed.bytes().size()) == 0);
        CHECK(std::memcmp(a->get<nf4<64>>("typed view").value().data, typed.bytes().data(), typed.bytes().size()) == 0);
        CHECK(a->find("bias f32").value()->shape == std::vector<std::size_t>{2, 3, 5});
        CHECK(a->find("bias f16").value()->shape == std::vector<std::size_t>{30});
        const auto floats = a->get_array<float>("bias f32").value();
        CHECK(std::vector<float>(floats.begin(), floats.end()) == f);
        const auto halves = a->get_array<f16>("bias f16").value();
        CHECK(std::vector<f16>(halves.begin(), halves.end()) == h);
        CHECK(a->read_f32("bias f32").value() == f);
        const auto from_half = a->read_f32("bias f16").value(), from_brain = a->read_f32("bias bf16").value();
        for (std::size_t i = 0; i < f.size(); ++i) {
            CHECK(from_half[i] == float(h[i]));
            CHECK(from_brain[i] == float(b[i]));
        }
        CHECK(a->read_f32("").value().empty());

        const auto message = [&](const auto& r) { return contains(r.error().message, path) ? r.error().message.substr(path.size()) : ""; };
        CHECK(message(a->find("nothing")) == ": there is no tensor \"nothing\"");
        CHECK(message(a->get<int4<64>>("owned")) == ": tensor \"owned\" is a matrix of int4:32, asked for was a matrix of int4:64");
        CHECK(message(a->get_any("bias f32")) == ": tensor \"bias f32\" is an array of f32, asked for was a matrix of any format");
        CHECK(message(a->get_array<float>("bias f16")) == ": tensor \"bias f16\" is an array of f16, asked for was an array of f32");
        CHECK(message(a->read_f32("owned")) == ": tensor \"owned\" is a matrix of int4:32, asked for was an array of any format");
    }
}

TEST_CASE("an archive written tensor by tensor has the bytes of one written at once") {
    const temp_folder folder;
    const std::string path = folder / "streamed.qnt";
    const any_matrix a = quantized("int8:16", 3, 20), b = quantized("uint4:16", 2, 16);
    const auto bias = random_values(3, 1);
    archive_writer out;
    REQUIRE(out.set_metadata("source", "a test"));
    REQUIRE(out.declare("w", a.format(), archive_layout::panels, {3, 20}));
    REQUIRE(out.declare("bias", format_of<dense_format<float>>(), archive_layout::array, {3}));
    REQUIRE(out.declare("b", b.format(), archive_layout::panels, {2, 16}));
    const auto message = [](const result<void>& r) { return r.error().message; };
    CHECK(message(out.write("w", a.view())) == "archive_writer: tensor \"w\": is written before begin()");
    CHECK(message(out.finish()) == "archive_writer: finish() without begin()");
    REQUIRE(out.begin(path));
    CHECK(contains(message(out.declare("c", a.format(), archive_layout::panels, {3, 20})), "after begin()"));
    CHECK(contains(message(out.set_metadata("c", "")), "after begin()"));
    CHECK(message(out.write("b", b.view())) == "archive_writer: tensor \"b\": the next one is \"w\"");
    CHECK(message(out.write("w", b.view())) == "archive_writer: tensor \"w\": is uint4:16 [2, 16], declared was int8:16 [3, 20]");
    CHECK_FALSE(out.write("w", quantized("int8:16", 4, 20).view()));  // the same bytes, another shape
    CHECK_FALSE(out.write("w", bias));
    CHECK(contains(message(out.write("w", a.bytes().first(1))), "has 1 bytes, shape [3, 20] of int8:16 needs"));
    REQUIRE(out.write("w", a.view()));
    CHECK(message(out.finish()) == "archive_writer: tensor \"bias\": was declared, but not written");
    CHECK_FALSE(out.write("bias", std::vector<f16>(6)));
    CHECK_FALSE(out.write("bias", std::vector<float>(4)));
    REQUIRE(out.write("bias", bias));
    REQUIRE(out.write("b", b.bytes()));
    CHECK(message(out.write("b", b.view())) == "archive_writer: tensor \"b\": all declared tensors are written");
    CHECK_FALSE(std::filesystem::exists(path));
    const std::filesystem::directory_entry unfinished = *std::filesystem::directory_iterator(folder.path);
    CHECK_FALSE(archive::map(unfinished.path().string()));
    REQUIRE(out.finish());
    CHECK(text_of(path) == text_of(write_small(folder)));
    CHECK(folder.files() == 2);

    REQUIRE(out.begin(folder / "again"));  // and one that is given up leaves nothing
    REQUIRE(out.write("w", a.view()));
    CHECK(folder.files() == 3);
    out = archive_writer();
    CHECK(folder.files() == 2);
}

TEST_CASE("an archive can be written over the file that its views come from") {
    const temp_folder folder;
    const std::string path = write_small(folder);
    const std::string before = text_of(path);
    const archive file = archive::map(path).value();
    archive_writer out;
    REQUIRE(out.add("w", file.get_any("w").value()));
    REQUIRE(out.add("bias", file.get_array<float>("bias").value()));
    REQUIRE(out.add("b", file.get_any("b").value()));
    REQUIRE(out.set_metadata("source", "a test"));
    REQUIRE(out.finish(path));
    CHECK(text_of(path) == before);  // and the same content is the same bytes
    CHECK(archive::map(path).value().verify());
}

TEST_CASE("archives of nothing and of more than one MiB") {
    const temp_folder folder;
    archive_writer none;
    REQUIRE(none.finish(folder / "none"));
    CHECK(archive::map(folder / "none").value().tensors().empty());
    CHECK(archive::load(folder / "none").value().verify());

    const std::size_t mib = (1u << 20) / sizeof(float);
    archive_writer out;
    const auto values = random_values(2 * mib + 1, 2);
    REQUIRE(out.add("one", std::span(values).first(mib)));
    REQUIRE(out.add("more", values));
    REQUIRE(out.finish(folder / "big"));
    image big(folder / "big");
    CHECK(big.is_good());
    const auto more = big.open().value().find("more").value()->data.data() - big.data();
    for (const std::size_t chunk : {0u, 1u, 2u}) {
        const auto at = std::size_t(more) + (chunk << 20) + 3;
        big.data()[at] ^= std::byte{1};
        const auto r = big.open().value().verify();
        REQUIRE_FALSE(r);
        CHECK(r.error().message == "image: tensor \"more\": the checksum of MiB " + std::to_string(chunk) + " (byte offset " +
                                       std::to_string(at - 3) + ") is wrong, the file is damaged");
        big.data()[at] ^= std::byte{1};
    }
}

TEST_CASE("every flipped bit of an archive is found, by opening it or by verify(), and its place named") {
    const temp_folder folder;
    image small(write_small(folder));
    REQUIRE(small.is_good());
    const archive whole = small.open().value();
    const auto begin_of = [&](std::size_t tensor) { return std::size_t(whole.tensors()[tensor].data.data() - small.data()); };
    const auto end_of = [&](std::size_t tensor) { return begin_of(tensor) + whole.tensors()[tensor].data.size(); };
    const auto place = [&](std::size_t i) -> std::string {
        if (i < 8) return "is no qnt archive";
        if (i < 10) return "field \"major\"";
        if (i < 64) return "header (byte offset 0)";
        if (i < 64 + small.index().size()) return "index (byte offset 64)";
        if (i < begin_of(0)) return "bytes between the index and the data";
        for (std::size_t t = 0; t < 3; ++t) {
            const std::string name = "tensor " + in_quotes(whole.tensors()[t].name) + ": ";
            if (i < begin_of(t)) return name + "the bytes before it";
            if (i < end_of(t)) return name + "the checksum of MiB 0 (byte offset " + std::to_string(begin_of(t)) + ") is wrong";
        }
        return "nowhere";
    };
    std::vector<std::size_t> missed, misnamed;
    for (std::size_t i = 0; i < small.size(); ++i)
        for (int bit = 0; bit < 8; ++bit) {
            small.data()[i] ^= std::byte(1 << bit);
            const auto a = small.open();
            const result<void> r = a ? a->verify() : a.error();
            if (r) missed.push_back(i);
            else if (!r.error().message.starts_with("image: " + place(i))) misnamed.push_back(i);
            small.data()[i] ^= std::byte(1 << bit);
        }
    CHECK(missed.empty());
    CHECK(misnamed.empty());
    CHECK(small.is_good());
}

TEST_CASE("every truncated or extended archive is refused on opening") {
    const temp_folder folder;
    const image small(write_small(folder));
    std::size_t accepted = 0;
    for (std::size_t n = 0; n < small.size(); ++n) accepted += bool(image(small, n).open());
    accepted += bool(image(small, small.size() + 1).open());
    CHECK(accepted == 0);
    CHECK(image(small, small.size()).open());

    write_text(folder / "half", text_of(folder / "small.qnt").substr(0, 4200));
    CHECK(contains(archive::map(folder / "half").error().message, "truncated"));
    CHECK(contains(archive::load(folder / "half").error().message, folder / "half"));
    CHECK(archive::map(folder / "missing").error().code == errc::not_found);
    CHECK(contains(archive::map(QNT_SOURCE_DIR "/examples/models/qnt-gpt2-5m/model.safetensors").error().message, "no qnt archive"));
}

TEST_CASE("a loaded archive does not need its file any more") {
    const temp_folder folder;
    const std::string path = write_small(folder);
    const archive loaded = archive::load(path).value();
    std::filesystem::resize_file(path, 0);  // would stop the program with SIGBUS if it were mapped
    CHECK(loaded.verify());
    CHECK(loaded.read_f32("bias").value().size() == 3);
    CHECK(contains(archive::map(path).error().message, "is no qnt archive"));
}

TEST_CASE("a writer that fails, wherever it does, leaves the old file and nothing else") {
    const temp_folder folder;
    const std::string path = write_small(folder), before = text_of(path);
    const auto write_large = [&]() -> result<void> {
        archive_writer out;
        const auto values = random_values(5000, 3);
        QNT_TRY(out.add("one", values));
        QNT_TRY(out.add("two", values));
        return out.finish(path);
    };
    for (std::size_t limit = 0; limit < 44128; limit += 1 + limit / 3) {
        const pid_t child = ::fork();
        if (child == 0) {  // a disk with room for `limit` bytes
            ::signal(SIGXFSZ, SIG_IGN);
            const rlimit most{limit, limit};
            ::setrlimit(RLIMIT_FSIZE, &most);
            const auto r = write_large();
            ::_exit(!r && r.error().code == errc::io && contains(r.error().message, "small.qnt: cannot write (nothing was changed)") ? 0 : 1);
        }
        int status = -1;
        REQUIRE(::waitpid(child, &status, 0) == child);
        CHECK(status == 0);
        CHECK(text_of(path) == before);
        CHECK(folder.files() == 1);
    }
    REQUIRE(write_large());
    CHECK(text_of(path) != before);
    CHECK(archive::map(path).value().verify());
}

TEST_CASE("a writer that is killed leaves the old file, and its own under a name of its own") {
    const temp_folder folder;
    const std::string path = write_small(folder), before = text_of(path);
    const pid_t child = ::fork();
    if (child == 0) {
        archive_writer out;
        static_cast<void>(out.declare("w", format_of<dense_format<float>>(), archive_layout::array, {5000}));
        static_cast<void>(out.begin(path));
        static_cast<void>(out.write("w", std::vector<float>(5000)));
        ::raise(SIGKILL);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status));
    CHECK(text_of(path) == before);
    CHECK(folder.files() == 2);
    for (const auto& file : std::filesystem::directory_iterator(folder.path))
        if (file.path() != path) {
            CHECK(file.path().filename().string().starts_with(".qnt-tmp-"));
            CHECK(contains(archive::map(file.path().string()).error().message, "is no qnt archive"));
        }
}

TEST_CASE("an archive whose name is taken by a folder meanwhile cannot be finished, and is removed") {
    const temp_folder folder;
    archive_writer out;
    REQUIRE(out.begin(folder / "model.qnt"));
    std::filesystem::create_directory(folder / "model.qnt");
    const auto r = out.finish();
    REQUIRE_FALSE(r);
    CHECK(contains(r.error().message, "cannot rename the finished file"));
    CHECK(std::filesystem::is_directory(folder / "model.qnt"));
    out = archive_writer();
    CHECK(folder.files() == 1);
}

TEST_CASE("an archive with right checksums but impossible content is refused, and the field named") {
    const temp_folder folder;
    const image small(write_small(folder));
    REQUIRE(small.at<std::uint32_t>(64) == 124 - 68);
    REQUIRE(small.at<std::uint64_t>(88) == 3);
    REQUIRE(small.at<std::uint64_t>(104) == 4096);
    const auto refused = [&](auto field, std::size_t at, const char* word) {
        image bad(small, small.size());
        bad.put(at, field);
        const auto r = bad.seal().open();
        INFO(word);
        REQUIRE_FALSE(r);
        INFO(r.error().message);
        CHECK(r.error().message.starts_with("image: "));
        CHECK(contains(r.error().message, word));
    };
    using u8 = std::uint8_t;
    using u16 = std::uint16_t;
    using u32 = std::uint32_t;
    using u64 = std::uint64_t;
    const u64 most = ~u64{0};
    refused(u16{2}, 8, "version 2.0, this library reads version 1.x");
    refused(u16{0}, 8, "version 0.0, this library reads version 1.x");
    for (const u32 n : {0u, 4u, 60u, 65u, 4097u, ~0u}) refused(n, 12, "header (byte offset 0)");
    for (const u64 n : {most, most - 63, u64{1} << 63, u64{5000}}) refused(n, 16, "");
    refused(most, 16, "\"index_bytes\"");
    refused(u64{0}, 16, "must be zero");                                                // what was the index is now the gap before the data
    for (const u32 n : {2u, 4u, ~0u}) refused(n, 28, n == 2 ? "metadata" : "index: ");  // what follows is no record
    for (const u64 n : {u64{0}, u64{4095}, u64{8192}, most, most - 4095}) refused(n, 32, "\"data_offset\"");
    for (const u64 n : {u64{0}, small.size() - 1, small.size() + 1, most}) refused(n, 40, "\"file_bytes\"");
    refused(u32{0}, 64, "too short");
    refused(u32{55}, 64, "too short");
    refused(u32{57}, 64, "\"checksums\"");
    refused(~u32{0}, 64, "record 0 (byte offset 64) ends behind the index");
    refused(~u32{0}, 68, "too short");
    refused(u8{0xff}, 72, "tensor \"\\xff\": field \"name\"");
    refused(~u32{0}, 73, "too short");
    refused(u8{'x'}, 77, "\"format\" (byte offset 73)");
    refused(u8{0x1b}, 77, "\\x1bnt8:16");
    refused(u8{'0'}, 82, "\"format\"");  // int8:06
    refused(u8{2}, 84, "\"layout\" (byte offset 84): 2 is unknown");
    refused(u8{0}, 84, "\"shape\"");  // an array of int8
    refused(u8{3}, 85, "\"input_transform\" (byte offset 85): 3 is unknown");
    refused(u8{1}, 85, "\"bytes\" (byte offset 112): ");  // with column indices there would be more
    refused(u8{2}, 85, "\"bytes\" (byte offset 112): ");  // with outlier columns too
    refused(u16{3}, 86, "too short");
    refused(u16{0}, 86, "\"shape\"");
    refused(u16{0xffff}, 86, "too short");
    for (const u64 n : {u64{17}, u64{1} << 40}) refused(n, 88, "\"bytes\"");
    for (const u64 n : {u64{0}, (u64{1} << 40) + 1, u64{1} << 63, most}) refused(n, 88, "\"shape\"");
    for (const u64 n : {u64{33}, u64{1} << 40}) refused(n, 96, "\"bytes\"");
    for (const u64 n : {u64{0}, (u64{1} << 40) + 1, most}) refused(n, 96, "\"shape\"");
    for (const u64 n : {u64{0}, u64{64}, u64{4097}, u64{4160}, u64{8192}, most, most - 63}) refused(n, 104, "\"offset\" (byte offset 104)");
    for (const u64 n : {u64{0}, u64{1} << 32, most, small.at<u64>(112) + 64}) refused(n, 112, "\"bytes\"");

    image bad(small, small.size());  // a shape and a size that agree, and are larger than the file
    bad.put(88, u64{1} << 30);
    bad.put(112, small.at<u64>(112) << 26);
    CHECK(contains(bad.seal().open().error().message, "the data end behind the file"));
    bad = image(small, small.size());
    bad.put(100, std::uint32_t{0x100});  // a shape whose bytes wrap
    CHECK_FALSE(bad.seal().open());

    const std::string_view index(reinterpret_cast<const char*>(small.index().data()), small.index().size());
    const std::size_t bias = index.find("bias") + 64, source = index.find("source") + 64;
    refused(u32{0xffffffff}, source - 8, "metadata");  // their number
    refused(u32{0}, source - 8, "metadata");
    refused(u32{0x7fffffff}, source - 4, "metadata");
    refused(u8{0x80}, source, "metadata");
    refused(u32{3}, bias - 4, "");
    refused(most, index.find("f32") + 64 + 3 + 4, "\"shape\"");
    bad = image(small, small.size());
    bad.put(index.find("b\x08") + 64, 'w');
    CHECK(contains(bad.seal().open().error().message, "duplicate tensor \"w\""));
}

TEST_CASE("a newer minor version is read without its additions, in our own they are refused") {
    const temp_folder folder;
    const image small(write_small(folder));
    const std::size_t added = 8, index_bytes = small.at<std::uint64_t>(16);
    for (const std::uint16_t minor : {std::uint16_t{0}, std::uint16_t{1}, std::uint16_t{7}}) {
        image grown(small, small.size());  // 8 bytes behind the first record and 8 behind the metadata, taken from the padding
        REQUIRE(64 + index_bytes + 2 * added < 4096);
        std::memmove(grown.data() + 124 + added, grown.data() + 124, 64 + index_bytes - 124);
        std::memset(grown.data() + 124, 0xab, added);
        std::memset(grown.data() + 64 + index_bytes + added, 0xcd, added);
        grown.put(64, std::uint32_t(124 - 68 + added));
        grown.put(16, std::uint64_t(index_bytes + 2 * added));
        grown.put(10, minor);
        const auto a = grown.seal().open();
        CHECK(bool(a) == (minor > 0));
        CHECK((!a || a->tensors().size() == 3));
        CHECK((!a || a->metadata().size() == 1));
    }
}

TEST_CASE("values that no writer makes do not pass verify(), even with right checksums") {
    const temp_folder folder;
    const std::string path = write_small(folder);
    const auto refused = [&](std::size_t tensor, std::size_t at, std::uint8_t value, const char* word) {
        image bad(path);
        const archive_tensor t = bad.open().value().tensors()[tensor];
        std::byte* data = bad.data() + (t.data.data() - bad.data());
        data[at] = std::byte{value};
        const std::uint32_t stored = t.checksums[0], sum = crc32c({data, t.data.size()});
        auto* found =
            std::search(bad.data(), bad.data() + 4096, reinterpret_cast<const std::byte*>(&stored), reinterpret_cast<const std::byte*>(&stored + 1));
        std::memcpy(found, &sum, sizeof sum);
        const auto r = bad.seal().open().value().verify();
        REQUIRE_FALSE(r);
        INFO(r.error().message);
        CHECK(contains(r.error().message, word));
        CHECK(contains(r.error().message, tensor == 0 ? "\"w\"" : "\"b\""));
    };
    refused(0, 0, 0x80, "-128");
    refused(0, 4 * 64 + 32 + 5, 0x80, "group 1");  // int8:16 [3, 20]: 4 lines of codes and 32 bytes of f16 scales to a group
    refused(0, 4 * 64 + 1, 0x7c, "a scale is not finite");
    refused(2, 2 * 64 + 31, 0xfe, "a scale is not finite");  // uint4:16: 2 lines of codes, 32 bytes of scales, 16 of zero points
    refused(2, 2 * 64 + 32, 16, "a zero point is too large");
}

TEST_CASE("archives with a mutated index stay inside their bytes") {
    const temp_folder folder;
    const image small(write_small(folder));
    std::mt19937 random(3);
    std::size_t accepted = 0;
    for (int i = 0; i < 20000; ++i) {
        image bad(small, small.size());
        for (std::size_t n = random() % 3 + 1; n-- > 0;) {
            const std::size_t at = i % 3 == 0 ? 8 + random() % 52 : 64 + random() % small.index().size();
            const unsigned values[] = {0, 1, 0xff, 0x80, unsigned(random() % 256), unsigned(bad.data()[at]) + 1};
            bad.data()[at] = std::byte(values[random() % 6]);
        }
        const auto a = bad.seal().open();
        if (!a) continue;
        ++accepted;
        static_cast<void>(a->verify());
        for (const archive_tensor& t : a->tensors()) {
            const bool inside = t.data.data() >= bad.data() + 4096 && t.data.data() + t.data.size() <= bad.data() + bad.size();
            if (!inside) FAIL("outside");
            static_cast<void>(a->read_f32(t.name));
        }
    }
    CHECK(accepted > 0);
}

struct ternary_code {
    static constexpr const char* name = "ternary";
    static constexpr int bits = 2;
    static constexpr float absmax = 1;
    static constexpr float max_error = 0.5f;
    static constexpr std::uint8_t encode(float x) { return x > 0.5f ? 2 : x < -0.5f ? 0 : 1; }
    static constexpr float decode(std::uint8_t q) { return float(int(q)) - 1; }
};

TEST_CASE("the archive writer refuses what no reader could read") {
    const temp_folder folder;
    const std::vector<float> values(6);
    archive_writer out;
    REQUIRE(out.add("a", values));
    CHECK(contains(out.add("a", values).error().message, "tensor \"a\": was added before"));
    CHECK(out.add("\xff", values).error().code == errc::invalid_argument);
    CHECK(out.add(std::string(70000, 'a'), values).error().code == errc::invalid_argument);
    CHECK(contains(out.add("b", values, {2, 2}).error().message, "shape [2, 2] does not fit its 24 bytes"));
    CHECK_FALSE(out.add("b", values, {std::size_t{1} << 63, 2, 3}));
    CHECK_FALSE(out.set_metadata("a", "\xc0"));
    CHECK_FALSE(out.set_metadata("\xc0", "a"));
    const any_view<layout::panels> own{info_of<format<ternary_code, per_group<64, f16>>>, {2, 3, 64}, nullptr};
    CHECK(out.add("b", own).error().code == errc::unsupported);
    CHECK(contains(out.add("b", any_view<layout::panels>{info_of<int8>, {0, 5, 0}, nullptr}).error().message, "shape [0, 5]"));
    CHECK(out.finish(folder / "no/folder").error().code == errc::not_found);
    CHECK(out.finish("/dev/full").error().code == errc::invalid_argument);
    REQUIRE(out.finish(folder / "good"));
    CHECK(archive::map(folder / "good").value().tensors().size() == 1);
    CHECK(folder.files() == 1);

    const image good(folder / "good");
    alignas(64) std::byte shifted[8192];
    CHECK(archive::view(std::span(shifted).subspan(1), "shifted").error().code == errc::invalid_argument);
}

namespace {

// "w" and "bias" in once.qnt, written at once, and in turns.qnt, declared and written one by one: the same bytes.
void write_both_ways(const temp_folder& folder, const any_matrix& w, const std::vector<float>& bias) {
    archive_writer at_once;
    at_once.add("w", w.view()).value();
    at_once.add("bias", bias).value();
    at_once.finish(folder / "once.qnt").value();
    archive_writer one_by_one;
    one_by_one.declare("w", w.format(), archive_layout::panels, {w.rows(), w.cols()}, w.view().transform(), w.outliers().count()).value();
    one_by_one.declare("bias", format_of<dense_format<float>>(), archive_layout::array, {bias.size()}).value();
    one_by_one.begin(folder / "turns.qnt").value();
    one_by_one.write("w", w.view()).value();
    one_by_one.write("bias", bias).value();
    one_by_one.finish().value();
    CHECK(text_of(folder / "once.qnt") == text_of(folder / "turns.qnt"));
}

// "w" of uint4:16 [5, 48], its columns permuted.
any_matrix permuted_matrix() {
    const any_matrix w = quantized("uint4:16", 5, 48);
    std::vector<std::uint32_t> columns(48);
    for (std::uint32_t k = 0; k < 48; ++k) columns[k] = k * 7 % 48;
    auto bytes = aligned_buffer::allocate(w.bytes().size()).value();
    std::memcpy(bytes.data(), w.bytes().data(), bytes.size());
    return {w.format(), w.shape(), std::move(bytes), std::move(columns)};
}

}  // namespace

TEST_CASE("permuted columns go into an archive and come back") {
    const temp_folder folder;
    const any_matrix w = permuted_matrix();
    const auto bias = random_values(5, 2);
    write_both_ways(folder, w, bias);

    const archive file = archive::map(folder / "once.qnt").value();
    CHECK(file.verify());
    CHECK(file.tensors()[0].transform == input_transform::permutation);
    CHECK(file.tensors()[0].data.size() == w.bytes().size() + 48 * 4);
    CHECK(file.read_f32("bias").value() == bias);
    const auto view = file.get_any("w").value();
    REQUIRE(view.columns);
    CHECK(std::equal(w.columns().begin(), w.columns().end(), view.columns));
    CHECK(reinterpret_cast<std::uintptr_t>(view.columns) % 64 == 0);
    std::vector<float> expected(5 * 48), decoded(5 * 48);
    dequantize(matrix_view<float>{expected.data(), 5, 48}, w.view());
    dequantize(matrix_view<float>{decoded.data(), 5, 48}, view);
    CHECK(decoded == expected);
    CHECK(file.get<uint4<16>>("w").error().code == errc::invalid_argument);  // a typed view has no columns

    archive_writer other;
    other.declare("w", w.format(), archive_layout::panels, {5, 48}).value();
    other.begin(folder / "other.qnt").value();
    CHECK(other.write("w", w.view()).error().message.find("with permuted columns") != std::string::npos);
    CHECK_FALSE(other.declare("bias", format_of<dense_format<float>>(), archive_layout::array, {5}, input_transform::permutation));
}

TEST_CASE("column indices of an archive are checked before they are used") {
    const temp_folder folder;
    const any_matrix w = permuted_matrix();
    archive_writer out;
    out.add("w", w.view()).value();
    out.finish(folder / "w.qnt").value();
    const image good(folder / "w.qnt");
    const std::size_t at = good.size() - 48 * 4;
    for (const std::uint32_t value : {48u, 0u, 0xffffffffu}) {
        image bad(good, good.size());
        bad.put(at + 4 * 5, value);
        CHECK_FALSE(bad.is_good());  // the checksum of the data is wrong
        const archive file = bad.open().value();
        CHECK(file.get_any("w").error().code == errc::corrupt);
        CHECK(file.get_any("w").error().message.find("are no permutation") != std::string::npos);
        // a file made that way
        const auto data = file.tensors()[0].data;
        bad.put(64 + bad.at<std::uint32_t>(64), crc32c(data));  // the last field of the only record
        bad.seal();
        CHECK(bad.open().value().verify().error().message.find("are no permutation") != std::string::npos);
    }
    image array(good, good.size());  // layout 0: an array of uint4 cannot be, and takes no columns
    array.put(64 + 4 + 4 + 1 + 4 + 8, std::uint8_t{0});
    array.seal();
    CHECK(array.open().error().message.find("for matrices in panels only") != std::string::npos);
}

TEST_CASE("checksums of permuted matrices go on behind the panels") {
    std::vector<std::byte> all(3 * 4096);
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = std::byte(i * 7 >> 3 & 255);
    std::vector<std::byte> large((std::size_t{1} << 20) * 2 + 100);
    for (std::size_t i = 0; i < large.size(); ++i) large[i] = std::byte(i * 13 >> 5 & 255);
    for (const auto& bytes : {all, large})
        for (const std::size_t cut :
             {std::size_t{0}, std::size_t{4096}, bytes.size() - 1, bytes.size() & ~((std::size_t{1} << 20) - 1), bytes.size()}) {
            const std::span<const std::byte> whole = bytes;
            auto sums = detail::chunk_checksums(whole.first(cut), {});
            detail::extend_checksums(sums, cut, whole.subspan(cut));
            CHECK(sums == detail::chunk_checksums(whole, {}));
        }
}

namespace {

const std::vector<std::uint32_t> some_outliers{2, 3, 47};

any_matrix matrix_with_outliers(const char* format, std::size_t rows = 21) {
    const auto w = random_values(rows * 48, 7);
    return quantize(matrix_view<const float>{w.data(), rows, 48}, any_format::parse(format).value(), {.outliers = some_outliers}).value();
}

}  // namespace

TEST_CASE("outlier columns go into an archive and come back") {
    const temp_folder folder;
    for (const char* format : {"int8_channel", "uint4:16", "nf4_dq:32"}) {
        INFO(format);
        const any_matrix w = matrix_with_outliers(format);
        const auto bias = random_values(5, 2);
        write_both_ways(folder, w, bias);

        const archive file = archive::map(folder / "once.qnt").value();
        CHECK(file.verify());
        const archive_tensor& t = file.tensors()[0];
        CHECK(t.transform == input_transform::outliers);
        CHECK(t.outliers == 3);
        const std::size_t panels = w.bytes().size();
        REQUIRE(t.data.size() == panels + 3 * (32 * 2 + 4));  // values in panels, then the indices
        for (std::size_t row = 0; row < 21; ++row)
            for (std::size_t i = 0; i < 3; ++i)
                CHECK(detail::load_as<std::uint16_t>(t.data.data() + panels + ((row / 16 * 3 + i) * 16 + row % 16) * 2) ==
                      f16(random_values(21 * 48, 7)[row * 48 + some_outliers[i]]).bits);
        for (std::size_t i = 0; i < 3; ++i) CHECK(detail::load_as<std::uint32_t>(t.data.data() + panels + 3 * 64 + 4 * i) == some_outliers[i]);
        CHECK(file.read_f32("bias").value() == bias);

        const auto view = file.get_any("w").value();
        CHECK(view.columns == nullptr);
        CHECK(std::ranges::equal(view.outliers.columns, some_outliers));
        std::vector<float> expected(21 * 48), decoded(21 * 48), y(21), same(21);
        dequantize(matrix_view<float>{expected.data(), 21, 48}, w.view());
        dequantize(matrix_view<float>{decoded.data(), 21, 48}, view);
        CHECK(decoded == expected);
        const auto x = random_values(48, 3);
        gemv(std::span<float>(y), std::span(x), w.view());
        gemv(std::span<float>(same), std::span(x), view);
        CHECK(y == same);
        if (w.format() == format_of<int8_channel>()) {
            const auto typed = file.get<int8_channel>("w").value();
            gemv(same, x, typed);
            CHECK(y == same);
        }

        archive_writer other;
        other.declare("w", w.format(), archive_layout::panels, {21, 48}, input_transform::outliers, 4).value();
        other.begin(folder / "other.qnt").value();
        CHECK(other.write("w", w.view()).error().message.find("with 3 outlier columns, declared was") != std::string::npos);
        for (const std::size_t count : {std::size_t{0}, std::size_t{49}, ~std::size_t{0}})
            CHECK_FALSE(other.declare("x", w.format(), archive_layout::panels, {21, 48}, input_transform::outliers, count));
    }
}

TEST_CASE("outlier columns of a damaged archive are found") {
    const temp_folder folder;
    const any_matrix w = matrix_with_outliers("int8_channel");
    archive_writer out;
    out.add("w", w.view()).value();
    out.finish(folder / "w.qnt").value();
    const image good(folder / "w.qnt");
    CHECK(good.is_good());
    const std::size_t columns = good.size() - 3 * 4, values = columns - 3 * 64;
    const auto message = [&](auto value, std::size_t at) {
        image bad(good, good.size());
        bad.put(at, value);
        CHECK_FALSE(bad.is_good());  // the checksum of the data is wrong
        const auto data = bad.open().value().tensors()[0].data;
        bad.put(64 + bad.at<std::uint32_t>(64), crc32c(data));  // a file made that way: the last field of the only record
        bad.seal();
        const archive file = bad.open().value();
        const bool is_column = at >= columns;
        CHECK(file.get_any("w").has_value() == !is_column);
        return file.verify().error().message;
    };
    for (const std::uint32_t value : {2u, 1u, 48u, 0xffffffffu})
        CHECK(message(value, columns + 4).find("are not ascending columns of it") != std::string::npos);
    CHECK(message(std::uint16_t{0x7c00}, values + 2 * (16 + 5)).find("row 5, outlier 1 (byte offset in the tensor ") != std::string::npos);
    CHECK(message(std::uint16_t{0x7e01}, values).find("the value is not finite") != std::string::npos);
    CHECK(message(std::uint16_t{1}, values + 2 * ((3 + 2) * 16 + 5)).find("row 21, outlier 2") != std::string::npos);
    const auto refused = [&](auto value, std::size_t at, const char* part) {
        image bad(good, good.size());
        bad.put(at, value);
        const std::string what = bad.seal().open().error().message;
        INFO(what);
        CHECK(what.find(part) != std::string::npos);
    };
    const std::size_t layout = 64 + 4 + 4 + 1 + 4 + 12, bytes = layout + 4 + 16 + 8;
    CHECK(good.at<std::uint8_t>(layout + 1) == 2);
    for (const std::int64_t by : {-12 - 192, -1, 1, 67}) refused(std::uint64_t(std::int64_t(good.at<std::uint64_t>(bytes)) + by), bytes, "\"bytes\"");
    refused(std::uint64_t(~std::uint64_t{0}), bytes, "\"bytes\"");
    refused(good.at<std::uint64_t>(bytes) + 68, bytes, "the data end behind the file");  // one outlier more
    refused(std::uint8_t{0}, layout, "for matrices in panels only");
    archive_writer dense;
    CHECK_FALSE(dense.declare("x", format_of<dense_format<f16>>(), archive_layout::panels, {21, 48}, input_transform::outliers, 3));
}
