// Mean, variance and standard error of numbers that come one by one. What is added up in parts may be merged: in the same order of parts the
// same bits, whoever added them up.
#pragma once
#include <cmath>
#include <cstddef>

#include "../core/float_math.hpp"

namespace qnt {

struct moments {
    std::size_t count = 0;
    double sum = 0, sum_of_squares = 0;

    void add(double x) {
        ++count;
        sum += x;
        sum_of_squares += mul(x, x);
    }
    void merge(const moments& other) {
        count += other.count;
        sum += other.sum;
        sum_of_squares += other.sum_of_squares;
    }
    double mean() const { return sum / double(count); }                                        // NaN for no numbers
    double rms() const { return std::sqrt(sum_of_squares / double(count)); }                   // root of the mean square; likewise
    double standard_deviation() const { return standard_error() * std::sqrt(double(count)); }  // of the sample
    // Of the mean: sqrt(sample variance / count), numbers taken as independent. NaN for less than two.
    double standard_error() const {
        if (count < 2) return double(quiet_nan());
        const double variance = sum_of_squares / double(count) - mul(mean(), mean());  // of the population; below 0 by rounding only
        return std::sqrt((variance < 0 ? 0 : variance) / double(count - 1));
    }
};

}  // namespace qnt
