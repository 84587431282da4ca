// What quantization did to a matrix: error_stats, and with the counts of quantize() a quantization_report.
#pragma once
#include <cmath>
#include <limits>
#include <vector>

#include "isa/isa.hpp"
#include "kernels/quantize_table.hpp"
#include "packed/matrix.hpp"

namespace qnt {

// w against its approximation v. Sums in f64, in 16 parts within a row (kernels/quantize.inl), then over rows in ascending order: the
// same for any number of threads and instruction set.
struct error_stats {
    std::size_t rows = 0, cols = 0;
    double mse = 0;                 // mean (w - v)^2
    double relative_frobenius = 0;  // |w - v| / |w|; 0 for a matrix of zeros reproduced exactly
    double sqnr_db = 0;             // 10 log10(|w|^2 / |w - v|^2); infinite when nothing was lost
    double cosine = 0;              // w . v / (|w| |v|)
    struct {
        float error = 0;
        std::size_t row = 0, col = 0;
    } max_abs;  // the largest |w - v|, and where it is first
    struct {
        std::size_t row = 0;
        double sqnr_db = std::numeric_limits<double>::infinity();
    } worst;  // the row with the lowest SQNR
};

struct quantization_report : error_stats {
    std::size_t bytes = 0;        // of information, see stored_bytes()
    bits_per_weight_pair bits;    // stored and streamed
    std::size_t groups = 0;       // scales in all
    std::size_t zero_groups = 0;  // groups of zeros
    std::size_t clipped = 0;      // weights beyond the largest code by more than half a step
    std::size_t underflowed = 0;  // groups whose scale was too small for its type: they became zeros
    std::size_t outliers = 0;     // columns kept as f16, part of bytes and bits

    double outlier_share() const { return cols ? double(outliers) / double(cols) : 0.0; }
};

namespace detail {

struct row_errors {
    double ww = 0, ee = 0, wv = 0, vv = 0;  // over w and v: sums of w^2, (w - v)^2, w v, v^2
    float max = 0;                          // the largest |w - v|
    std::size_t col = 0;                    // of the first that is max
    std::size_t zero_groups = 0, clipped = 0, underflowed = 0;
};

inline namespace QNT_BASELINE {

// One row w against its approximation v, piece by piece. largest: the largest error of the rows before, for one sequence of ascending rows
// or one for each thread: a row below it is not the one that a summary will name.
class row_measure {
public:
    row_measure(row_errors& row, float& largest) : row_(row), largest_(largest) {}
    // The next n columns; n is a multiple of 16, but for the last ones.
    void add(const float* w, const float* v, std::size_t n) {
        kernels::add_errors[isa_](parts_, w, v, n);
        for (const float error : parts_.most) row_.max = error > row_.max ? error : row_.max;
        if (row_.max > largest_) {
            largest_ = row_.max;
            row_.col = columns_;
            while (magnitude(w[row_.col - columns_] - v[row_.col - columns_]) != row_.max) ++row_.col;
        }
        columns_ += n;
    }
    void finish() {
        row_.ww = tree_sum(parts_.ww);
        row_.ee = tree_sum(parts_.ee);
        row_.wv = tree_sum(parts_.wv);
        row_.vv = tree_sum(parts_.vv);
    }

private:
    row_errors& row_;
    float& largest_;
    kernels::error_parts parts_;
    std::size_t columns_ = 0, isa_ = std::size_t(isa::active());
};
inline void set_errors(row_errors& e, const float* w, const float* v, std::size_t n, float& largest) {
    row_measure row(e, largest);
    row.add(w, v, n);
    row.finish();
}

inline double decibels(double signal, double noise) {
    return noise == 0    ? std::numeric_limits<double>::infinity()
           : signal == 0 ? -std::numeric_limits<double>::infinity()
                         : 10 * std::log10(signal / noise);
}

inline void summarize(error_stats& s, std::size_t cols, const std::vector<row_errors>& rows) {
    row_errors all;
    s.rows = rows.size();
    s.cols = cols;
    for (std::size_t r = 0; r < rows.size(); ++r) {
        const row_errors& e = rows[r];
        all.ww += e.ww;
        all.ee += e.ee;
        all.wv += e.wv;
        all.vv += e.vv;
        if (e.max > s.max_abs.error) {
            s.max_abs.error = e.max;
            s.max_abs.row = r;
            s.max_abs.col = e.col;
        }
        if (const double db = decibels(e.ww, e.ee); db < s.worst.sqnr_db) {
            s.worst.row = r;
            s.worst.sqnr_db = db;
        }
    }
    const double n = double(rows.size()) * double(cols);
    s.mse = n > 0 ? all.ee / n : 0;
    s.relative_frobenius = all.ee == 0 ? 0 : std::sqrt(all.ee / all.ww);
    s.sqnr_db = decibels(all.ww, all.ee);
    s.cosine = all.ww == 0 || all.vv == 0 ? (all.ww == all.vv ? 1 : 0) : all.wv / std::sqrt(all.ww * all.vv);
}

}  // namespace QNT_BASELINE
}  // namespace detail
}  // namespace qnt
