// Files: mapped, read into huge pages, and written so that no reader ever sees half of one. POSIX.
#pragma once
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <span>
#include <string>
#include <system_error>
#include <utility>

#include "../core/aligned_buffer.hpp"
#include "text.hpp"

namespace qnt {
namespace detail {

class file_handle {
public:
    file_handle() = default;
    explicit file_handle(int fd) : fd_(fd) {}
    file_handle(file_handle&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    file_handle& operator=(file_handle&& other) noexcept { return std::swap(fd_, other.fd_), *this; }
    ~file_handle() {
        if (fd_ >= 0) ::close(fd_);
    }
    int get() const noexcept { return fd_; }

private:
    int fd_ = -1;
};

struct opened_file {
    file_handle handle;
    std::size_t size = 0;
};

inline namespace QNT_BASELINE {

// The error of the last system call, `what` being what it was asked to do.
inline error system_error(const std::string& path, const char* what) {
    const int code = errno;
    return {code == ENOENT   ? errc::not_found
            : code == ENOMEM ? errc::out_of_memory
                             : errc::io,
            printable(path, 4096) + ": " + what + ": " + std::generic_category().message(code)};
}

// Errors: not_found, io, invalid_argument (not a regular file: its size would say nothing, and a pipe would block).
inline result<opened_file> open_regular(const std::string& path) {
    if (path.find('\0') != std::string::npos) return error{errc::invalid_argument, in_quotes(path) + ": a file name cannot hold a NUL character"};
    opened_file f{file_handle(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)), 0};
    struct stat status {};
    if (f.handle.get() < 0) return system_error(path, "cannot open");
    if (::fstat(f.handle.get(), &status) != 0) return system_error(path, "cannot read its size");
    if (!S_ISREG(status.st_mode))
        return error{errc::invalid_argument,
                     printable(path, 4096) + (S_ISDIR(status.st_mode) ? ": is a directory" : ": is a pipe or device") + ", not a regular file"};
    f.size = static_cast<std::size_t>(status.st_size);
    return f;
}

}  // namespace QNT_BASELINE
}  // namespace detail

// The bytes of a file in place, read-only. Opening costs nothing, pages come with the first access. The file must keep its bytes
// while it is mapped: one that another program cuts short stops this one with SIGBUS, one that is written to changes under it
// (replace files by renaming, as atomic_file_writer does; on file systems that cannot promise this use read_file).
class mapped_file {
public:
    mapped_file() = default;
    mapped_file(mapped_file&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
    mapped_file& operator=(mapped_file&& other) noexcept { return std::swap(bytes_, other.bytes_), *this; }
    ~mapped_file() {
        if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
    }

    // Errors: not_found, io, invalid_argument (not a regular file). An empty file has no bytes.
    static result<mapped_file> open(const std::string& path) {
        auto f = detail::open_regular(path);
        if (!f) return f.error();
        mapped_file m;
        if (f->size == 0) return m;
        void* p = ::mmap(nullptr, f->size, PROT_READ, MAP_PRIVATE, f->handle.get(), 0);
        if (p == MAP_FAILED) return detail::system_error(path, "cannot map");
        m.bytes_ = {static_cast<const std::byte*>(p), f->size};
        return m;
    }
    std::span<const std::byte> bytes() const noexcept { return bytes_; }

    // Gives the memory of whole pages of `part` back: the next access reads them from the file again. For those who read a file that is
    // larger than they want to be.
    void forget(std::span<const std::byte> part) const noexcept {
        const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)), begin = static_cast<std::size_t>(part.data() - bytes_.data());
        const std::size_t first = round_up(begin, page), end = (begin + part.size()) / page * page;
        if (first < end) ::madvise(const_cast<std::byte*>(bytes_.data()) + first, end - first, MADV_DONTNEED);
    }

private:
    std::span<const std::byte> bytes_;
};

