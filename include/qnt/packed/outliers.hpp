// Outlier columns: the few columns of a matrix whose inputs are large are kept as f16 beside the codes and multiplied apart, so that they
// coarsen neither the scales of x nor those of the other weights.
//
//     auto columns = qnt::pick_outliers(absmax);                                              // absmax[k] of x's column k, over some text
//     auto w = qnt::quantize<qnt::int8_channel>(view, {.outliers = columns}, pool).value();   // "LLM.int8"
//
// The codes of these columns are those of zeros. A product is, in this order, in f32:
//   y = product of the codes, in either mode, with an x that has zeros in these columns;  y = fma(x[k], w[k], y), k ascending;  epilogues
//
// Source: Dettmers et al. 2022, "LLM.int8(): 8-bit Matrix Multiplication for Transformers at Scale", section 3.2. There the columns are those
// of each x by itself; here they are those of a calibration, so that a result does not depend on what else is in the batch.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "../core/half.hpp"
#include "layout.hpp"

namespace qnt {

// Borrowed. values: layout::rows f16 [rows][columns]; layout::panels f16 [panel][columns][16 rows], zeros beyond the matrix.
struct outlier_view {
    std::span<const std::uint32_t> columns = {};  // ascending
    const f16* values = nullptr;

    std::size_t count() const { return columns.size(); }
    bool empty() const { return columns.empty(); }
};

struct outlier_columns {
    std::vector<std::uint32_t> columns;
    std::vector<f16> values;

    outlier_view view() const { return {columns, values.data()}; }
};

inline constexpr float outlier_threshold = 6.0f;  // of the paper

namespace detail {
inline namespace QNT_BASELINE {

template <class Layout> constexpr std::size_t outlier_values(std::size_t rows, std::size_t count) {
    return (std::same_as<Layout, layout::rows> ? rows : round_up(rows, panel_rows)) * count;
}
// Where the value of a row's outlier i of `count` lies.
template <class Layout> constexpr std::size_t outlier_at(std::size_t row, std::size_t i, std::size_t count) {
    if constexpr (std::same_as<Layout, layout::rows>) return row * count + i;
    else return (row / panel_rows * count + i) * panel_rows + row % panel_rows;
}

// Is each column one of 0 .. cols - 1, and larger than the one before?
inline bool is_ascending(std::span<const std::uint32_t> columns, std::size_t cols) {
    for (std::size_t i = 0; i < columns.size(); ++i)
        if (columns[i] >= cols || (i > 0 && columns[i] <= columns[i - 1])) return false;
    return true;
}

}  // namespace QNT_BASELINE
}  // namespace detail

inline namespace QNT_BASELINE {

// The columns whose absmax, the largest magnitude of the inputs that they are multiplied by, reaches the threshold.
inline std::vector<std::uint32_t> pick_outliers(std::span<const float> absmax, float threshold = outlier_threshold) {
    std::vector<std::uint32_t> columns;
    for (std::size_t k = 0; k < absmax.size(); ++k)
        if (absmax[k] >= threshold) columns.push_back(std::uint32_t(k));
    return columns;
}

}  // namespace QNT_BASELINE
}  // namespace qnt
