#include <qnt/metrics/log_histogram.hpp>

#include <random>

#include "catch.hpp"

using qnt::log_histogram;

TEST_CASE("bins of a log_histogram ascend, are a 64th of an octave wide, and hold what lies between their edges") {
    CHECK(log_histogram::bin_of(0) == 0);
    CHECK(log_histogram::bin_of(0x1p-41) == 0);
    CHECK(log_histogram::bin_of(0x1p-40) == 1);
    CHECK(log_histogram::bin_of(0x1p30) == log_histogram::bins - 1);
    CHECK(log_histogram::bin_of(std::numeric_limits<double>::infinity()) == log_histogram::bins - 1);
    for (std::size_t b = 1; b + 1 < log_histogram::bins; ++b) {
        const double low = log_histogram::lower_edge(b), high = log_histogram::lower_edge(b + 1);
        REQUIRE(high > low);
        REQUIRE(high / low <= 1 + 1.0 / 64);
        REQUIRE(log_histogram::bin_of(low) == b);
        REQUIRE(log_histogram::bin_of(std::nextafter(high, 0)) == b);
    }
}

TEST_CASE("quantiles of a log_histogram are those of the sorted numbers to a 64th") {
    std::mt19937 random(3);
    std::lognormal_distribution<double> numbers(-7, 2);
    for (const std::size_t n : {std::size_t{1}, std::size_t{2}, std::size_t{10}, std::size_t{9973}}) {
        std::vector<double> values(n);
        log_histogram h;
        for (double& v : values) h.add(v = numbers(random));
        std::sort(values.begin(), values.end());
        for (const double q : {0.0, 0.01, 0.5, 0.9, 0.99, 0.999, 1.0}) {
            const double exact = values[std::size_t(std::clamp(std::ceil(q * double(n)), 1.0, double(n))) - 1];
            INFO(n << " numbers, quantile " << q);
            CHECK(h.quantile(q) == Approx(exact).epsilon(1.0 / 64));
        }
        CHECK(h.max() == values.back());
        CHECK(h.quantile(1) <= h.max());
    }
    log_histogram zeros;
    CHECK(std::isnan(zeros.quantile(0.5)));
    for (int i = 0; i < 4; ++i) zeros.add(0);
    CHECK(zeros.quantile(0.5) == 0);
    CHECK_THROWS_AS(zeros.add(-1), qnt::contract_error);
    CHECK_THROWS_AS(zeros.add(std::numeric_limits<double>::quiet_NaN()), qnt::contract_error);
    CHECK_THROWS_AS(zeros.add(log_histogram::bins, 1), qnt::contract_error);
}

TEST_CASE("histograms of parts add up to that of the whole, in any order") {
    std::mt19937 random(4);
    std::lognormal_distribution<double> numbers(-5, 3);
    log_histogram all, parts[3];
    for (std::size_t i = 0; i < 5000; ++i) {
        const double x = numbers(random);
        all.add(x);
        parts[i % 3].add(x);
    }
    log_histogram merged;
    for (const std::size_t p : {2u, 0u, 1u}) merged.merge(parts[p]);
    CHECK(merged.total() == all.total());
    CHECK(merged.max() == all.max());
    CHECK(merged.bins_used() == all.bins_used());
    for (std::size_t b = 0; b < log_histogram::bins; ++b) REQUIRE(merged.count(b) == all.count(b));
    log_histogram again;  // as a file keeps it
    for (std::size_t b = 0; b < all.bins_used(); ++b)
        if (all.count(b) > 0) again.add(b, all.count(b));
    again.note_max(all.max());
    for (const double q : {0.1, 0.5, 0.999}) CHECK(again.quantile(q) == all.quantile(q));
}