inline namespace QNT_BASELINE {

// All bytes of a file in memory of our own (huge pages from 1 MiB on). Errors: not_found, io (also: shrank while it was read),
// invalid_argument (not a regular file, or larger than max_bytes), out_of_memory.
inline result<aligned_buffer> read_file(const std::string& path, std::size_t max_bytes = ~std::size_t{0}) {
    auto f = detail::open_regular(path);
    if (!f) return f.error();
    if (f->size > max_bytes)
        return error{errc::invalid_argument,
                     printable(path, 4096) + ": has " + std::to_string(f->size) + " bytes, more than the " + std::to_string(max_bytes) + " allowed"};
    auto buffer = aligned_buffer::allocate(f->size);
    if (!buffer) return error{buffer.error().code, printable(path, 4096) + ": " + buffer.error().message};
    for (std::size_t at = 0; at < f->size;) {
        const std::size_t most = std::min(f->size - at, std::size_t{1} << 30);  // Linux reads at most 2 GiB at once
        const ::ssize_t n = ::pread(f->handle.get(), buffer->data() + at, most, static_cast<::off_t>(at));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return detail::system_error(path, "cannot read");
        if (n == 0)
            return error{errc::io, printable(path, 4096) + ": ends at byte " + std::to_string(at) + " of " + std::to_string(f->size) +
                                       ": it shrank while it was read"};
        at += static_cast<std::size_t>(n);
    }
    return buffer;
}

}  // namespace QNT_BASELINE

// The bytes of a file by either way, or bytes that the caller keeps.
class file_bytes {
public:
    file_bytes() = default;
    explicit file_bytes(mapped_file m) : mapped_(std::move(m)), bytes_(mapped_.bytes()) {}
    explicit file_bytes(aligned_buffer b) : buffer_(std::move(b)), bytes_(buffer_.data(), buffer_.size()) {}
    explicit file_bytes(std::span<const std::byte> borrowed) : bytes_(borrowed) {}

    // In place; see mapped_file.
    static result<file_bytes> map(const std::string& path) {
        auto m = mapped_file::open(path);
        if (!m) return m.error();
        return file_bytes(std::move(*m));
    }
    // A copy; see read_file.
    static result<file_bytes> load(const std::string& path) {
        auto b = read_file(path);
        if (!b) return b.error();
        return file_bytes(std::move(*b));
    }
    std::span<const std::byte> bytes() const noexcept { return bytes_; }
    // See mapped_file; a copy stays.
    void forget(std::span<const std::byte> part) const noexcept {
        if (!mapped_.bytes().empty()) mapped_.forget(part);
    }

private:
    mapped_file mapped_;
    aligned_buffer buffer_;
    std::span<const std::byte> bytes_;
};

// Writes a file that appears under its name only when it is complete and on the disk: the bytes go to a temporary file in the same
// folder, which commit() renames. Whatever happens before leaves the old file as it was, and the destructor removes the temporary
// one (a killed process leaves it, named `.qnt-tmp-NAME-N`; the next writer of this file removes it). An existing file keeps its permissions, a symbolic link stays one.
class atomic_file_writer {
public:
    // Errors: io, not_found (no such folder), invalid_argument (the name is that of a folder or device).
    static result<atomic_file_writer> create(const std::string& path);

    atomic_file_writer(atomic_file_writer&& other) noexcept
        : handle_(std::move(other.handle_)), path_(std::move(other.path_)), temporary_(std::exchange(other.temporary_, {})), size_(other.size_) {}
    atomic_file_writer& operator=(atomic_file_writer&& other) noexcept {
        std::swap(handle_, other.handle_);
        std::swap(path_, other.path_);
        std::swap(temporary_, other.temporary_);
        std::swap(size_, other.size_);
        return *this;
    }
    ~atomic_file_writer() {
        if (!temporary_.empty()) ::unlink(temporary_.c_str());
    }

    // Appends. After an error the writer is of no further use.
    result<void> write(std::span<const std::byte> bytes);
    // Zeros up to the next multiple of `alignment`.
    result<void> pad_to(std::size_t alignment);
    // Replaces bytes that were written before.
    result<void> write_at(std::size_t offset, std::span<const std::byte> bytes);
    // Makes the file durable and visible. Once.
    result<void> commit();
    std::size_t size() const noexcept { return size_; }  // bytes written so far

private:
    atomic_file_writer() = default;

    detail::file_handle handle_;
    std::string path_;
    std::string temporary_;  // empty: nothing to remove
    std::size_t size_ = 0;
};

namespace detail {
inline namespace QNT_BASELINE {

inline std::string folder_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    return slash == std::string::npos ? "." : path.substr(0, slash + 1);
}

// Is `fd` the file of this name still, and locked by us? `unless_known`: the answer where the file system has no locks.
inline bool holds(int fd, const std::string& name, bool unless_known) {
    struct stat own {
    }, named{};
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0 && (errno == EWOULDBLOCK || !unless_known)) return false;
    return ::fstat(fd, &own) == 0 && ::lstat(name.c_str(), &named) == 0 && own.st_ino == named.st_ino && own.st_dev == named.st_dev;
}

