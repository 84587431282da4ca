#include <qnt/core/executor.hpp>

#include <algorithm>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "catch.hpp"

namespace {

using range = std::pair<std::size_t, std::size_t>;

struct counting_executor {
    std::size_t calls = 0, last_n = 0, last_grain = 0;
    std::size_t size() const { return 7; }
    void parallel_for(std::size_t n, std::size_t grain, qnt::range_function f) {
        ++calls;
        last_n = n;
        last_grain = grain;
        for (std::size_t begin = 0; begin < n; begin += grain) f(begin, std::min(n, begin + grain));
    }
};
// A pool may be const and say its size as another integer.
struct const_executor {
    int size() const { return 2; }
    void parallel_for(std::size_t n, std::size_t, qnt::range_function f) const {
        std::thread other([=] { f(n / 2, n); });
        f(0, n / 2);
        other.join();
    }
};
struct no_size {
    void parallel_for(std::size_t, std::size_t, qnt::range_function) {}
};
struct no_for {
    std::size_t size() const { return 1; }
};

}  // namespace

TEST_CASE("serial calls once with the whole range, and not at all for an empty one") {
    std::vector<range> seen;
    qnt::serial::parallel_for(10, 3, [&](std::size_t b, std::size_t e) { seen.emplace_back(b, e); });
    CHECK(seen == std::vector<range>{{0, 10}});
    qnt::serial::parallel_for(0, 3, [&](std::size_t b, std::size_t e) { seen.emplace_back(b, e); });
    CHECK(seen.size() == 1);
    STATIC_REQUIRE(qnt::serial::size() == 1);
}

TEST_CASE("a range_function borrows what it calls") {
    std::size_t sum = 0;
    auto named = [&](std::size_t b, std::size_t e) { sum += e - b; };
    const qnt::range_function f(named);
    const qnt::range_function copy = f;
    f(0, 3);
    copy(3, 10);
    CHECK(sum == 10);

    struct counter {
        std::size_t total = 0;
        void operator()(std::size_t b, std::size_t e) { total += e - b; }
    } object;
    const qnt::range_function g(object);
    g(1, 5);
    CHECK(object.total == 4);  // the object itself, not a copy
    const auto constant = [&](std::size_t b, std::size_t) { sum = b; };
    qnt::range_function{constant}(77, 0);
    CHECK(sum == 77);
}

TEST_CASE("an executor_ref is serial by default and passes everything on to what it refers to") {
    const qnt::executor_ref nothing;
    CHECK(nothing.size() == 1);
    std::vector<range> seen;
    nothing.parallel_for(5, 2, [&](std::size_t b, std::size_t e) { seen.emplace_back(b, e); });
    CHECK(seen == std::vector<range>{{0, 5}});

    counting_executor mine;
    const qnt::executor_ref ref = mine;
    CHECK(ref.size() == 7);
    seen.clear();
    ref.parallel_for(10, 4, [&](std::size_t b, std::size_t e) { seen.emplace_back(b, e); });
    CHECK(seen == std::vector<range>{{0, 4}, {4, 8}, {8, 10}});
    CHECK(mine.calls == 1);
    CHECK(mine.last_n == 10);
    CHECK(mine.last_grain == 4);
    const qnt::executor_ref copy = ref;
    copy.parallel_for(1, 1, [](std::size_t, std::size_t) {});
    CHECK(mine.calls == 2);

    const const_executor constant;
    const qnt::executor_ref other = constant;
    CHECK(other.size() == 2);
    std::mutex mutex;
    std::size_t covered = 0;
    other.parallel_for(101, 1, [&](std::size_t b, std::size_t e) {
        const std::lock_guard lock(mutex);
        covered += e - b;
    });
    CHECK(covered == 101);
}

TEST_CASE("exceptions of the work pass through an executor_ref") {
    const qnt::executor_ref e;
    CHECK_THROWS_AS(e.parallel_for(1, 1, [](std::size_t, std::size_t) { throw 5; }), int);
}

TEST_CASE("the executor concept") {
    STATIC_REQUIRE(qnt::executor<qnt::serial>);
    STATIC_REQUIRE(qnt::executor<counting_executor>);
    STATIC_REQUIRE(qnt::executor<const const_executor>);
    STATIC_REQUIRE_FALSE(qnt::executor<no_size>);
    STATIC_REQUIRE_FALSE(qnt::executor<no_for>);
    STATIC_REQUIRE_FALSE(qnt::executor<const counting_executor>);  // its parallel_for changes it
}
