// What the fuzz targets share. A target reads any bytes with one reader and checks what must hold of everything that it accepts: a file
// written from it reads back equal, other readers agree, an error is a readable message, memory is in proportion to the input.
//
//     extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
//         const fuzz::memory_bound bound(size, 64);
//         const auto v = qnt::parse_json(fuzz::text(data, size));
//         return v ? (FUZZ_CHECK(agrees(*v)), 0) : fuzz::refused(v.error());
//     }
#pragma once
#include <qnt/core/error.hpp>
#include <qnt/io/text.hpp>

#include <sanitizer/allocator_interface.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "../io/temp_folder.hpp"

#define FUZZ_CHECK(condition) ((condition) ? static_cast<void>(0) : fuzz::fail(__FILE__, __LINE__, #condition))

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace fuzz {

[[noreturn]] inline void fail(const char* file, int line, const std::string& what) {
    std::fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what.c_str());
    std::abort();
}

inline std::string_view text(const std::uint8_t* data, std::size_t size) { return {reinterpret_cast<const char*>(data), size}; }
inline std::span<const std::byte> bytes(const std::uint8_t* data, std::size_t size) { return {reinterpret_cast<const std::byte*>(data), size}; }
inline std::span<const std::byte> bytes(std::string_view s) { return ::as_bytes(s); }

// A message for a terminal: one line of a bounded length, nothing raw of the input in it.
inline int refused(std::string_view message) {
    FUZZ_CHECK(!message.empty() && message.size() < 4096);
    FUZZ_CHECK(qnt::printable(message, message.size() + 1) == message);
    return 0;
}
inline int refused(const qnt::error& e) { return refused(e.message); }
inline int refused(const std::exception& e) { return refused(e.what()); }

// All memory that is asked for while it lives, freed or not, is at most factor * input + a constant.
class memory_bound {
public:
    explicit memory_bound(std::size_t input, std::size_t factor, std::size_t constant = std::size_t{1} << 20)
        : most_(factor * input + constant), begin_(allocated()) {}
    ~memory_bound() {
        const std::size_t asked = allocated() - begin_;
        if (asked > most_) fail(__FILE__, __LINE__, std::to_string(asked) + " bytes allocated <= " + std::to_string(most_));
    }
    memory_bound(const memory_bound&) = delete;
    memory_bound& operator=(const memory_bound&) = delete;

private:
    static std::size_t& allocated() {
        static std::size_t sum = 0;
        static const int installed =
            __sanitizer_install_malloc_and_free_hooks([](const volatile void*, std::size_t n) { sum += n; }, [](const volatile void*) {});
        FUZZ_CHECK(installed > 0);
        return sum;
    }
    std::size_t most_, begin_;
};

// A file to write to and read back; run.sh puts it into memory.
inline std::string scratch_file() {
    static const temp_folder folder;
    return folder / "written";
}

// For mutators that know where the parts of a file are.
inline std::string mutated(std::string part, std::size_t max_size) {
    const std::size_t size = std::min(part.size(), max_size);
    part.resize(std::max<std::size_t>(max_size, 1));
    part.resize(LLVMFuzzerMutate(reinterpret_cast<std::uint8_t*>(part.data()), size, max_size));
    return part;
}
inline std::size_t put(std::string_view file, std::uint8_t* data, std::size_t max_size) {
    const std::size_t n = std::min(file.size(), max_size);
    std::memcpy(data, file.data(), n);
    return n;
}
template <class T> T load(std::string_view file, std::size_t at) {
    T v{};
    if (at <= file.size() && sizeof v <= file.size() - at) std::memcpy(&v, file.data() + at, sizeof v);
    return v;
}
template <class T> void store(std::string& file, std::size_t at, T v) {
    if (at <= file.size() && sizeof v <= file.size() - at) std::memcpy(file.data() + at, &v, sizeof v);
}

}  // namespace fuzz
