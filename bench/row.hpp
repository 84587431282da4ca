// What all benchmarks print: JSON rows that begin alike. And lists, as their options have them.
#pragma once
#include <sstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <qnt/core/config.hpp>

namespace bench {

inline nlohmann::ordered_json row_of(const char* op, const std::string& format, std::size_t m, std::size_t n, std::size_t k, std::size_t threads,
                                     const std::string& cache) {
    const std::string version = std::to_string(QNT_VERSION_MAJOR) + "." + std::to_string(QNT_VERSION_MINOR) + "." + std::to_string(QNT_VERSION_PATCH);
    return {{"peer", "qnt"}, {"version", version}, {"op", op},      {"format", format}, {"m", m}, {"n", n},
            {"k", k},        {"threads", threads}, {"cache", cache}};
}

inline std::vector<std::string> split(const std::string& text, char separator) {
    std::vector<std::string> parts;
    std::stringstream stream(text);
    for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
    return parts;
}

}  // namespace bench
