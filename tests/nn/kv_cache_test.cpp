#include <qnt/nn/kv_cache.hpp>

#include "nn/reference.hpp"

TEST_CASE("kv_cache returns what was appended") {
    for (std::size_t d : {1u, 3u, 16u, 33u, 64u}) {
        INFO("head_dim " << d);
        constexpr std::size_t layers = 2, heads = 3, capacity = 21;
        qnt::kv_cache cache = qnt::kv_cache::create(layers, heads, d, capacity).value();
        CHECK(cache.layers() == layers);
        CHECK(cache.heads() == heads);
        CHECK(cache.head_dim() == d);
        CHECK(cache.capacity() == capacity);
        CHECK(cache.types().name() == "f32");
        CHECK(cache.bytes() == 0);

        // Rows are parts of wider ones; layer 1 gets other numbers, in one piece.
        const std::size_t width = 2 * heads * d + 5;
        const std::vector<float> rows = test::random_floats(2 * capacity * width, 1);
        const auto k = [&](std::size_t layer, std::size_t first, std::size_t n) {
            return qnt::matrix_view<const float>{rows.data() + (layer * capacity + first) * width, n, heads * d, width};
        };
        const auto v = [&](std::size_t layer, std::size_t first, std::size_t n) {
            return qnt::matrix_view<const float>{rows.data() + (layer * capacity + first) * width + heads * d, n, heads * d, width};
        };
        for (std::size_t first : {0u, 1u, 8u}) {
            const std::size_t n = first == 0 ? 1 : first == 1 ? 7 : 13;
            CHECK(cache.length(0) == first);
            cache.append(0, k(0, first, n), v(0, first, n));
        }
        cache.append(1, k(1, 0, capacity), v(1, 0, capacity));
        std::size_t wrong = 0;
        for (std::size_t layer = 0; layer < layers; ++layer) {
            REQUIRE(cache.length(layer) == capacity);
            for (std::size_t head = 0; head < heads; ++head)
                for (std::size_t position = 0; position < capacity; ++position)
                    for (std::size_t i = 0; i < d; ++i) {
                        wrong += cache.key(layer, head, position, i) != k(layer, 0, capacity)(position, head * d + i);
                        wrong += cache.value(layer, head, position, i) != v(layer, 0, capacity)(position, head * d + i);
                    }
        }
        CHECK(wrong == 0);
        CHECK(cache.bytes() >= 2 * layers * heads * d * capacity * sizeof(float));
    }
}

TEST_CASE("kv_cache overflow names position and capacity and stores nothing") {
    qnt::kv_cache cache = qnt::kv_cache::create(2, 1, 2, 5).value();
    const std::vector<float> rows(12, 1.0f);
    const qnt::matrix_view<const float> four{rows.data(), 4, 2}, two{rows.data(), 2, 2}, one{rows.data(), 1, 2};
    cache.append(1, four, four);
    CHECK_THROWS_WITH(cache.append(1, two, two), Catch::Contains("2 positions from position 4 of layer 1") && Catch::Contains("capacity of 5 "));
    CHECK(cache.length(1) == 4);
    CHECK(cache.length(0) == 0);
    cache.append(1, one, one);
    CHECK_THROWS_AS(cache.append(1, one, one), qnt::contract_error);
    cache.truncate(4);
    CHECK(cache.length(1) == 4);
    CHECK(cache.length(0) == 0);
    CHECK_THROWS_AS(cache.key(1, 0, 4, 0), qnt::contract_error);
    cache.append(1, one, one);
    CHECK(cache.length(1) == 5);
    cache.clear();
    CHECK(cache.length(1) == 0);
}

TEST_CASE("kv_cache refuses what does not fit") {
    qnt::kv_cache cache = qnt::kv_cache::create(1, 2, 3, 4).value();
    const std::vector<float> rows(24);
    const qnt::matrix_view<const float> good{rows.data(), 2, 6}, narrow{rows.data(), 2, 5}, fewer{rows.data(), 1, 6},
        columns{rows.data(), 2, 6, 1, 2};
    CHECK_THROWS_AS(cache.append(0, narrow, narrow), qnt::contract_error);
    CHECK_THROWS_AS(cache.append(0, good, fewer), qnt::contract_error);
    CHECK_THROWS_AS(cache.append(0, columns, good), qnt::contract_error);
    CHECK_THROWS_AS(cache.append(1, good, good), qnt::contract_error);
    CHECK_THROWS_AS(cache.length(1), qnt::contract_error);
    cache.append(0, good, good);
    CHECK_THROWS_AS(cache.key(0, 2, 0, 0), qnt::contract_error);
    CHECK_THROWS_AS(cache.value(0, 0, 0, 3), qnt::contract_error);

    for (const auto& [layers, heads, d, capacity] : {std::array<std::size_t, 4>{0, 1, 1, 1}, {1, 0, 1, 1}, {1, 1, 0, 1}, {1, 1, 1, 0}}) {
        const auto none = qnt::kv_cache::create(layers, heads, d, capacity);
        REQUIRE(!none);
        CHECK(none.error().code == qnt::errc::invalid_argument);
    }
    constexpr std::size_t huge = std::size_t(1) << 40;
    for (const auto& [layers, heads, d, capacity] :
         {std::array<std::size_t, 4>{huge, huge, 1, 1}, {1, 1, huge, huge}, {1, 1, 1, std::size_t(-1)}, {1, 1, huge, 1024}}) {
        const auto none = qnt::kv_cache::create(layers, heads, d, capacity);
        REQUIRE(!none);
        CHECK(none.error().code == qnt::errc::out_of_memory);
    }
}

TEST_CASE("kv_cache appends many rows on any number of threads") {
    constexpr std::size_t heads = 5, d = 33, n = 500;
    const std::vector<float> rows = test::random_floats(n * heads * d, 1);
    const qnt::matrix_view<const float> all{rows.data(), n, heads * d};
    reference::with_threads([&](auto& pool) {
        qnt::kv_cache cache = qnt::kv_cache::create(1, heads, d, n).value();
        cache.append(0, all, all, pool);
        std::size_t wrong = 0;
        for (std::size_t head = 0; head < heads; ++head)
            for (std::size_t position = 0; position < n; ++position)
                for (std::size_t i = 0; i < d; ++i)
                    wrong += cache.key(0, head, position, i) != all(position, head * d + i) ||
                             cache.value(0, head, position, i) != all(position, head * d + i);
        CHECK(wrong == 0);
    });
}
