// A borrowed 2-D array.
#pragma once
#include <span>
#include <type_traits>

#include "half.hpp"

namespace qnt {

// Matrices are [rows, cols], for weights [output features, input features]. Strides count elements; the default is row-major and
// dense. A weight that a file stores as [in, out] (GPT-2's Conv1D) is read through transposed(), without a copy:
//     matrix_view<const float> w = matrix_view<const float>{data, in, out}.transposed();      // [out, in]
template <class T> struct matrix_view {
    T* data = nullptr;
    std::size_t rows = 0;
    std::size_t cols = 0;
    std::size_t row_stride = 0;  // elements from (r, c) to (r + 1, c)
    std::size_t col_stride = 1;  // elements from (r, c) to (r, c + 1)

    constexpr matrix_view() = default;
    constexpr matrix_view(T* data_, std::size_t rows_, std::size_t cols_) : matrix_view(data_, rows_, cols_, cols_, 1) {}
    constexpr matrix_view(T* data_, std::size_t rows_, std::size_t cols_, std::size_t row_stride_, std::size_t col_stride_ = 1)
        : data(data_), rows(rows_), cols(cols_), row_stride(row_stride_), col_stride(col_stride_) {}
    constexpr operator matrix_view<const T>() const
        requires(!std::is_const_v<T>)
    {
        return {data, rows, cols, row_stride, col_stride};
    }

    constexpr T& operator()(std::size_t r, std::size_t c) const { return data[r * row_stride + c * col_stride]; }
    constexpr T* row(std::size_t r) const { return data + r * row_stride; }
    constexpr matrix_view transposed() const { return {data, cols, rows, col_stride, row_stride}; }
    constexpr matrix_view rows_from(std::size_t first, std::size_t count) const { return {row(first), count, cols, row_stride, col_stride}; }
};

}  // namespace qnt
