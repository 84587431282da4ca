#include <qnt/core/aligned_buffer.hpp>

#include <algorithm>

#include "catch.hpp"

using qnt::aligned_buffer;

TEST_CASE("a buffer is zeroed, aligned to a line, and to a huge page from 1 MiB on") {
    for (const std::size_t bytes : {std::size_t{1}, std::size_t{63}, std::size_t{64}, std::size_t{65}, (std::size_t{1} << 20) - 1,
                                    std::size_t{1} << 20, (std::size_t{1} << 20) + 1, std::size_t{5} << 20}) {
        CAPTURE(bytes);
        for (int turn = 0; turn < 2; ++turn) {  // the second one is likely to get the dirty memory of the first
            auto buffer = aligned_buffer::allocate(bytes).value();
            REQUIRE(buffer.size() == bytes);
            REQUIRE(reinterpret_cast<std::uintptr_t>(buffer.data()) % (bytes >= std::size_t{1} << 20 ? std::size_t{1} << 21 : qnt::line_bytes) == 0);
            REQUIRE(std::all_of(buffer.data(), buffer.data() + bytes, [](std::byte b) { return b == std::byte{0}; }));
            std::fill_n(buffer.data(), bytes, std::byte{0xa5});
        }
    }
}

TEST_CASE("an empty buffer holds nothing") {
    const auto buffer = aligned_buffer::allocate(0).value();
    CHECK(buffer.data() == nullptr);
    CHECK(buffer.size() == 0);
    CHECK(aligned_buffer{}.data() == nullptr);
}

TEST_CASE("buffers move, contents and all") {
    auto a = aligned_buffer::allocate(100).value();
    a.data()[99] = std::byte{7};
    const std::byte* const where = a.data();
    aligned_buffer b = std::move(a);
    CHECK(a.data() == nullptr);
    CHECK(a.size() == 0);
    CHECK(b.data() == where);
    CHECK(b.data()[99] == std::byte{7});

    auto c = aligned_buffer::allocate(std::size_t{3} << 20).value();
    const std::byte* const other = c.data();
    c = std::move(b);  // sizes of two kinds of alignment: each must be freed as it was allocated (the sanitizers look)
    CHECK(c.data() == where);
    CHECK(c.size() == 100);
    CHECK(b.data() == other);
    aligned_buffer& same = c;
    c = std::move(same);
    CHECK(c.data() == where);
    CHECK(c.data()[99] == std::byte{7});
}

TEST_CASE("what cannot be had is an error that says how much was asked for") {
    const volatile std::size_t everything = std::size_t(-1);  // volatile: compilers warn of what they see
    const auto none = aligned_buffer::allocate(everything);
    REQUIRE_FALSE(none.has_value());
    CHECK(none.error().code == qnt::errc::out_of_memory);
    CHECK(none.error().message.find("18446744073709551615") != std::string::npos);
#if defined(QNT_ADDRESS_SANITIZER) || defined(QNT_THREAD_SANITIZER)
    WARN("skipped: sanitizers end the program when an allocation is too large");
#else
    volatile std::size_t huge = std::size_t{1} << 60;  // more than any address space
    const auto refused = aligned_buffer::allocate(huge);
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().code == qnt::errc::out_of_memory);
    CHECK(refused.error().message.find("1152921504606846976") != std::string::npos);
#endif
}
