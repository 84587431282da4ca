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

TEST_CASE("pages of a mapped file that are forgotten come again, those of a copy stay") {
    const temp_folder folder;
    std::string text(5 * 4096 + 7, 'x');
    for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 7 + i / 256);
    write_text(folder / "f", text);
    const auto resident = [](std::span<const std::byte> bytes) {
        std::size_t n = 0;
        std::ifstream maps("/proc/self/smaps");
        const auto address = reinterpret_cast<std::uintptr_t>(bytes.data());
        for (std::string line; std::getline(maps, line);) {
            std::uintptr_t begin = 0, end = 0;
            if (std::sscanf(line.c_str(), "%lx-%lx ", &begin, &end) != 2 || address < begin || address >= end) continue;
            while (std::getline(maps, line) && std::sscanf(line.c_str(), "Rss: %zu kB", &n) != 1) {
            }
            break;
        }
        return n / 4;
    };
    const auto mapped = file_bytes::map(folder / "f").value(), copy = file_bytes::load(folder / "f").value();
    for (const file_bytes* f : {&mapped, &copy})
        for (const std::size_t begin : {0u, 1u, 4096u, 4097u, 20480u})
            for (const std::size_t size : {0u, 1u, 4096u, 8191u, 8192u}) {
                const auto part = f->bytes().subspan(begin).first(std::min(size, text.size() - begin));
                f->forget(part);
                CHECK(text_of(f->bytes()) == text);
            }
    if (resident(mapped.bytes()) != 6) {
        WARN("skipped: this system does not tell which pages of 4096 bytes are in memory");
        return;
    }
    mapped.forget(mapped.bytes().subspan(1, 3 * 4096));  // two whole pages
    CHECK(resident(mapped.bytes()) == 4);
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

TEST_CASE("what a killed process left is removed by the next writer of the same file, what is being written stays") {
    const temp_folder folder;
    const std::string path = folder / "out";
    REQUIRE(::mkdir((folder / ".qnt-tmp-out-1").c_str(), 0700) == 0);  // in the way, and none of ours
    const ::pid_t killed = ::fork();
    if (killed == 0) {
        auto w = atomic_file_writer::create(path).value();
        const auto other = atomic_file_writer::create(folder / "other").value();
        if (w.write(as_bytes("half"))) ::raise(SIGKILL);
        ::_exit(1);
    }
    int status = 0;
    REQUIRE(::waitpid(killed, &status, 0) == killed);
    REQUIRE(WIFSIGNALED(status));
    CHECK(folder.files() == 3);
    {
        auto first = atomic_file_writer::create(path).value(), second = atomic_file_writer::create(path).value();
        CHECK(folder.files() == 4);
        REQUIRE(first.write(as_bytes("first")));
        REQUIRE(second.write(as_bytes("second")));
        REQUIRE(second.commit());
        const auto third = atomic_file_writer::create(path).value();
        REQUIRE(first.commit());
        CHECK(text_of(path) == "first");
    }
    CHECK(folder.files() == 3);
    CHECK(text_of(folder / ".qnt-tmp-other-0").empty());
    REQUIRE(atomic_file_writer::create(folder / "other"));
    CHECK(folder.files() == 2);
    REQUIRE(atomic_file_writer::create(folder / std::string(250, 'x')).has_value());
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
        rlimit limit{std::size_t{1} << 30, std::size_t{1} << 30};
        ::setrlimit(RLIMIT_AS, &limit);
        if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur != std::size_t{1} << 30) ::_exit(2);
        const auto mapped = mapped_file::open(path);
        const auto read = read_file(path);
        const bool good = !mapped && mapped.error().code == errc::out_of_memory && mapped.error().message.starts_with(path + ": cannot map: ") &&
                          !read && read.error().code == errc::out_of_memory &&
                          read.error().message == path + ": no memory for a buffer of 4294967296 bytes";
        ::_exit(good ? 0 : 1);
    }
    int status = -1;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status));
    if (WEXITSTATUS(status) == 2) WARN("skipped: the address space of a process cannot be limited here (qemu)");
    else CHECK(WEXITSTATUS(status) == 0);
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
