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

TEST_CASE("kv_types by name") {
    for (const char* text : {"f32", "f16", "int8", "f16,int8", "int8,f32"}) CHECK(qnt::kv_types::parse(text).value().name() == text);
    CHECK(qnt::kv_types::parse("f16,f16").value().name() == "f16");
    for (const char* text : {"", "f8", "f16,", ",f16", "f16,f16,f16", "F16", "f16, f16"}) {
        const auto none = qnt::kv_types::parse(text);
        REQUIRE(!none);
        CHECK(none.error().code == qnt::errc::invalid_argument);
        CHECK(none.error().message.find("'" + std::string(text) + "' is no type") == 0);
    }
}

namespace {

// One position of one head, keys and values stored in the given type.
std::pair<std::vector<float>, std::vector<float>> stored(std::span<const float> row, qnt::kv_type type) {
    qnt::kv_cache cache = qnt::kv_cache::create(1, 1, row.size(), 1, {type, type}).value();
    const qnt::matrix_view<const float> x{row.data(), 1, row.size()};
    cache.append(0, x, x);
    std::pair<std::vector<float>, std::vector<float>> out;
    for (std::size_t i = 0; i < row.size(); ++i) {
        out.first.push_back(cache.key(0, 0, 0, i));
        out.second.push_back(cache.value(0, 0, 0, i));
    }
    return out;
}

}  // namespace

TEST_CASE("kv_cache as f16 rounds to nearest even, on every instruction set") {
    // every f16 but NaN, the midpoints to the next one, and their neighbours
    std::vector<float> row;
    for (std::uint32_t bits = 0; bits < 0x7c00; bits += 7) {
        const double low = double(float(qnt::f16::from_bits(std::uint16_t(bits)))),
                     high = bits + 1 < 0x7c00 ? double(float(qnt::f16::from_bits(std::uint16_t(bits + 1)))) : 65536.0;
        const float middle = float((low + high) / 2);
        for (const float x : {float(low), middle, std::nextafter(middle, 0.0f), std::nextafter(middle, 1e9f)}) row.insert(row.end(), {x, -x});
    }
    row.insert(row.end(), {1e-30f, -1e-42f, 1e30f, std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()});
    const auto nearest = [](float x) {  // by the distance in double: an oracle without bit tricks
        if (!(std::abs(x) < 65520.0f)) return x > 0 ? std::numeric_limits<float>::infinity() : -std::numeric_limits<float>::infinity();
        int exponent = 0;
        std::frexp(x, &exponent);
        const double unit = std::ldexp(1.0, std::max(exponent - 11, -24));
        return float(std::nearbyint(double(x) / unit) * unit);
    };
    test::on_every_isa([&](auto) {
        const auto [keys, values] = stored(row, qnt::kv_type::f16);
        std::size_t wrong = 0;
        for (std::size_t i = 0; i < row.size(); ++i) wrong += keys[i] != nearest(row[i]) || values[i] != nearest(row[i]);
        CHECK(wrong == 0);
        const auto [nan_key, nan_value] = stored(std::vector<float>{1.0f, qnt::quiet_nan()}, qnt::kv_type::f16);
        CHECK(nan_key[0] == 1.0f);
        CHECK(std::isnan(nan_key[1]));
        CHECK(std::isnan(nan_value[1]));
    });
}

TEST_CASE("kv_cache as int8: absmax / 127, nearest even, at most half a step off, on every instruction set") {
    for (const std::size_t d : {1u, 3u, 15u, 16u, 33u, 64u, 100u})
        for (const float size : {1.0f, 1e-20f, 1e30f}) {
            INFO("d " << d << ", size " << size);
            std::vector<float> row = test::random_floats(d, unsigned(d), size);
            row[d / 2] = -size;
            const float top = std::abs(*std::max_element(row.begin(), row.end(), [](float a, float b) { return std::abs(a) < std::abs(b); }));
            const float scale = top / 127.0f;
            test::on_every_isa([&](auto) {
                const auto [keys, values] = stored(row, qnt::kv_type::i8);
                std::size_t wrong = 0;
                for (std::size_t i = 0; i < d; ++i) {
                    const float code = float(std::nearbyint(qnt::mul(row[i], 127.0f / top)));
                    wrong += keys[i] != qnt::mul(code, scale) || values[i] != keys[i];
                    wrong += std::abs(double(keys[i]) - double(row[i])) > double(scale) * 0.5001;
                }
                CHECK(wrong == 0);
            });
        }
    test::on_every_isa([&](auto) {
        for (const float x : stored(std::vector<float>(40, 0.0f), qnt::kv_type::i8).first) CHECK(x == 0.0f);
        for (const float x : stored(std::vector<float>(40, -0x1p-97f), qnt::kv_type::i8).second) CHECK(x == 0.0f);
        CHECK(stored(std::vector<float>(40, -0x1p-96f), qnt::kv_type::i8).second[39] == Approx(-0x1p-96f).epsilon(1e-6));
        CHECK(stored(std::vector<float>{3.4e38f}, qnt::kv_type::i8).first[0] == Approx(3.4e38f).epsilon(1e-6));
        for (const float bad : {qnt::quiet_nan(), std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()})
            for (const auto& x : {stored(std::vector<float>{1, 2, bad, 3}, qnt::kv_type::i8).first,
                                  stored(std::vector<float>{1, 2, bad, 3}, qnt::kv_type::i8).second})
                CHECK(std::all_of(x.begin(), x.end(), [](float v) { return std::isnan(v); }));
    });
}

TEST_CASE("kv_cache takes memory block by block and never moves it") {
    for (const auto& [types, bytes] : {std::pair{"f32", 8u}, {"f16", 4u}, {"int8", 2u}, {"f16,int8", 3u}}) {
        INFO(types);
        constexpr std::size_t layers = 2, heads = 3, d = 32, block = qnt::kv_cache::block;
        qnt::kv_cache cache = qnt::kv_cache::create(layers, heads, d, 10000, qnt::kv_types::parse(types).value()).value();
        CHECK(cache.bytes() == 0);
        const std::vector<float> rows = test::random_floats(200 * heads * d, 3);
        const auto part = [&](std::size_t n) { return qnt::matrix_view<const float>{rows.data(), n, heads * d}; };
        cache.append(0, part(1), part(1));
        const std::size_t one = cache.bytes(), numbers = layers * heads * d * block * bytes;
        CHECK(one >= numbers);
        CHECK(one <= numbers + numbers / 4);  // and scales
        const std::byte* const first = cache.view(0).head(0, 0);
        cache.append(0, part(block - 1), part(block - 1));
        CHECK(cache.bytes() == one);
        cache.append(0, part(1), part(1));
        CHECK(cache.bytes() == 2 * one);
        cache.append(0, part(200), part(200));
        CHECK(cache.bytes() == 5 * one);
        cache.append(1, part(200), part(200));
        CHECK(cache.bytes() == 5 * one);
        CHECK(cache.view(0).head(0, 0) == first);
        cache.clear();
        CHECK(cache.bytes() == 5 * one);
        CHECK(cache.reserve(321));
        CHECK(cache.bytes() == 6 * one);
        CHECK_THROWS_AS(cache.reserve(10001), qnt::contract_error);
    }
}
