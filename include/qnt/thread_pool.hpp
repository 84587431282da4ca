// thread_pool: an executor with threads of its own.
//
//     qnt::thread_pool pool;                          // one thread per usable core, the calling one included
//     qnt::gemm(y, x, w, {.executor = pool});
//
// One job runs at a time. It is published in one atomic word, the ticket; workers join it by counting themselves into that word. Each
// thread has a share of its own, the same part of the job every time, so that what it left in its caches is there the next time; it takes
// that in pieces, large ones first, and then what others have left of theirs, so that uneven work leaves no core idle. The caller works
// too and never waits for a worker that has not joined: one that sleeps, or that the system does not run, costs its help but no time.
// Idle workers spin for 30 us, so that the next product of a model finds them awake, and then sleep.
//
// What runs serially, on the calling thread, with the same results: a call from inside a job of any pool (nested), a call while the job
// of another thread runs, and every call in the child of a fork(), where the workers do not exist (a job that forks must not return in
// the child).
#pragma once
#include <atomic>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "core/error.hpp"
#include "core/executor.hpp"
#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace qnt {

class thread_pool;
inline namespace QNT_BASELINE {
// How many threads of this process can run at once: the cores it may run on, or fewer if its control group's CPU quota says so.
std::size_t usable_cores();
}  // namespace QNT_BASELINE

namespace detail {
inline namespace QNT_BASELINE {
void parallel_for(thread_pool& pool, std::size_t n, std::size_t grain, range_function f);
}

// How many fork()s made this process: a pool belongs to the process that made it. (getpid() would be a system call per job.)
inline std::atomic<unsigned> forks{0};
#if defined(__unix__) || defined(__APPLE__)
inline const int forks_are_counted = pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1, std::memory_order_relaxed); });
#endif

inline void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("isb");  // takes about as long as pause on x86; most cores ignore yield
#endif
}
}  // namespace detail

class thread_pool {
public:
    static constexpr std::size_t most_threads = 2048;

    // Starts threads - 1 workers; at least 0, fewer than most_threads. Throws std::system_error when the system refuses one.
    explicit thread_pool(std::size_t threads = usable_cores()) : thread_pool(nothing{}) {  // from here on a throw runs the destructor
        if (threads > most_threads) threads = most_threads;
        shares_ = std::vector<share>(threads > 0 ? threads : 1);
        workers_.reserve(threads);
        while (size() < threads) workers_.emplace_back([this, self = size()] { work(self); });
    }
    thread_pool(const thread_pool&) = delete;
    thread_pool& operator=(const thread_pool&) = delete;
    ~thread_pool() {
        if (in_child()) {  // no thread to join or to detach: the handles are overwritten
            for (std::thread& worker : workers_) std::construct_at(&worker);
            return;
        }
        ticket_.store(stop);
        ticket_.notify_all();
        for (std::thread& worker : workers_) worker.join();
    }

    std::size_t size() const noexcept { return workers_.size() + 1; }

    // f(begin, end) on disjoint ranges that cover [0, n), all but the last a multiple of `grain` items. What f throws, on whichever
    // thread, is thrown here when all have stopped: the first if there are several; no range starts after it.
    QNT_INLINE void parallel_for(std::size_t n, std::size_t grain, range_function f) { detail::parallel_for(*this, n, grain, f); }

private:
    friend void detail::parallel_for(thread_pool&, std::size_t, std::size_t, range_function);
    struct nothing {};
    explicit thread_pool(nothing) {}

    // The ticket: how many workers have joined, three flags, and the number of the job. Numbers wrap around, which at worst makes a
    // worker miss a job.
    static constexpr std::uint32_t joined = 0xfff, open = 0x1000, waiting = 0x2000, stop = 0x4000, next_number = 0x8000;
    static constexpr std::uint32_t number(std::uint32_t ticket) { return ticket / next_number; }
    static constexpr std::chrono::microseconds patience{30};

    struct alignas(line_bytes) share {
        std::atomic<std::size_t> next{0};  // the first unit that nobody has taken
        std::size_t end = 0;
    };

    bool in_child() const { return born_ != detail::forks.load(std::memory_order_relaxed); }

