#include <qnt/core/matrix_view.hpp>

#include <numeric>
#include <vector>

#include "catch.hpp"

using qnt::matrix_view;

TEST_CASE("a matrix_view reaches the elements that its strides say") {
    std::vector<int> data(200);
    std::iota(data.begin(), data.end(), 0);

    const matrix_view<int> dense{data.data(), 5, 7};
    CHECK(dense.row_stride == 7);
    CHECK(dense.col_stride == 1);
    const matrix_view<int> padded{data.data() + 3, 5, 7, 11};
    const matrix_view<int> sparse{data.data() + 1, 5, 7, 2, 13};
    for (std::size_t r = 0; r < 5; ++r)
        for (std::size_t c = 0; c < 7; ++c) {
            CAPTURE(r, c);
            CHECK(dense(r, c) == int(r * 7 + c));
            CHECK(padded(r, c) == int(3 + r * 11 + c));
            CHECK(sparse(r, c) == int(1 + r * 2 + c * 13));
            CHECK(dense.transposed()(c, r) == dense(r, c));
            CHECK(sparse.transposed()(c, r) == sparse(r, c));
            CHECK(padded.transposed().transposed()(r, c) == padded(r, c));
        }
    CHECK(dense.transposed().rows == 7);
    CHECK(dense.transposed().cols == 5);
    for (std::size_t r = 0; r < 5; ++r) CHECK(padded.row(r) == &padded(r, 0));
}

TEST_CASE("rows_from is a part of the rows, of transposed views too") {
    std::vector<int> data(5 * 7);
    std::iota(data.begin(), data.end(), 0);
    const matrix_view<int> all{data.data(), 5, 7};
    const auto some = all.rows_from(2, 3);
    CHECK(some.rows == 3);
    CHECK(some.cols == 7);
    const auto columns = all.transposed().rows_from(4, 2);
    CHECK(columns.rows == 2);
    CHECK(columns.cols == 5);
    for (std::size_t r = 0; r < 3; ++r)
        for (std::size_t c = 0; c < 7; ++c) CHECK(some(r, c) == all(r + 2, c));
    for (std::size_t r = 0; r < 2; ++r)
        for (std::size_t c = 0; c < 5; ++c) CHECK(columns(r, c) == all(c, r + 4));
    CHECK(all.rows_from(5, 0).rows == 0);
}

TEST_CASE("a view of mutable elements writes, and reads as a view of const ones") {
    float data[6] = {};
    const matrix_view<float> w{data, 2, 3};
    w(1, 2) = 5;
    CHECK(data[5] == 5.0f);
    const matrix_view<const float> reader = w.transposed();
    CHECK(reader(2, 1) == 5.0f);
    CHECK(reader.row_stride == 1);
    CHECK(reader.col_stride == 3);
    STATIC_REQUIRE_FALSE(std::is_convertible_v<matrix_view<const float>, matrix_view<float>>);
    STATIC_REQUIRE(matrix_view<float>{}.data == nullptr);
    STATIC_REQUIRE(matrix_view<float>{}.rows == 0);
}
