#include <qnt/thread_pool.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <numeric>
#include <set>
#include <stdexcept>

#include "catch.hpp"

namespace {

using namespace std::chrono_literals;

// Waits for another thread; false after ten seconds.
template <class Condition> bool eventually(const Condition& condition) {
    for (const auto end = std::chrono::steady_clock::now() + 10s; !condition(); std::this_thread::yield())
        if (std::chrono::steady_clock::now() > end) return false;
    return true;
}

// Runs a job; true if each item was worked on once, in ranges of whole grains.
bool runs_each_once(qnt::executor_ref executor, std::size_t n, std::size_t grain) {
    std::vector<std::atomic<int>> times(n);
    std::atomic<bool> whole{true};
    executor.parallel_for(n, grain, [&](std::size_t begin, std::size_t end) {
        if (begin >= end || end > n || begin % grain != 0 || (end % grain != 0 && end != n)) whole = false;
        for (std::size_t i = begin; i < end; ++i) ++times[i];
    });
    bool once = true;
    for (const auto& t : times) once = once && t == 1;
    return once && whole;
}

bool sums_right(qnt::executor_ref executor, std::size_t n) {
    std::atomic<std::size_t> sum{0};
    executor.parallel_for(n, 1, [&](std::size_t begin, std::size_t end) {
        std::size_t part = 0;
        for (std::size_t i = begin; i < end; ++i) part += i;
        sum += part;
    });
    return sum == n * (n - 1) / 2;
}

// Exit status of a child process that runs f.
template <class F> int in_child(const F& f) {
    const pid_t child = fork();
    if (child == 0) _exit(f() ? 0 : 1);
    int status = -1;
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
    return WEXITSTATUS(status);
}

}  // namespace

TEST_CASE("every item runs once, in ranges of whole grains") {
    for (std::size_t threads : {0u, 1u, 2u, 3u, 8u}) {
        qnt::thread_pool pool(threads);
        CHECK(pool.size() == std::max<std::size_t>(threads, 1));
        for (std::size_t n : {0u, 1u, 2u, 3u, 7u, 64u, 1000u, 4099u})
            for (std::size_t grain : {1u, 2u, 16u, 5000u}) CHECK(runs_each_once(pool, n, grain));
    }
}

TEST_CASE("workers take part, and one stuck item does not hold up the rest") {
    for (std::size_t threads : {2u, 3u, 8u}) {
        qnt::thread_pool pool(threads);
        for (int repeat = 0; repeat < 20; ++repeat) {
            constexpr std::size_t n = 100;
            std::atomic<std::size_t> done{0};
            std::atomic<bool> waited{true};
            pool.parallel_for(n, 1, [&](std::size_t begin, std::size_t end) {
                if (end == n - 1) waited = eventually([&] { return done == n - (end - begin); });  // near the end ranges are single items
                done += end - begin;
            });
            CHECK(done == n);
            CHECK(waited);
        }
    }
}

TEST_CASE("a caller waits for workers that take long, and finds them again when they sleep") {
    qnt::thread_pool pool(3);
    const auto caller = std::this_thread::get_id();
    for (int repeat = 0; repeat < 20; ++repeat) {
        std::atomic<int> done{0}, others{0};
        std::atomic<bool> helped{true};
        pool.parallel_for(2, 1, [&](std::size_t, std::size_t) {
            if (std::this_thread::get_id() != caller) {
                ++others;
                std::this_thread::sleep_for(2ms);
            } else if (!eventually([&] { return others == 1; })) helped = false;
            ++done;
        });
        CHECK(done == 2);
        CHECK(helped);
        std::this_thread::sleep_for(repeat % 2 ? 1ms : 0ms);  // longer than they spin
    }
}

TEST_CASE("nested calls run on the thread that makes them") {
    qnt::thread_pool pool(3), other(2);
    std::atomic<std::size_t> inner{0};
    std::atomic<bool> same_thread{true};
    pool.parallel_for(50, 1, [&](std::size_t begin, std::size_t end) {
        const auto here = std::this_thread::get_id();
        for (std::size_t i = begin; i < end; ++i)
            for (qnt::thread_pool* nested : {&pool, &other})
                nested->parallel_for(10, 1, [&](std::size_t b, std::size_t e) {
                    if (std::this_thread::get_id() != here) same_thread = false;
                    inner += e - b;
                });
    });
    CHECK(inner == 50 * 2 * 10);
    CHECK(same_thread);
    CHECK(sums_right(other, 1000));
}

TEST_CASE("several threads call at once") {
    qnt::thread_pool pool(3);
    std::atomic<int> wrong{0};
    std::vector<std::thread> callers;
    for (std::size_t c = 0; c < 4; ++c)
        callers.emplace_back([&, c] {
            for (std::size_t job = 0; job < 300; ++job)
                if (!sums_right(pool, 10 + 100 * c + job)) ++wrong;
        });
    for (auto& caller : callers) caller.join();
    CHECK(wrong == 0);
}

TEST_CASE("what a job throws reaches the caller once and the pool goes on") {
    const auto caller = std::this_thread::get_id();
    for (std::size_t threads : {1u, 2u, 3u, 8u}) {
        qnt::thread_pool pool(threads);
        for (int repeat = 0; repeat < 20; ++repeat) {
            // everywhere
            CHECK_THROWS_AS(pool.parallel_for(100, 1, [](std::size_t, std::size_t) { throw std::runtime_error("all"); }), std::runtime_error);
            CHECK(sums_right(pool, 100));
            // on the calling thread, or on a worker
            for (const bool on_caller : {true, false}) {
                if (!on_caller && threads == 1) continue;
                std::atomic<bool> thrown{false};
                CHECK_THROWS_WITH(pool.parallel_for(100, 1,
                                                    [&](std::size_t, std::size_t) {
                                                        if ((std::this_thread::get_id() == caller) == on_caller) {
                                                            thrown = true;
                                                            throw std::runtime_error("one");
                                                        }
                                                        eventually([&] { return thrown.load(); });
                                                    }),
                                  "one");
                CHECK(sums_right(pool, 100));
            }
        }
    }
}