    // Waits until done(), for a limited time; returns done().
    template <class Done> static bool spin(const Done& done) {
        if (done()) return true;
        const auto end = std::chrono::steady_clock::now() + patience;
        do {
            for (int i = 0; i < 32; ++i) {
                detail::relax();
                if (done()) return true;
            }
        } while (std::chrono::steady_clock::now() < end);
        return false;
    }

    void work(std::size_t self) noexcept {
        in_job_ = true;
        std::uint32_t last = 0;  // the last job taken part in; the first is number 1
        for (;;) {
            std::uint32_t t = 0;
            const auto wanted = [&] { return t = ticket_.load(std::memory_order_acquire), (t & stop) || ((t & open) && number(t) != last); };
            while (!spin(wanted)) ticket_.wait(t, std::memory_order_acquire);
            if (t & stop) return;
            if (!ticket_.compare_exchange_strong(t, t + 1, std::memory_order_acq_rel)) continue;
            last = number(t);
            take_ranges(self);
            t = ticket_.fetch_sub(1, std::memory_order_acq_rel);
            if ((t & waiting) && (t & joined) == 1) {
                finished_.store(1, std::memory_order_release);
                finished_.notify_one();
            }
        }
    }

    // Half of what is left of a share each time: few steps for much work, single units at the end.
    void take_ranges(std::size_t self) noexcept {
        for (std::size_t i = 0; i < shares_.size(); ++i) {
            share& from = shares_[(self + i) % shares_.size()];
            std::size_t at = from.next.load(std::memory_order_relaxed);
            while (at < from.end) {
                const std::size_t end = at + (from.end - at + 1) / 2;
                if (!from.next.compare_exchange_weak(at, end, std::memory_order_relaxed)) continue;
                (*job_)(at* grain_, end < units_ ? end * grain_ : n_);
                at = from.next.load(std::memory_order_relaxed);
            }
        }
    }

    // Runs a job, with f that does not throw; false if that must be done serially.
    bool try_run(std::size_t n, std::size_t grain, range_function f) noexcept {
        if (workers_.empty() || in_job_ || n <= grain || in_child() || taken_.exchange(true, std::memory_order_acquire)) return false;
        in_job_ = true;
        n_ = n;
        grain_ = grain;
        units_ = ceil_div(n, grain);
        job_ = &f;
        const std::size_t each = units_ / shares_.size(), more = units_ % shares_.size();
        for (std::size_t i = 0, at = 0; i < shares_.size(); ++i) {
            shares_[i].next.store(at, std::memory_order_relaxed);
            shares_[i].end = at += each + (i < more ? 1 : 0);
        }
        ticket_.store(((ticket_.load(std::memory_order_relaxed) & ~(next_number - 1)) + next_number) | open);
        ticket_.notify_all();
        take_ranges(0);
        ticket_.fetch_and(~open, std::memory_order_relaxed);  // nobody joins any more
        if (!spin([&] { return (ticket_.load(std::memory_order_acquire) & joined) == 0; })) {
            finished_.store(0, std::memory_order_relaxed);
            if (ticket_.fetch_or(waiting, std::memory_order_acq_rel) & joined) finished_.wait(0, std::memory_order_acquire);
            ticket_.fetch_and(~waiting, std::memory_order_relaxed);
        }
        in_job_ = false;
        taken_.store(false, std::memory_order_release);
        return true;
    }

    static inline thread_local constinit bool in_job_ = false;  // does this thread run ranges of some pool's job?

    std::vector<std::thread> workers_;
    const unsigned born_ = detail::forks.load(std::memory_order_relaxed);
    alignas(line_bytes) std::atomic<std::uint32_t> ticket_{0};
    std::size_t n_ = 0, grain_ = 1, units_ = 0;  // the job: written while nobody has joined; a unit is grain_ items
    const range_function* job_ = nullptr;
    std::vector<share> shares_;                           // the caller's and those of the workers
    alignas(line_bytes) std::atomic<bool> taken_{false};  // by a caller
    std::atomic<std::uint32_t> finished_{0};              // a sleeping caller's bell
};

