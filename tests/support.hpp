// What tests of kernels share: reproducible numbers, every instruction set, page-guarded memory, executors that misbehave.
#pragma once
#include <qnt/core/executor.hpp>
#include <qnt/isa/isa.hpp>

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <span>
#include <thread>
#include <vector>

#include "catch.hpp"

namespace test {

// Bell-shaped (a sum of four uniforms), the same on every platform, unlike std::normal_distribution.
inline std::vector<float> random_floats(std::size_t n, unsigned seed, float scale = 1) {
    std::mt19937 random(seed);
    std::vector<float> v(n);
    for (float& x : v) {
        std::int64_t sum = 0;
        for (int i = 0; i < 4; ++i) sum += std::int64_t(random() >> 8) - (1 << 23);
        x = scale * float(double(sum) * 0x1p-24);
    }
    return v;
}

// Runs f(id) with every instruction set of this machine forced; a kernel that does not follow the choice fails.
template <class F> void on_every_isa(F&& f) {
    std::size_t ran = 0;
    for (std::size_t i = 0; i < qnt::isa::count; ++i) {
        const auto id = qnt::isa::id(i);
        if (!qnt::isa::supported(id)) continue;
        REQUIRE(qnt::isa::force(id).has_value());
        REQUIRE(qnt::isa::active() == id);
        INFO("isa " << qnt::isa::name(id));
        f(id);
        ++ran;
    }
    qnt::isa::reset();
    REQUIRE(ran >= 1);
}

inline bool same_bits(std::span<const float> a, std::span<const float> b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}

// n elements that end right before a page that must not be touched, and (at_start) or that begin right behind one.
template <class T> class guarded {
public:
    explicit guarded(std::size_t n, bool at_start = false) : n_(n) {
        const std::size_t page = std::size_t(sysconf(_SC_PAGESIZE)), bytes = n * sizeof(T), inner = (bytes + page - 1) / page * page;
        size_ = inner + 2 * page;
        map_ = static_cast<char*>(mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        REQUIRE(map_ != MAP_FAILED);
        REQUIRE(mprotect(map_, page, PROT_NONE) == 0);
        REQUIRE(mprotect(map_ + page + inner, page, PROT_NONE) == 0);
        data_ = reinterpret_cast<T*>(at_start ? map_ + page : map_ + page + inner - bytes);
    }
    ~guarded() { munmap(map_, size_); }
    guarded(const guarded&) = delete;
    guarded& operator=(const guarded&) = delete;
    T* data() { return data_; }
    std::span<T> span() { return {data_, n_}; }

private:
    char* map_;
    T* data_;
    std::size_t n_, size_;
};

// A new thread for every chunk, the last chunk first.
struct chaotic_executor {
    std::size_t threads = 3;
    std::size_t size() const { return threads; }
    void parallel_for(std::size_t n, std::size_t grain, qnt::range_function f) const {
        const std::size_t steps = (n + grain - 1) / grain, each = std::max<std::size_t>(1, steps / threads) * grain;
        std::vector<std::thread> running;
        for (std::size_t chunk = (n + each - 1) / each; chunk-- > 0;) running.emplace_back([=] { f(chunk * each, std::min(n, (chunk + 1) * each)); });
        for (std::thread& t : running) t.join();
    }
};

}  // namespace test
