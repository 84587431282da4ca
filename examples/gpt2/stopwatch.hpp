// Where the time of forward passes goes.
//
//   gpt2::stopwatch watch;
//   gpt2::batch batch(model, pool, {.watch = &watch});          // without one, nothing is measured
//   ...
//   watch.seconds(gpt2::part::attention), watch.total()
#pragma once
#include <array>
#include <chrono>
#include <cstddef>
#include <numeric>

namespace gpt2 {

enum class part : std::size_t { embedding, norm, qkv, attention, projection, mlp, head, sampling, other };
inline constexpr std::array part_names{"embedding", "norm", "qkv", "attention", "projection", "mlp", "head", "sampling", "other"};

class stopwatch {
public:
    // What was not measured since the last lap is left out from here on.
    void start() { last_ = clock::now(); }
    // Everything since start() or the last lap belongs to `p`: between start() and the last lap no time is lost.
    void lap(part p) {
        const clock::time_point now = clock::now();
        seconds_[std::size_t(p)] += std::chrono::duration<double>(now - last_).count();
        last_ = now;
    }
    double seconds(part p) const { return seconds_[std::size_t(p)]; }
    double total() const { return std::accumulate(seconds_.begin(), seconds_.end(), 0.0); }
    void add(const stopwatch& other) {
        for (std::size_t i = 0; i < seconds_.size(); ++i) seconds_[i] += other.seconds_[i];
    }
    void reset() { seconds_ = {}; }

private:
    using clock = std::chrono::steady_clock;
    clock::time_point last_ = clock::now();
    std::array<double, part_names.size()> seconds_{};
};

}  // namespace gpt2
