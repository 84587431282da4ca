#include <qnt/nn/attention.hpp>

#include <cfenv>

#define EIGEN_DONT_VECTORIZE  // g++ 12 warns falsely inside its own AVX-512 headers where Eigen uses them
#include <Eigen/Dense>

#include "nn/reference.hpp"

namespace {

// Rows of q, k and v side by side, as one product makes them: [n, 3 * heads * d].
struct problem {
    std::size_t heads, d, n;
    std::vector<float> qkv;

    problem(std::size_t h, std::size_t dim, std::size_t count)
        : heads(h), d(dim), n(count), qkv(test::random_floats(count * 3 * h * dim, unsigned(dim + count), 4)) {}

    std::size_t width() const { return heads * d; }
    qnt::matrix_view<const float> part(std::size_t which, std::size_t first, std::size_t count) const {
        return {qkv.data() + first * 3 * width() + which * width(), count, width(), 3 * width()};
    }
    qnt::kv_types types = {};
    qnt::kv_cache cache() const { return qnt::kv_cache::create(1, heads, d, n, types).value(); }

    // In pieces of the given number of positions.
    std::vector<float> run(std::size_t step, qnt::executor_ref executor = {}) const {
        qnt::kv_cache kv = cache();
        std::vector<float> out(n * width());
        for (std::size_t first = 0; first < n; first += step) {
            const std::size_t count = std::min(step, n - first);
            kv.append(0, part(1, first, count), part(2, first, count), executor);
            qnt::attention({out.data() + first * width(), count, width()}, part(0, first, count), kv, 0, first, executor);
        }
        return out;
    }

    // Rows as they are stored: the numbers, and what they are to be multiplied by.
    struct stored_row {
        std::vector<float> numbers;
        float scale;
    };
    stored_row stored(qnt::kv_type type, const float* x) const {
        stored_row r{{x, x + d}, 1.0f};
        float top = 0;
        for (float v : r.numbers) top = std::max(top, std::abs(v));
        if (type == qnt::kv_type::i8) r.scale = top / 127.0f;
        for (float& v : r.numbers)
            v = type == qnt::kv_type::f16 ? float(qnt::f16(v)) : type == qnt::kv_type::i8 ? std::nearbyint(qnt::mul(v, 127.0f / top)) : v;
        return r;
    }

    std::vector<float> normative() const {
        std::vector<float> out(n * width()), s;
        const float scale = 1.0f / std::sqrt(float(d));
        for (std::size_t position = 0; position < n; ++position)
            for (std::size_t head = 0; head < heads; ++head) {
                s.resize(position + 1);
                const float* q = part(0, position, 1).row(0) + head * d;
                for (std::size_t j = 0; j <= position; ++j) {
                    const stored_row k = stored(types.keys, part(1, j, 1).row(0) + head * d);
                    const float dot = reference::tree_sum(d, [&](float sum, std::size_t i) { return std::fma(q[i], k.numbers[i], sum); });
                    s[j] = qnt::mul(qnt::mul(dot, k.scale), scale);
                }
                const float sum = reference::exp_below_max(s);
                std::vector<float> acc(d, 0.0f);
                for (std::size_t j = 0; j <= position; ++j) {
                    const stored_row v = stored(types.values, part(2, j, 1).row(0) + head * d);
                    for (std::size_t i = 0; i < d; ++i) acc[i] = std::fma(qnt::mul(s[j], v.scale), v.numbers[i], acc[i]);
                }
                for (std::size_t i = 0; i < d; ++i) out[position * width() + head * d + i] = acc[i] / sum;
            }
        return out;
    }

    double worst_error(const std::vector<float>& out) const {  // against Eigen in double, on the numbers that are stored
        using matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
        const auto head_of = [&](std::size_t which, std::size_t head) {
            matrix m{Eigen::Index(n), Eigen::Index(d)};
            const qnt::kv_type type = which == 0 ? qnt::kv_type::f32 : which == 1 ? types.keys : types.values;
            for (std::size_t r = 0; r < n; ++r) {
                const stored_row row = stored(type, part(which, r, 1).row(0) + head * d);
                for (std::size_t i = 0; i < d; ++i) m(Eigen::Index(r), Eigen::Index(i)) = double(row.numbers[i]) * double(row.scale);
            }
            return m;
        };
        double worst = 0;
        for (std::size_t head = 0; head < heads; ++head) {
            const matrix scores = head_of(0, head) * head_of(1, head).transpose() / std::sqrt(double(d)), values = head_of(2, head);
            for (std::size_t r = 0; r < n; ++r) {
                const Eigen::Index at = Eigen::Index(r);
                const Eigen::ArrayXd row = scores.row(at).head(at + 1).transpose().array(), weights = (row - row.maxCoeff()).exp();
                const Eigen::VectorXd expected = values.topRows(at + 1).transpose() * weights.matrix() / weights.sum();
                for (std::size_t i = 0; i < d; ++i)
                    worst = std::max(worst, std::abs(double(out[r * width() + head * d + i]) - expected[Eigen::Index(i)]));
            }
        }
        return worst;
    }
};

}  // namespace

