// A reader of the .npy files of the goldens: version 1.0, C order, little-endian (numpy.lib.format).
#pragma once
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "catch.hpp"

namespace test {

template <class T> struct npy : std::vector<T> {
    std::vector<std::size_t> shape;

    std::size_t rows() const { return shape.at(0); }
    std::size_t cols() const { return shape.at(1); }
    const T* row(std::size_t r) const { return this->data() + r * cols(); }
};

// Fails the test when the file is not what is expected: its type or its length.
template <class T> npy<T> read_npy(const std::string& path) {
    INFO(path);
    std::ifstream file(path, std::ios::binary);
    REQUIRE(file.good());
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    REQUIRE(bytes.size() > 10);
    REQUIRE(std::string_view(bytes).substr(0, 8) == std::string_view("\x93NUMPY\x01\x00", 8));
    const std::size_t header_bytes = std::size_t(std::uint8_t(bytes[8])) | std::size_t(std::uint8_t(bytes[9])) << 8, begin = 10 + header_bytes;
    REQUIRE(bytes.size() >= begin);
    const std::string header = bytes.substr(10, header_bytes);

    const char kind = std::is_floating_point_v<T> ? 'f' : std::is_signed_v<T> ? 'i' : 'u';
    const auto type = [&](char k) { return std::string("'descr': '") + (sizeof(T) == 1 ? "|" : "<") + k + std::to_string(sizeof(T)) + "'"; };
    const bool is_boolean = std::is_same_v<T, std::uint8_t> && header.find(type('b')) != std::string::npos;  // read as 0 and 1
    REQUIRE((is_boolean || header.find(type(kind)) != std::string::npos));
    REQUIRE(header.find("'fortran_order': False") != std::string::npos);

    npy<T> array;
    std::size_t n = 1, at = header.find("'shape': (");
    REQUIRE(at != std::string::npos);
    at += 10;
    for (const std::size_t end = header.find(')', at); at < end; ++at)
        if (header[at] >= '0' && header[at] <= '9') {
            std::size_t digits = 0;
            array.shape.push_back(std::stoul(header.substr(at), &digits));
            n *= array.shape.back();
            at += digits;
        }
    REQUIRE(bytes.size() - begin == n * sizeof(T));
    array.resize(n);
    if (n) std::memcpy(array.data(), bytes.data() + begin, n * sizeof(T));
    return array;
}

inline bool file_exists(const std::string& path) { return std::ifstream(path).good(); }

// A file of the reference data outside of the repository, if it is there; says so when it is not.
template <class T> std::optional<npy<T>> load_shared(const std::string& name) {
    const std::string path = std::string(QNT_SHARED_DIR "/") + name;
    if (!file_exists(path)) {
        WARN("skipped: " << path << " is not there");
        return {};
    }
    return read_npy<T>(path);
}

}  // namespace test
