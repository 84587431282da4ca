// Runs the workload and prints a hash of its results (FNV-1a): the same on every machine, for every compiler and with all flags. Fails
// when it is not the one stored here; a change of the norm changes it, and says so in CHANGELOG.md.
#include "workload.hpp"

int main() {
    constexpr unsigned long long expected = 0xe4fb3a16db2fe48a;
    const std::vector<float> results = run_workload();
    if (results.empty()) return 1;
    unsigned long long hash = 14695981039346656037u;
    for (const std::byte b : std::as_bytes(std::span(results))) hash = (hash ^ std::to_integer<unsigned>(b)) * 1099511628211u;
    std::printf("%016llx\n", hash);
    if (hash != expected) std::fprintf(stderr, "the norm says %016llx\n", expected);
    return hash == expected ? 0 : 1;
}