TEST_CASE("attention against Eigen in double, and in the normative order on every instruction set") {
    for (std::size_t d : {1u, 3u, 16u, 33u, 64u, 100u})
        for (std::size_t n : {1u, 7u, 50u}) {
            INFO("d " << d << ", n " << n);
            const problem p(3, d, n);
            const std::vector<float> expected = p.normative();
            CHECK(p.worst_error(expected) <= 3e-5);
            test::on_every_isa([&](auto) {
                for (std::size_t step : {n, std::size_t{1}, std::size_t{2}, std::size_t{5}, std::size_t{17}}) {
                    INFO("in steps of " << step);
                    CHECK(test::same_bits(p.run(step), expected));
                }
            });
        }
}

TEST_CASE("attention over f16 and int8 against Eigen in double, and in the normative order on every instruction set, across blocks") {
    for (const char* types : {"f16", "int8", "f16,int8", "int8,f32", "f32,int8"})
        for (const auto& shape : {std::pair<std::size_t, std::size_t>{1, 9}, {3, 20}, {16, 70}, {33, 50}, {64, 135}, {100, 7}}) {
            const std::size_t d = shape.first, n = shape.second;
            INFO(types << ", d " << d << ", n " << n);
            problem p(2, d, n);
            p.types = qnt::kv_types::parse(types).value();
            const std::vector<float> expected = p.normative();
            CHECK(p.worst_error(expected) <= 3e-5);
            test::on_every_isa([&](auto) {
                for (std::size_t step : {n, std::size_t{1}, std::size_t{5}, std::size_t{17}}) {
                    INFO("in steps of " << step);
                    CHECK(test::same_bits(p.run(step), expected));
                }
            });
            reference::with_threads([&](auto& pool) { CHECK(test::same_bits(p.run(n, pool), expected)); });
        }
}

TEST_CASE("attention of several sequences at once is that of each") {
    std::vector<problem> problems;
    for (const std::size_t n : {1u, 40u, 130u, 7u}) problems.emplace_back(3, 16, n);
    problems[1].types = {qnt::kv_type::i8, qnt::kv_type::f16};
    const auto run = [&](qnt::executor_ref executor) {
        std::vector<qnt::kv_cache> caches;
        std::vector<std::vector<float>> out;
        std::vector<qnt::attention_rows> rows;
        for (const problem& p : problems) {
            caches.push_back(p.cache());
            caches.back().append(0, p.part(1, 0, p.n), p.part(2, 0, p.n));
            out.emplace_back(p.n * p.width());
        }
        for (std::size_t i = 0; i < problems.size(); ++i) {
            const problem& p = problems[i];
            rows.push_back({{out[i].data(), p.n, p.width()}, p.part(0, 0, p.n), &caches[i], 0});
        }
        qnt::attention(rows, 0, executor);
        for (std::size_t i = 0; i < problems.size(); ++i) CHECK(test::same_bits(out[i], problems[i].normative()));
    };
    test::on_every_isa([&](auto) { run({}); });
    reference::with_threads([&](auto& pool) { run(pool); });
    test::chaotic_executor chaotic;
    run(chaotic);
}

TEST_CASE("attention shows what int8 cannot hold") {
    problem p(2, 8, 3);
    p.types = {qnt::kv_type::i8, qnt::kv_type::i8};
    p.qkv[3 * p.width() + p.width()] = std::numeric_limits<float>::infinity();  // a key of head 0 at position 1
    test::on_every_isa([&](auto) {
        const std::vector<float> out = p.run(3);
        for (std::size_t position = 0; position < 3; ++position)
            for (std::size_t i = 0; i < p.width(); ++i) CHECK(std::isnan(out[position * p.width() + i]) == (position > 0 && i < p.d));
    });
}

TEST_CASE("attention on any number of threads") {
    const problem p(4, 33, 70);
    const std::vector<float> expected = p.normative();
    reference::with_threads([&](auto& pool) {
        for (std::size_t step : {70u, 19u}) CHECK(test::same_bits(p.run(step, pool), expected));
    });
    test::chaotic_executor chaotic;
    CHECK(test::same_bits(p.run(70, chaotic), expected));
}

TEST_CASE("attention in another rounding mode of its caller") {
    const problem p(2, 33, 10);
    const std::vector<float> expected = p.normative();
    test::on_every_isa([&](auto) {
        std::fesetround(FE_UPWARD);
        const std::vector<float> out = p.run(10);
        const int mode = std::fegetround();
        std::fesetround(FE_TONEAREST);
        CHECK(mode == FE_UPWARD);
        CHECK(test::same_bits(out, expected));
    });
}