namespace detail {
inline namespace QNT_BASELINE {

inline void parallel_for(thread_pool& pool, std::size_t n, std::size_t grain, range_function f) {
    if (n == 0) return;
    if (grain == 0) grain = 1;
#if QNT_EXCEPTIONS
    std::exception_ptr first;
    std::atomic<bool> failed{false};
    const auto guarded = [&](std::size_t begin, std::size_t end) {
        if (failed.load(std::memory_order_relaxed)) return;
        try {
            f(begin, end);
        } catch (...) {
            if (!failed.exchange(true, std::memory_order_relaxed)) first = std::current_exception();
        }
    };
    if (!pool.try_run(n, grain, guarded)) f(0, n);
    else if (first) std::rethrow_exception(first);
#else
    if (!pool.try_run(n, grain, f)) f(0, n);
#endif
}

// The text of a small file, empty if there is none.
inline std::string read_small_file(const std::string& path) {
    char text[4096];
    std::FILE* file = std::fopen(path.c_str(), "re");
    if (!file) return {};
    const std::size_t size = std::fread(text, 1, sizeof text, file);
    std::fclose(file);
    return {text, size};
}

// How many cores the control groups of a process may keep busy: the smallest quota, rounded up, on the way from its group to the root;
// 0 if there is none. groups: the text of /proc/self/cgroup; root: where control groups are mounted. A container may see a path of its
// host, which does not exist below its own root: what does not exist limits nothing.
// Sources: Linux, Documentation/admin-guide/cgroup-v2.rst (cpu.max), Documentation/scheduler/sched-bwc.rst (version 1).
inline std::size_t cgroup_cores(std::string_view groups, const std::string& root) {
    std::size_t least = 0;
    const auto limit = [&](const std::string& quota_and_period) {
        long long quota = 0, period = 0;  // "max 100000" and "-1 100000" are no limit
        if (std::sscanf(quota_and_period.c_str(), "%lld %lld", &quota, &period) != 2 || quota <= 0 || period <= 0) return;
        const std::size_t cores = ceil_div(std::size_t(quota), std::size_t(period));
        if (least == 0 || cores < least) least = cores;
    };
    while (!groups.empty()) {
        const std::string_view line = groups.substr(0, groups.find('\n'));  // hierarchy:controllers:path
        groups.remove_prefix(line.size() < groups.size() ? line.size() + 1 : line.size());
        const std::size_t first = line.find(':'), second = first == line.npos ? first : line.find(':', first + 1);
        if (second == line.npos) continue;
        const std::string controllers(line.substr(first + 1, second - first - 1));
        if (!controllers.empty() && ("," + controllers + ",").find(",cpu,") == std::string::npos) continue;
        for (std::string path(line.substr(second + 1));; path.resize(path.rfind('/'))) {
            while (!path.empty() && path.back() == '/') path.pop_back();
            if (controllers.empty()) limit(read_small_file(root + path + "/cpu.max"));
            else
                for (const std::string& mount : {controllers, std::string("cpu")}) {
                    const std::string group = root + "/" + mount + path + "/cpu.cfs_";
                    limit(read_small_file(group + "quota_us") + " " + read_small_file(group + "period_us"));
                }
            if (path.find('/') == std::string::npos) break;
        }
    }
    return least;
}

}  // namespace QNT_BASELINE
}  // namespace detail

inline namespace QNT_BASELINE {

inline std::size_t usable_cores() {
    std::size_t cores = std::thread::hardware_concurrency();
#if defined(__linux__)
    for (std::size_t most = 1024; most <= 1u << 20; most *= 2) {  // until the kernel's mask fits
        cpu_set_t* set = CPU_ALLOC(most);
        if (!set) break;
        const bool known = sched_getaffinity(0, CPU_ALLOC_SIZE(most), set) == 0;
        if (known) cores = std::size_t(CPU_COUNT_S(CPU_ALLOC_SIZE(most), set));
        CPU_FREE(set);
        if (known) break;
    }
    const std::size_t quota = detail::cgroup_cores(detail::read_small_file("/proc/self/cgroup"), "/sys/fs/cgroup");
    if (quota > 0 && quota < cores) cores = quota;
#endif
    return cores > 0 ? cores : 1;
}

}  // namespace QNT_BASELINE
}  // namespace qnt
