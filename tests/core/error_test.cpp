#include <qnt/core/error.hpp>

#include <memory>
#include <string>

#include "catch.hpp"

using qnt::errc;
using qnt::error;
using qnt::result;

namespace {

result<int> half_of(int x) {
    if (x % 2 != 0) return error{errc::invalid_argument, std::to_string(x) + " is odd"};
    return x / 2;
}
result<void> check_even(int x) {
    QNT_TRY(half_of(x));
    return {};
}
result<std::string> describe(int x) {
    QNT_TRY(check_even(x));
    return std::to_string(x);
}

}  // namespace

TEST_CASE("a result holds a value") {
    auto r = half_of(10);
    REQUIRE(r.has_value());
    CHECK(static_cast<bool>(r));
    CHECK(r.value() == 5);
    CHECK(*r == 5);
    r.value() = 6;
    CHECK(*std::as_const(r) == 6);
    CHECK_THROWS_AS(r.error(), qnt::contract_error);

    result<std::string> text = std::string("ab");
    CHECK(text->size() == 2);
    CHECK(std::as_const(text)->size() == 2);
}

TEST_CASE("a result holds an error, and value() throws it") {
    const auto r = half_of(7);
    REQUIRE_FALSE(r.has_value());
    CHECK_FALSE(static_cast<bool>(r));
    CHECK(r.error().code == errc::invalid_argument);
    CHECK(r.error().message == "7 is odd");
    try {
        r.value();
        FAIL("value() of an error must throw");
    } catch (const qnt::exception& e) {
        CHECK(e.code() == errc::invalid_argument);
        CHECK(std::string(e.what()) == "7 is odd");
    }
    CHECK_THROWS_AS(*r, qnt::exception);
    CHECK_THROWS_AS(describe(3)->size(), qnt::exception);
}

TEST_CASE("a result of a move-only type gives it away") {
    result<std::unique_ptr<int>> r = std::make_unique<int>(3);
    const std::unique_ptr<int> p = std::move(r).value();
    CHECK(*p == 3);
    const auto made = [] { return result<std::unique_ptr<int>>(std::make_unique<int>(4)); };
    CHECK(*made().value() == 4);
}

TEST_CASE("results are copied and assigned, whatever they held") {
    const auto held = std::make_shared<int>(1);
    const result<std::shared_ptr<int>> good = held, bad = error{errc::io, std::string(100, 'x')};
    {
        auto a = good, b = bad;
        CHECK(held.use_count() == 3);
        std::swap(a, b);
        CHECK(a.error().message == bad.error().message);
        CHECK(b.value() == held);
        b = a;
        CHECK(held.use_count() == 2);
        CHECK(b.error().code == errc::io);
        a = b = good;
        CHECK(held.use_count() == 4);
        a = std::move(b);
        CHECK(held.use_count() == 3);
    }
    CHECK(held.use_count() == 2);
    static_assert(!std::is_copy_constructible_v<result<std::unique_ptr<int>>>);
    static_assert(std::is_nothrow_move_constructible_v<result<std::string>>);
}

TEST_CASE("result<void> is success or an error") {
    const auto good = check_even(4), bad = check_even(5);
    CHECK(good.has_value());
    CHECK_NOTHROW(good.value());
    CHECK_THROWS_AS(good.error(), qnt::contract_error);
    REQUIRE_FALSE(bad.has_value());
    CHECK(bad.error().message == "5 is odd");
    CHECK_THROWS_AS(bad.value(), qnt::exception);
}

TEST_CASE("QNT_TRY leaves with the first error") {
    CHECK(describe(8).value() == "8");
    const auto r = describe(9);
    REQUIRE_FALSE(r.has_value());
    CHECK(r.error().code == errc::invalid_argument);
    CHECK(r.error().message == "9 is odd");
}

TEST_CASE("contract violations are of another kind than errors") {
    CHECK_THROWS_AS(qnt::detail::contract_violation("text"), qnt::contract_error);
    CHECK_THROWS_AS(qnt::detail::out_of_memory(), std::bad_alloc);
    STATIC_REQUIRE(std::is_base_of_v<std::logic_error, qnt::contract_error>);
    STATIC_REQUIRE(std::is_base_of_v<std::runtime_error, qnt::exception>);
    try {
        qnt::detail::contract_violation("x[3] does not fit");
    } catch (const qnt::contract_error& e) {
        CHECK(std::string(e.what()) == "x[3] does not fit");
    }
}
