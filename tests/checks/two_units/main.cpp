// Two units with different flags in one program: both must give the same bits.
#include <cstdio>
#include <cstring>
#include <vector>

std::vector<float> run_base();
std::vector<float> run_native();

int main() {
    const std::vector<float> base = run_base(), native = run_native();
    if (base.empty() || base.size() != native.size() || std::memcmp(base.data(), native.data(), base.size() * sizeof(float)) != 0) {
        std::fprintf(stderr, "the units disagree\n");
        return 1;
    }
}
