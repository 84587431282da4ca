// Timing, and the limits of this machine on the buffers at hand.
#pragma once
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <qnt/qnt.hpp>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#define QNT_ISA_FILE "bench/limits.inl"
#include <qnt/isa/foreach.hpp>

namespace bench {

inline double now_us() {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return double(t.tv_sec) * 1e6 + double(t.tv_nsec) * 1e-3;
}

// Cores that other processes kept busy between start and stop.
class other_load {
public:
    other_load() : busy_(busy()), own_(own()), begin_(now_us()) {}
    double cores() const {
        const double wall = (now_us() - begin_) * 1e-6;
        return wall > 0 ? std::max(0.0, (busy() - busy_ - (own() - own_)) / wall) : 0;
    }

private:
    static double busy() {
        std::ifstream file("/proc/stat");
        std::string word;
        double v[8] = {};  // user nice system idle iowait irq softirq steal
        file >> word;
        for (double& x : v) file >> x;
        return (v[0] + v[1] + v[2] + v[5] + v[6] + v[7]) / double(sysconf(_SC_CLK_TCK));
    }
    static double own() {
        timespec t{};
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
        return double(t.tv_sec) + double(t.tv_nsec) * 1e-9;
    }
    double busy_, own_, begin_;
};

struct timing {
    double median_us = 0, min_us = 0, other_cpu = 0;
    int reps = 0;
};

// Calls f(0), f(1), .. for budget_us after a warm-up, at least 9 times.
template <class F> timing measure(F&& f, double budget_us) {
    int i = 0;
    for (const double begin = now_us(); i < 2 || now_us() - begin < budget_us * 0.15; ++i) f(i);
    std::vector<double> samples;
    const other_load load;
    for (const double begin = now_us(); samples.size() < 9 || (now_us() - begin < budget_us && samples.size() < 50000); ++i) {
        const double from = now_us();
        f(i);
        samples.push_back(now_us() - from);
    }
    timing t;
    t.other_cpu = load.cores();
    std::sort(samples.begin(), samples.end());
    t.median_us = samples[samples.size() / 2];
    t.min_us = samples[0];
    t.reps = int(samples.size());
    return t;
}

// f(thread) on `threads` threads that start together; the time from the start to the last end.
template <class F> double together_us(std::size_t threads, const F& f) {
    std::atomic<std::size_t> ready{0};
    std::vector<double> end(threads);
    std::vector<std::thread> others;
    const auto run = [&](std::size_t t) {
        ready.fetch_add(1);
        while (ready.load() < threads) {
        }
        f(t);
        end[t] = now_us();
    };
    double begin = 0;
    for (std::size_t t = 1; t < threads; ++t) others.emplace_back(run, t);
    while (ready.load() + 1 < threads) {
    }
    begin = now_us();
    run(0);
    for (std::thread& t : others) t.join();
    return *std::max_element(end.begin(), end.end()) - begin;
}

namespace limits_of {
inline constexpr decltype(&qnt::isa::scalar::read_limit) read[] = QNT_EVERY_ISA(read_limit);
inline constexpr decltype(&qnt::isa::scalar::dot_limit) dot[] = QNT_EVERY_ISA(dot_limit);
inline constexpr decltype(&qnt::isa::scalar::fma_limit) fma[] = QNT_EVERY_ISA(fma_limit);
}  // namespace limits_of

template <class Sample> double best_of(int samples, const Sample& sample) {
    double best = 0;
    for (int i = 0; i < samples; ++i) best = std::max(best, sample());
    return best;
}

// GB/s of linear reading, every thread its part of [data, data + bytes), `passes` times over; the median of several.
inline double read_gbps(const std::byte* data, std::size_t bytes, std::size_t threads, std::size_t passes) {
    const auto read = limits_of::read[std::size_t(qnt::isa::active())];
    const std::size_t part = bytes / threads / 4096 * 4096;
    std::vector<double> samples;
    for (int i = 0; i < 5; ++i) {
        const double us = together_us(threads, [&](std::size_t t) {
            for (std::size_t p = 0; p < passes; ++p) read(reinterpret_cast<const float*>(data + t * part), part / sizeof(float));
        });
        samples.push_back(double(part * threads * passes) / us * 1e-3);
    }
    std::sort(samples.begin(), samples.end());
    return samples[samples.size() / 2];
}

inline double peak_gops(double (*body)(std::size_t) noexcept, std::size_t threads) {
    return best_of(5, [&] {
        double done = 0;
        const double us = together_us(threads, [&](std::size_t t) {
            const double ops = body(200000);
            if (t == 0) done = ops;
        });
        return done * double(threads) / us * 1e-3;
    });
}

}  // namespace bench
