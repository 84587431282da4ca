#include <qnt/io/file.hpp>

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "catch.hpp"
#include "temp_folder.hpp"

using namespace qnt;

static std::string text_of(std::span<const std::byte> bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

TEST_CASE("a file mapped, read and borrowed has its bytes") {
    const temp_folder folder;
    const std::size_t size = GENERATE(0u, 1u, 4095u, 4096u, 4097u, 3u << 20);
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 7 + i / 256);
    write_text(folder / "f", text);

    auto mapped = mapped_file::open(folder / "f").value();
    CHECK(text_of(mapped.bytes()) == text);
    const mapped_file moved = std::move(mapped);
    CHECK(text_of(moved.bytes()) == text);
    CHECK(mapped.bytes().empty());

    const aligned_buffer read = read_file(folder / "f").value();
    CHECK(text_of({read.data(), read.size()}) == text);
    CHECK(text_of(file_bytes::map(folder / "f").value().bytes()) == text);
    CHECK(text_of(file_bytes::load(folder / "f").value().bytes()) == text);
    CHECK(text_of(file_bytes(as_bytes(text)).bytes()) == text);
}

TEST_CASE("what is no regular file is refused, and named") {
    const temp_folder folder;
    const auto refused = [&](const std::string& path, errc code, const char* word) {
        for (const auto& e :
             {mapped_file::open(path).error(), read_file(path).error(), file_bytes::map(path).error(), file_bytes::load(path).error()}) {
            CHECK(e.code == code);
            CHECK(contains(e.message, path.substr(0, 10)));
            CHECK(contains(e.message, word));
        }
    };
    refused(folder / "missing", errc::not_found, "No such file");
    refused(folder.path.string(), errc::invalid_argument, "directory");
    refused("/dev/zero", errc::invalid_argument, "device");
    REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
    refused(folder / "pipe", errc::invalid_argument, "pipe");  // and does not wait for a writer
    CHECK(mapped_file::open(std::string("a\0b", 3)).error().code == errc::invalid_argument);
    CHECK_FALSE(contains(mapped_file::open("\x1b[31m").error().message, "\x1b"));
}

TEST_CASE("a file appears when it is complete") {
    const temp_folder folder;
    const std::string path = folder / "out";
    auto w = atomic_file_writer::create(path).value();
    REQUIRE(w.write(as_bytes("one ")));
    REQUIRE(w.write({}));
    REQUIRE(w.write(as_bytes("two")));
    CHECK(w.size() == 7);
    CHECK_FALSE(std::filesystem::exists(path));
    REQUIRE(w.commit());
    CHECK(text_of(path) == "one two");
    CHECK(folder.files() == 1);
    CHECK_THROWS_AS(w.commit(), contract_error);

    REQUIRE(write_file_atomically(path, as_bytes("new")));
    CHECK(text_of(path) == "new");
    REQUIRE(write_file_atomically(path, {}));
    CHECK(text_of(path).empty());
    CHECK(folder.files() == 1);
}

TEST_CASE("bytes that were written can be replaced and padded, others cannot") {
    const temp_folder folder;
    auto w = atomic_file_writer::create(folder / "out").value();
    REQUIRE(w.pad_to(64));
    CHECK(w.size() == 0);
    REQUIRE(w.write(as_bytes("0123456789")));
    REQUIRE(w.write_at(2, as_bytes("ab")));
    REQUIRE(w.write_at(9, as_bytes("c")));
    REQUIRE(w.write_at(10, {}));
    REQUIRE(w.pad_to(8));
    CHECK(w.size() == 16);
    REQUIRE(w.write(as_bytes("end")));
    REQUIRE(w.write_at(0, as_bytes("x")));
    CHECK_THROWS_AS(w.write_at(19, as_bytes("y")), contract_error);
    CHECK_THROWS_AS(w.write_at(20, {}), contract_error);
    CHECK_THROWS_AS(w.write_at(~std::size_t{0}, as_bytes("y")), contract_error);
    REQUIRE(w.pad_to(10000));
    REQUIRE(w.commit());
    CHECK(text_of(folder / "out") == "x1ab45678c" + std::string(6, '\0') + "end" + std::string(9981, '\0'));
}

