// The .npy files of the goldens.
#pragma once
#include <qnt/io/npy.hpp>

#include <fstream>
#include <optional>

#include "catch.hpp"

namespace test {

template <class T> struct npy : std::vector<T> {
    std::vector<std::size_t> shape;

    std::size_t rows() const { return shape.at(0); }
    std::size_t cols() const { return shape.at(1); }
    const T* row(std::size_t r) const { return this->data() + r * cols(); }
};

// Fails the test when the file is not what is expected.
template <class T> npy<T> read_npy(const std::string& path) {
    const auto file = qnt::npy_file::load(path).value();
    return {file.read<T>().value(), file.shape()};
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
