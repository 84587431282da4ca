// Owned bytes, zeroed, aligned to a line; from 1 MiB on aligned to and advised for huge pages, which a linear read needs to reach
// the speed of the memory (4 KiB pages cost up to half of it on some machines).
#pragma once
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "error.hpp"
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace qnt {

namespace detail {
inline namespace QNT_BASELINE {
inline error no_memory_for(std::size_t bytes) { return {errc::out_of_memory, "no memory for a buffer of " + std::to_string(bytes) + " bytes"}; }
}  // namespace QNT_BASELINE
}  // namespace detail

class aligned_buffer {
public:
    aligned_buffer() = default;
    aligned_buffer(aligned_buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    aligned_buffer& operator=(aligned_buffer&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        return *this;
    }
    ~aligned_buffer() {
        if (data_) ::operator delete(data_, std::align_val_t{alignment(size_)});
    }

    // `bytes` zeroed bytes. Errors: out_of_memory.
    QNT_INLINE static result<aligned_buffer> allocate(std::size_t bytes) {
        aligned_buffer b;
        if (bytes == 0) return b;
        if (bytes > std::size_t(-1) / 2) return detail::no_memory_for(bytes);
        const std::size_t align = alignment(bytes);
        b.data_ = static_cast<std::byte*>(::operator new(bytes, std::align_val_t{align}, std::nothrow));
        if (!b.data_) return detail::no_memory_for(bytes);
        b.size_ = bytes;
#if defined(__linux__)
        if (align == huge_page) static_cast<void>(madvise(b.data_, bytes, MADV_HUGEPAGE));  // advice: a refusal changes the speed only
#endif
        std::memset(b.data_, 0, bytes);
        return b;
    }

    std::byte* data() noexcept { return data_; }
    const std::byte* data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }

private:
    static constexpr std::size_t huge_page = std::size_t{1} << 21;
    static constexpr std::size_t alignment(std::size_t bytes) { return bytes >= huge_page / 2 ? huge_page : line_bytes; }

    std::byte* data_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace qnt