// Opens a new file in the folder of `path`; its name, which tells that of `path`, goes to `name`. Who writes such a file keeps it locked:
// one that is not was left by a killed process, and is removed.
inline file_handle open_temporary(const std::string& path, std::string& name) {
    const std::string stem = folder_of(path) + "/.qnt-tmp-" + path.substr(path.rfind('/') + 1).substr(0, 200) + '-';
    for (int attempt = 0; attempt < 1000; ++attempt) {
        name = stem + std::to_string(attempt / 2);  // each twice: what was left behind is gone the second time
        file_handle file(::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
        if (file.get() < 0 && errno != EEXIST) return file;
        if (file.get() >= 0 && holds(file.get(), name, true)) return file;
        const file_handle old(file.get() >= 0 ? -1 : ::open(name.c_str(), O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
        if (old.get() >= 0 && holds(old.get(), name, false)) ::unlink(name.c_str());
    }
    errno = EEXIST;
    return {};
}

inline result<void> write_all(int fd, const std::string& path, std::span<const std::byte> bytes, std::size_t offset) {
    while (!bytes.empty()) {
        const ::ssize_t n = ::pwrite(fd, bytes.data(), std::min(bytes.size(), std::size_t{1} << 30), static_cast<::off_t>(offset));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return system_error(path, "cannot write (nothing was changed)");
        bytes = bytes.subspan(static_cast<std::size_t>(n));
        offset += static_cast<std::size_t>(n);
    }
    return {};
}

}  // namespace QNT_BASELINE
}  // namespace detail

inline result<atomic_file_writer> atomic_file_writer::create(const std::string& path) {
    if (path.empty() || path.find('\0') != std::string::npos) return error{errc::invalid_argument, in_quotes(path) + ": is not a file name"};
    atomic_file_writer w;
    w.path_ = path;
    struct stat status {};
    const bool exists = ::stat(path.c_str(), &status) == 0;
    if (exists && !S_ISREG(status.st_mode))
        return error{errc::invalid_argument, printable(path, 4096) + ": is a folder, pipe or device; only a regular file can be replaced"};
    if (char* real = exists ? ::realpath(path.c_str(), nullptr) : nullptr) {
        w.path_ = real;
        std::free(real);
    }
    w.handle_ = detail::open_temporary(w.path_, w.temporary_);
    if (w.handle_.get() < 0) {
        w.temporary_.clear();
        return detail::system_error(path, "cannot create a file in its folder");
    }
    if (exists && ::fchmod(w.handle_.get(), status.st_mode & 07777) != 0) return detail::system_error(path, "cannot keep its permissions");
    return w;
}

inline result<void> atomic_file_writer::write(std::span<const std::byte> bytes) {
    QNT_TRY(detail::write_all(handle_.get(), path_, bytes, size_));
    size_ += bytes.size();
    return {};
}

inline result<void> atomic_file_writer::pad_to(std::size_t alignment) {
    const std::byte zeros[4096] = {};
    for (std::size_t rest = round_up(size_, alignment) - size_; rest > 0;) {
        const std::size_t n = std::min(rest, sizeof zeros);
        QNT_TRY(write(std::span(zeros).first(n)));
        rest -= n;
    }
    return {};
}

inline result<void> atomic_file_writer::write_at(std::size_t offset, std::span<const std::byte> bytes) {
    if (offset > size_ || bytes.size() > size_ - offset)
        detail::contract_violation("atomic_file_writer::write_at(): bytes from " + std::to_string(offset) + " on, " + std::to_string(bytes.size()) +
                                   " of them, were not all written before");
    return detail::write_all(handle_.get(), path_, bytes, offset);
}

inline result<void> atomic_file_writer::commit() {
    if (temporary_.empty()) detail::contract_violation("atomic_file_writer::commit(): called twice, or on a writer that was moved from");
    const detail::file_handle folder(::open(detail::folder_of(path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (::fsync(handle_.get()) != 0) return detail::system_error(path_, "cannot write (nothing was changed)");
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) return detail::system_error(path_, "cannot rename the finished file");
    temporary_.clear();                                               // from here on nothing fails
    if (folder.get() >= 0) static_cast<void>(::fsync(folder.get()));  // some file systems cannot; the file itself is safe
    return {};
}

inline namespace QNT_BASELINE {

// The whole file at once.
inline result<void> write_file_atomically(const std::string& path, std::span<const std::byte> bytes) {
    auto w = atomic_file_writer::create(path);
    if (!w) return w.error();
    QNT_TRY(w->write(bytes));
    return w->commit();
}

}  // namespace QNT_BASELINE
}  // namespace qnt
