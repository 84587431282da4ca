#include <map>

#include "kernels/guarded_product.hpp"

namespace {

constexpr test::product_shape most{70, 400, 40};

// Half of the sizes are an edge or one of its neighbours.
std::size_t near(std::mt19937& random, std::span<const std::size_t> edges, std::size_t top) {
    const std::size_t any = random() % top + 1, edge = edges[random() % edges.size()] + random() % 3 - 1;
    return random() % 2 == 0 ? any : std::clamp(edge, std::size_t{1}, top);
}

test::product_shape random_shape(std::mt19937& random) {
    constexpr std::size_t panels[] = {16, 32, 48, 64}, columns[] = {4, 8, 16, 64, 128, 256, 384}, rows[] = {2, 3, 8, 16, 17, 32, 33};
    const std::size_t n = near(random, panels, most.n), k = near(random, columns, most.k);
    return {n, k, near(random, rows, most.m)};
}

}  // namespace

TEST_CASE("products read and write their operands and nothing next to them") {
    std::vector<std::pair<std::string, qnt::compute_mode>> kinds{{"squares", qnt::exact}, {"squares", qnt::int8_activations}};
    for (const char* format : test::formats) {
        kinds.emplace_back(format, qnt::exact);
        if (!test::parse(format).info.is_dense()) kinds.emplace_back(format, qnt::int8_activations);
    }
    std::mt19937 random(1);
    test::guarded_product p(most);
    std::map<std::string, std::size_t> seen;
    std::size_t cases = 0;
    REQUIRE(qnt::isa::supported(qnt::isa::id::scalar));  // asks which processor this is
    const unsigned found = qnt::isa::detail::found;
    for (std::size_t i = 0; cases < 20000; ++i) {
        const auto& [format, mode] = kinds[i % kinds.size()];
        p.make(random, format, mode, random_shape(random));
        INFO(p.text);
        const auto expected = p.expected();
        if (random() % 2 == 0) qnt::isa::detail::found ^= 1u << qnt::isa::detail::reading_ahead;  // one row has a way of its own on such processors
        test::on_every_isa([&](qnt::isa::id) {
            REQUIRE(std::ranges::equal(p.run(test::multiply), expected));
            ++cases;
        });
        ++seen[std::string("x ") + qnt::name_of(p.x.type)];
        ++seen[std::string("y ") + qnt::name_of(p.y.type)];
        seen["in place"] += p.in_place;
        seen["plain"] += !p.epilogue.bias.data() && p.epilogue.act == qnt::activation::none && !p.epilogue.residual.data;
        seen["gaps"] += p.y.stride > p.y.cols && p.x.stride > p.x.cols;
        seen["one row, read ahead"] += p.shape.m == 1 && qnt::isa::reads_ahead();
        seen["one row, not read ahead"] += p.shape.m == 1 && !qnt::isa::reads_ahead();
        seen["blocks of rows and panels"] += p.shape.m >= 32 && p.shape.n >= 48;
    }
    qnt::isa::detail::found = found;
    for (const char* what : {"x f32", "x f16", "x bf16", "y f32", "y f16", "y bf16", "in place", "plain", "gaps", "one row, read ahead",
                             "one row, not read ahead", "blocks of rows and panels"}) {
        INFO(what);
        CHECK(seen[what] >= (std::string_view(what).starts_with("one row") ? 20 : 200));
    }
}