TEST_CASE("a file that is not finished leaves nothing behind") {
    const temp_folder folder;
    const std::string path = folder / "out";
    write_text(path, "old");
    {
        auto w = atomic_file_writer::create(path).value();
        REQUIRE(w.write(as_bytes("half")));
        CHECK(folder.files() == 2);
        const auto moved = std::move(w);
        CHECK(folder.files() == 2);
    }
    CHECK(folder.files() == 1);
    CHECK(text_of(path) == "old");
}

TEST_CASE("a full disk leaves the old file") {
    const temp_folder folder;
    const std::string path = folder / "out";
    write_text(path, "old");
    const pid_t child = ::fork();
    if (child == 0) {  // no more than 4 KiB a file for this process
        ::signal(SIGXFSZ, SIG_IGN);
        const rlimit limit{4096, 4096};
        ::setrlimit(RLIMIT_FSIZE, &limit);
        const std::vector<std::byte> bytes(10000);
        const auto r = write_file_atomically(path, bytes);
        ::_exit(!r && r.error().code == errc::io && contains(r.error().message, "out") && contains(r.error().message, "too large") ? 0 : 1);
    }
    int status = -1;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
    CHECK(text_of(path) == "old");
    CHECK(folder.files() == 1);
}

TEST_CASE("a file for which there is no room in memory is an error") {
#if defined(QNT_ADDRESS_SANITIZER) || defined(QNT_THREAD_SANITIZER)
    WARN("skipped: the sanitizer needs the address space that this test takes away");
#else
    const temp_folder folder;
    const std::string path = folder / "large";
    write_text(path, "");
    std::filesystem::resize_file(path, std::uintmax_t{1} << 32);  // of which nothing is on the disk
    const pid_t child = ::fork();
    if (child == 0) {
        const rlimit limit{std::size_t{1} << 30, std::size_t{1} << 30};
        ::setrlimit(RLIMIT_AS, &limit);
        const auto mapped = mapped_file::open(path);
        const auto read = read_file(path);
        const bool good = !mapped && mapped.error().code == errc::out_of_memory && mapped.error().message.starts_with(path + ": cannot map: ") &&
                          !read && read.error().code == errc::out_of_memory &&
                          read.error().message == path + ": no memory for a buffer of 4294967296 bytes";
        ::_exit(good ? 0 : 1);
    }
    int status = -1;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
#endif
}

TEST_CASE("a replaced file keeps its permissions and its links, the mapped old one its bytes") {
    const temp_folder folder;
    write_text(folder / "file", "old");
    std::filesystem::permissions(folder / "file", std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
    std::filesystem::create_symlink("file", folder / "link");
    const auto mapped = mapped_file::open(folder / "file").value();
    REQUIRE(write_file_atomically(folder / "link", as_bytes("new")));
    CHECK(std::filesystem::is_symlink(folder / "link"));
    CHECK(text_of(folder / "file") == "new");
    CHECK(std::filesystem::status(folder / "file").permissions() == (std::filesystem::perms::owner_read | std::filesystem::perms::owner_write));
    CHECK(text_of(mapped.bytes()) == "old");
}

TEST_CASE("what cannot be written is refused before anything happens") {
    const temp_folder folder;
    CHECK(atomic_file_writer::create(folder.path.string()).error().code == errc::invalid_argument);
    CHECK(atomic_file_writer::create("/dev/full").error().code == errc::invalid_argument);
    CHECK(atomic_file_writer::create("").error().code == errc::invalid_argument);
    CHECK(atomic_file_writer::create(folder / "no/such/file").error().code == errc::not_found);
    CHECK(folder.files() == 0);
}
