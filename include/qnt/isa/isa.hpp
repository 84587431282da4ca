// The instruction sets of the library: what this machine has, which one runs, and how to force one.
//
//   isa::compiled()      all that this build contains, from the simplest to the widest
//   isa::supported(id)   does this machine (processor and operating system) run it?
//   isa::active()        the one in use: forced, else the environment variable QNT_ISA, else the widest supported
//   isa::force(id)       use this one from now on, in the whole program; reset() undoes it
//
// Results do not depend on the choice, speed does.
#pragma once
#include <atomic>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>

#include "../core/error.hpp"
#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace qnt::isa {

enum class id : std::uint8_t {
    scalar,
#if defined(__x86_64__)
    avx2,        // AVX2, FMA, F16C
    avx512,      // AVX-512 F, BW, DQ, VL
    avx512vnni,  // and VNNI
#elif defined(__aarch64__)
    neon,
    dotprod,
#endif
};

// In the order of `id`; also the namespaces of the kernels.
inline constexpr const char* names[] = {
    "scalar",
#if defined(__x86_64__)
    "avx2",
    "avx512",
    "avx512vnni",
#elif defined(__aarch64__)
    "neon",
    "dotprod",
#endif
};
inline constexpr std::size_t count = sizeof names / sizeof names[0];

constexpr const char* name(id i) { return names[std::size_t(i)]; }

namespace detail {
struct features {
    bool has[count] = {true};

    features() {
#if defined(__x86_64__)
        const auto leaf = [](std::uint32_t a, std::uint32_t c) {
            struct {
                std::uint32_t a, b, c, d;
            } r{};
            asm volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(a), "c"(c));
            return r;
        };
        const auto bit = [](std::uint32_t word, int n) { return (word >> n & 1u) != 0; };
        if (leaf(0, 0).a < 7) return;
        const auto one = leaf(1, 0), seven = leaf(7, 0);
        if (!bit(one.c, 27)) return;  // OSXSAVE: the system saves vector registers at all
        std::uint32_t low = 0, high = 0;
        asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
        const bool ymm = (low & 0x06u) == 0x06u, zmm = (low & 0xe6u) == 0xe6u;
        has[std::size_t(id::avx2)] = ymm && bit(one.c, 28) && bit(one.c, 12) && bit(one.c, 29) && bit(seven.b, 5);
        has[std::size_t(id::avx512)] =
            has[std::size_t(id::avx2)] && zmm && bit(seven.b, 16) && bit(seven.b, 17) && bit(seven.b, 30) && bit(seven.b, 31);
        has[std::size_t(id::avx512vnni)] = has[std::size_t(id::avx512)] && bit(seven.c, 11);
#elif defined(__aarch64__)
        has[std::size_t(id::neon)] = true;
#if defined(__linux__)
        has[std::size_t(id::dotprod)] = (getauxval(AT_HWCAP) >> 20 & 1u) != 0;  // HWCAP_ASIMDDP
#elif defined(__APPLE__)
        has[std::size_t(id::dotprod)] = true;  // every Apple M processor
#endif
#endif
    }
};

// One per program, whatever flags its translation units are built with.
inline const features machine;
inline std::atomic<int> forced{-1};
}  // namespace detail

constexpr std::span<const char* const> compiled() { return names; }
inline bool supported(id i) { return detail::machine.has[std::size_t(i)]; }
inline id best() {
    std::size_t i = count - 1;
    while (!detail::machine.has[i]) --i;
    return id(i);
}

// "avx2, avx512": what parse() accepts on this machine.
inline std::string supported_names() {
    std::string list;
    for (std::size_t i = 0; i < count; ++i)
        if (detail::machine.has[i]) list += (list.empty() ? "" : ", ") + std::string(names[i]);
    return list;
}

// The id of a name. Errors: not_found (no such name in this build), unsupported (not on this machine).
inline result<id> parse(std::string_view text) {
    for (std::size_t i = 0; i < count; ++i)
        if (text == names[i]) {
            if (detail::machine.has[i]) return id(i);
            return error{errc::unsupported,
                         "instruction set '" + std::string(text) + "' is not supported by this machine (it has: " + supported_names() + ")"};
        }
    return error{errc::not_found, "unknown instruction set '" + std::string(text) + "' (this machine has: " + supported_names() + ")"};
}

inline result<void> force(id i) {
    if (!supported(i)) return parse(name(i)).error();
    detail::forced.store(int(i), std::memory_order_relaxed);
    return {};
}
inline void reset() { detail::forced.store(-1, std::memory_order_relaxed); }

// Throws qnt::exception when QNT_ISA names something unknown or unsupported: a wish that cannot be met is never ignored.
inline id active() {
    const int f = detail::forced.load(std::memory_order_relaxed);
    if (f >= 0) return id(f);
    static const id chosen = [] {
        const char* wish = std::getenv("QNT_ISA");
        if (!wish || !*wish) return best();
        auto parsed = parse(wish);
        if (!parsed) qnt::detail::throw_error({parsed.error().code, "QNT_ISA: " + parsed.error().message});
        return *parsed;
    }();
    return chosen;
}

}  // namespace qnt::isa
