// The machine that a program runs on, and what the program takes of it. Linux.
#pragma once
#include <algorithm>
#include <fstream>
#include <string>

namespace tools {

inline std::string cpu_name() {
    std::ifstream file("/proc/cpuinfo");
    std::string line, name = "unknown", family, model;
    const auto value = [&] { return line.substr(std::min(line.find(':') + 2, line.size())); };
    while (std::getline(file, line) && !line.empty()) {
        if (line.starts_with("model name")) name = value();
        else if (line.starts_with("cpu family")) family = value();
        else if (line.starts_with("model\t")) model = value();
    }
    return name + " (family " + family + " model " + model + ")";
}

// The most memory that this process had resident since it began, or since forget_peak_memory(), in bytes; 0 where the system does not say.
inline std::size_t peak_memory() {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);)
        if (line.starts_with("VmHWM:")) return std::size_t(std::stoull(line.substr(6))) * 1024;
    return 0;
}
// False: the system cannot (proc(5), clear_refs: 5).
inline bool forget_peak_memory() {
    std::ofstream file("/proc/self/clear_refs");
    file << "5" << std::flush;
    return bool(file);
}

}  // namespace tools
