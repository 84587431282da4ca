#pragma once
#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <iterator>
#include <string>

#include "../text.hpp"

// A folder of the test's own, removed at the end.
struct temp_folder {
    std::filesystem::path path = std::filesystem::temp_directory_path() / ("qnt-test-" + std::to_string(::getpid()) + "-" + std::to_string(count++));

    temp_folder() { std::filesystem::create_directories(path); }
    ~temp_folder() {
        std::error_code ignored;
        std::filesystem::remove_all(path, ignored);
    }
    temp_folder(const temp_folder&) = delete;
    temp_folder& operator=(const temp_folder&) = delete;

    std::string operator/(const std::string& name) const { return (path / name).string(); }
    std::size_t files() const {
        return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(path), std::filesystem::directory_iterator()));
    }
    static inline int count = 0;
};