TEST_CASE("a child process uses and destroys the pool of its parent") {
    auto pool = std::make_unique<qnt::thread_pool>(4);
    const auto use_and_destroy = [&] {
        const auto here = std::this_thread::get_id();
        bool serial = true;
        pool->parallel_for(100, 1, [&](std::size_t, std::size_t) { serial = serial && std::this_thread::get_id() == here; });
        const bool right = serial && sums_right(*pool, 1000);
        pool.reset();
        return right;
    };
    SECTION("while workers spin, or sleep") {
        for (int repeat = 0; repeat < 5; ++repeat) {
            CHECK(sums_right(*pool, 1000));
            if (repeat % 2) std::this_thread::sleep_for(1ms);
            CHECK(in_child(use_and_destroy) == 0);
            CHECK(sums_right(*pool, 1000));
        }
    }
    SECTION("while another thread's job runs") {
        std::atomic<bool> running{false}, go_on{false};
        std::thread caller([&] {
            pool->parallel_for(8, 1, [&](std::size_t, std::size_t) {
                running = true;
                eventually([&] { return go_on.load(); });
            });
        });
        CHECK(eventually([&] { return running.load(); }));
        CHECK(in_child(use_and_destroy) == 0);
        go_on = true;
        caller.join();
        CHECK(sums_right(*pool, 1000));
    }
    SECTION("from inside a job") {
        std::atomic<int> status{-1};
        pool->parallel_for(8, 1, [&](std::size_t begin, std::size_t) {
            if (begin == 0) status = in_child([&] { return sums_right(*pool, 1000); });
        });
        CHECK(status == 0);
        CHECK(sums_right(*pool, 1000));
    }
#if !defined(QNT_THREAD_SANITIZER)  // that refuses new threads after a fork
    SECTION("which may have its own") {
        CHECK(in_child([&] { return pool.reset(), sums_right(*std::make_unique<qnt::thread_pool>(3), 1000); }) == 0);
    }
#endif
}

TEST_CASE("many more threads than cores") {
    qnt::thread_pool pool(64);
    bool right = true;
    for (std::size_t job = 0; job < 300; ++job) right = right && sums_right(pool, 1 + job);
    CHECK(right);
}

TEST_CASE("pools that come and go, with and without work") {
    bool right = true;
    for (std::size_t i = 0; i < 50; ++i) {
        qnt::thread_pool pool(1 + i % 5);
        if (i % 2) right = right && sums_right(pool, 100);
    }
    CHECK(right);
}

TEST_CASE("job numbers wrap around") {
    qnt::thread_pool pool(2);
    std::atomic<std::size_t> items{0};
    constexpr std::size_t jobs = (1 << 17) + 1000;
    for (std::size_t job = 0; job < jobs; ++job) pool.parallel_for(2, 1, [&](std::size_t begin, std::size_t end) { items += end - begin; });
    CHECK(items == 2 * jobs);
}

TEST_CASE("usable cores") {
    const std::size_t cores = qnt::usable_cores();
    CHECK(cores >= 1);
    CHECK(qnt::thread_pool().size() == cores);
#if defined(__linux__)
    cpu_set_t before, one;
    REQUIRE(sched_getaffinity(0, sizeof before, &before) == 0);
    CPU_ZERO(&one);
    for (std::size_t cpu = 0; CPU_COUNT(&one) == 0; ++cpu)
        if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &one);
    REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
    const std::size_t on_one = qnt::usable_cores();
    REQUIRE(sched_setaffinity(0, sizeof before, &before) == 0);
    CHECK(on_one == 1);
#endif
}

TEST_CASE("CPU quotas of control groups") {
    const std::filesystem::path root = std::filesystem::temp_directory_path() / ("qnt_cgroup_" + std::to_string(getpid()));
    const auto write = [&](const std::string& file, const std::string& text) {
        std::filesystem::create_directories((root / file).parent_path());
        std::ofstream(root / file) << text;
    };
    const auto cores = [&](const std::string& groups) { return qnt::detail::cgroup_cores(groups, root.string()); };
    CHECK(cores("0::/\n") == 0);
    CHECK(cores("") == 0);
    CHECK(cores("nonsense\n:\n::\n") == 0);

    write("a/b/cpu.max", "250000 100000\n");
    CHECK(cores("0::/a/b\n") == 3);
    CHECK(cores("0::/a\n") == 0);
    CHECK(cores("0::/a/b/c\n") == 3);    // of an ancestor
    CHECK(cores("0::/of/host\n") == 0);  // not visible in here
    write("a/cpu.max", "max 100000\n");
    CHECK(cores("0::/a/b") == 3);
    write("a/cpu.max", "50000 100000\n");
    CHECK(cores("0::/a/b") == 1);
    write("cpu.max", "100000 100000\n");
    CHECK(cores("0::/of/host\n") == 1);
    std::filesystem::remove_all(root);

    write("cpu,cpuacct/a/cpu.cfs_quota_us", "400000\n");
    write("cpu,cpuacct/a/cpu.cfs_period_us", "100000\n");
    write("cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
    write("cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    CHECK(cores("12:memory:/a\n4:cpu,cpuacct:/a\n1:cpuset:/\n0::/\n") == 4);
    CHECK(cores("4:cpu,cpuacct:/\n") == 0);
    CHECK(cores("12:cpuset:/a\n") == 0);
    std::filesystem::remove_all(root);
}