TEST_CASE("attention after truncation, over a cache with leftovers, in place of q") {
    const problem p(2, 16, 40);
    const std::vector<float> expected = p.normative();
    test::on_every_isa([&](auto) {
        qnt::kv_cache kv = p.cache();
        // positions that are forgotten again, some of them not finite
        std::vector<float> bad(40 * 32, std::numeric_limits<float>::infinity());
        bad[0] = qnt::quiet_nan();
        kv.append(0, {bad.data(), 40, 32}, {bad.data(), 40, 32});
        kv.clear();
        kv.append(0, p.part(1, 0, 40), p.part(2, 0, 40));
        kv.truncate(10);
        kv.append(0, p.part(1, 10, 11), p.part(2, 10, 11));
        std::vector<float> q(21 * 32);
        for (std::size_t r = 0; r < 21; ++r) std::copy_n(p.part(0, r, 1).data, 32, q.data() + r * 32);
        const qnt::matrix_view<float> rows{q.data(), 21, 32};
        qnt::attention(rows, rows, kv, 0, 0);
        CHECK(test::same_bits(q, std::span(expected).first(q.size())));
    });
}

TEST_CASE("attention sees no later position") {
    constexpr std::size_t n = 23, d = 5;
    const problem p(1, d, n);
    const std::vector<float> expected = p.normative();
    test::on_every_isa([&](auto) {
        for (std::size_t last = 0; last + 1 < n; ++last) {
            problem spoiled = p;
            for (std::size_t r = last + 1; r < n; ++r)
                for (std::size_t i = d; i < 3 * d; ++i) spoiled.qkv[r * 3 * d + i] = qnt::quiet_nan();
            const std::vector<float> out = spoiled.run(n);
            CHECK(test::same_bits(std::span(out).first((last + 1) * d), std::span(expected).first((last + 1) * d)));
        }
    });
}

TEST_CASE("attention writes nothing outside of its rows") {
    for (std::size_t d : {1u, 3u, 16u, 33u}) {
        const problem p(2, d, 9);
        const std::vector<float> expected = p.normative();
        const std::size_t width = p.width(), stride = width + 7;
        test::on_every_isa([&](auto) {
            qnt::kv_cache kv = p.cache();
            kv.append(0, p.part(1, 0, 9), p.part(2, 0, 9));
            test::guarded<float> out(8 * stride + width), q(9 * width);
            std::fill_n(out.data(), 8 * stride + width, 99.0f);
            for (std::size_t r = 0; r < 9; ++r) std::copy_n(p.part(0, r, 1).data, width, q.data() + r * width);
            qnt::attention({out.data(), 9, width, stride}, qnt::matrix_view<const float>{q.data(), 9, width}, kv, 0, 0);
            for (std::size_t r = 0; r < 9; ++r) {
                CHECK(test::same_bits({out.data() + r * stride, width}, {expected.data() + r * width, width}));
                if (r < 8) CHECK(std::all_of(out.data() + r * stride + width, out.data() + (r + 1) * stride, [](float v) { return v == 99.0f; }));
            }
        });
    }
}

TEST_CASE("attention refuses what does not fit, with out untouched") {
    const problem p(2, 4, 6);
    qnt::kv_cache kv = p.cache();
    kv.append(0, p.part(1, 0, 5), p.part(2, 0, 5));
    std::vector<float> out(6 * 8, 7.0f);
    const auto rows = [&](std::size_t n) { return qnt::matrix_view<float>{out.data(), n, 8}; };
    CHECK_THROWS_AS(qnt::attention(rows(6), p.part(0, 0, 6), kv, 0, 0), qnt::contract_error);  // the cache holds five positions
    CHECK_THROWS_AS(qnt::attention(rows(1), p.part(0, 5, 1), kv, 0, 5), qnt::contract_error);
    CHECK_THROWS_AS(qnt::attention(rows(1), p.part(0, 0, 1), kv, 0, std::size_t(-1)), qnt::contract_error);
    CHECK_THROWS_AS(qnt::attention(rows(4), p.part(0, 0, 5), kv, 0, 0), qnt::contract_error);
    CHECK_THROWS_AS(qnt::attention(rows(5), p.part(0, 0, 5), kv, 1, 0), qnt::contract_error);
    CHECK_THROWS_AS(qnt::attention({out.data(), 5, 7}, {out.data(), 5, 7}, kv, 0, 0), qnt::contract_error);
    CHECK_THROWS_AS(qnt::attention({out.data(), 5, 8, 1, 5}, p.part(0, 0, 5), kv, 0, 0), qnt::contract_error);
    qnt::attention(rows(0), p.part(0, 0, 0), kv, 0, 5);
    CHECK(out == std::vector<float>(6 * 8, 7.0f));
}
