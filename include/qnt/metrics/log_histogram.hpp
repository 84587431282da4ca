// Counts of non-negative numbers in bins that are the same for everybody, so that histograms of parts add up to that of the whole, exactly
// and in any order: integers only.
//
//     log_histogram h;
//     h.add(kl);                          // ...
//     h.merge(of_another_part);
//     h.quantile(0.999)
//
// 64 bins an octave from 2^-40 to 2^24, cut where the exponent and the first 6 bits of the fraction of a double change (as HdrHistogram cuts,
// G. Tene 2012): no logarithm decides about a bin, and a quantile is right to 1/64 of its value. Smaller numbers (zero too) share bin 0,
// larger ones the last.
#pragma once
#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "../core/error.hpp"
#include "../core/float_math.hpp"

namespace qnt {

class log_histogram {
public:
    static constexpr int lowest_exponent = -40, highest_exponent = 24, bits = 6;
    static constexpr std::size_t bins = (std::size_t(highest_exponent - lowest_exponent) << bits) + 1;

    static constexpr std::size_t bin_of(double x) {
        if (!(x >= lower_edge(1))) return 0;
        return std::min(std::size_t((std::bit_cast<std::uint64_t>(x) >> (52 - bits)) - first_key + 1), bins - 1);
    }
    static constexpr double lower_edge(std::size_t bin) {
        return bin == 0 ? 0.0 : std::bit_cast<double>((first_key + std::uint64_t(bin) - 1) << (52 - bits));
    }

    // Contract: x >= 0, not NaN.
    void add(double x) {
        if (!(x >= 0)) detail::contract_violation("qnt::log_histogram: counts numbers >= 0, not " + std::to_string(x));
        add(bin_of(x), 1);
        max_ = std::max(max_, x);
    }
    void merge(const log_histogram& other) {
        for (std::size_t b = 0; b < other.counts_.size(); ++b)
            if (other.counts_[b] > 0) add(b, other.counts_[b]);
        max_ = std::max(max_, other.max_);
    }
    // What a file kept of another: the counts of its bins, and its max(). Contract: bin < bins.
    void add(std::size_t bin, std::uint64_t n) {
        if (bin >= bins) detail::contract_violation("qnt::log_histogram: bin " + std::to_string(bin) + " of " + std::to_string(bins));
        if (counts_.size() <= bin) counts_.resize(bin + 1);
        counts_[bin] += n;
        total_ += n;
    }
    void note_max(double x) { max_ = std::max(max_, x); }

    std::uint64_t total() const { return total_; }
    std::uint64_t count(std::size_t bin) const { return bin < counts_.size() ? counts_[bin] : 0; }
    std::size_t bins_used() const { return counts_.size(); }  // those beyond are empty
    double max() const { return max_; }                       // exact; 0 for no numbers
    // The number below which a part q of all lies (nearest rank; inside of a bin as if evenly spread). NaN for no numbers.
    double quantile(double q) const {
        if (total_ == 0) return double(quiet_nan());
        const double rank = std::clamp(std::ceil(q * double(total_)), 1.0, double(total_));
        std::uint64_t before = 0;
        for (std::size_t b = 0; b < counts_.size(); ++b) {
            if (double(before + counts_[b]) < rank) {
                before += counts_[b];
                continue;
            }
            const double low = lower_edge(b), high = b + 1 < bins ? lower_edge(b + 1) : max_;
            return std::min(max_, low + mul(high - low, (rank - double(before) - 0.5) / double(counts_[b])));
        }
        return max_;
    }

private:
    static constexpr std::uint64_t first_key = std::uint64_t(1023 + lowest_exponent) << bits;

    std::vector<std::uint64_t> counts_;
    std::uint64_t total_ = 0;
    double max_ = 0;
};

}  // namespace qnt
