#include <qnt/metrics/moments.hpp>

#include <random>
#include <vector>

#include "catch.hpp"

TEST_CASE("moments are mean, deviation and standard error, and parts of them add up") {
    std::mt19937 random(1);
    std::normal_distribution<double> normal(3, 2);
    std::vector<double> values(1000);
    qnt::moments all, parts[3];
    for (std::size_t i = 0; i < values.size(); ++i) {
        values[i] = normal(random);
        all.add(values[i]);
        parts[i < 100 ? 0 : i < 101 ? 1 : 2].add(values[i]);
    }
    long double mean = 0, square = 0, variance = 0;
    for (const double x : values) mean += x / 1000.0L, square += static_cast<long double>(x) * x / 1000.0L;
    for (const double x : values) variance += (x - mean) * (x - mean) / 999.0L;
    CHECK(all.mean() == Approx(double(mean)).epsilon(1e-13));
    CHECK(all.rms() == Approx(double(std::sqrt(square))).epsilon(1e-13));
    CHECK(all.standard_deviation() == Approx(double(std::sqrt(variance))).epsilon(1e-11));
    CHECK(all.standard_error() == Approx(double(std::sqrt(variance / 1000.0L))).epsilon(1e-11));
    qnt::moments merged;
    for (const qnt::moments& p : parts) merged.merge(p);
    CHECK(merged.count == 1000);
    CHECK(merged.mean() == Approx(all.mean()).epsilon(1e-13));

    qnt::moments few;
    CHECK(std::isnan(few.mean()));
    few.add(5);
    CHECK(few.mean() == 5);
    CHECK(std::isnan(few.standard_error()));
    few.add(5);
    CHECK(few.standard_error() == 0);
}
