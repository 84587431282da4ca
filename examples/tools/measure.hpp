// What a format did to a matrix, measured on what was written.
#pragma once
#include <qnt/any_format.hpp>
#include <qnt/report.hpp>

namespace tools {

// w[rows, cols] against what decode(row, out[cols]) gives back. The same numbers for any number of threads.
template <class Decode>
qnt::quantization_report measure(std::span<const float> w, std::size_t rows, std::size_t cols, const Decode& decode, qnt::executor_ref executor) {
    std::vector<qnt::detail::row_errors> errors(rows);
    executor.parallel_for(rows, 16, [&](std::size_t begin, std::size_t end) {
        std::vector<float> values(cols);
        float largest = 0;
        for (std::size_t r = begin; r < end; ++r) {
            decode(r, std::span(values));
            qnt::detail::set_errors(errors[r], w.data() + r * cols, values.data(), cols, largest);
        }
    });
    qnt::quantization_report report;
    qnt::detail::summarize(report, cols, errors);
    return report;
}

// [cols, rows] of w[rows, cols]
inline std::vector<float> transposed(std::span<const float> w, std::size_t rows, std::size_t cols) {
    constexpr std::size_t block = 32;  // a square of so many lies in the first cache, read and written
    std::vector<float> out(w.size());
    for (std::size_t r0 = 0; r0 < rows; r0 += block)
        for (std::size_t c0 = 0; c0 < cols; c0 += block)
            for (std::size_t r = r0; r < std::min(r0 + block, rows); ++r)
                for (std::size_t c = c0; c < std::min(c0 + block, cols); ++c) out[c * rows + r] = w[r * cols + c];
    return out;
}

}  // namespace tools
