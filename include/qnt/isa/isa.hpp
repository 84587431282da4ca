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
#if defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

// Every instruction set of this architecture, from the simplest to the widest: each(name, what). The names are those of `id`, of the
// environment variable, of the folders of isa/ and of the kernels' namespaces. Some differ in their integer products only: FLOAT_ISAS
// are those with float kernels of their own, FLOAT_ISA_OF_EACH names for every instruction set the one whose float kernels it runs.
#if defined(__x86_64__)
//   avx2: AVX2, FMA, F16C    avxvnni: and AVX-VNNI    avx512: AVX-512 F, BW, DQ, VL    avx512vnni: and VNNI    amx_int8: and AMX
#define QNT_ISAS(each, ...)                                                                                                              \
    each(scalar, __VA_ARGS__) each(avx2, __VA_ARGS__) each(avxvnni, __VA_ARGS__) each(avx512, __VA_ARGS__) each(avx512vnni, __VA_ARGS__) \
        each(amx_int8, __VA_ARGS__)
#define QNT_FLOAT_ISAS(each, ...) each(scalar, __VA_ARGS__) each(avx2, __VA_ARGS__) each(avx512, __VA_ARGS__)
#define QNT_FLOAT_ISA_OF_EACH(each, ...)                                                                                          \
    each(scalar, __VA_ARGS__) each(avx2, __VA_ARGS__) each(avx2, __VA_ARGS__) each(avx512, __VA_ARGS__) each(avx512, __VA_ARGS__) \
        each(avx512, __VA_ARGS__)
#elif defined(__aarch64__)
//   neon: Armv8-A    dotprod: and the dot products of Armv8.2-A    i8mm: and the 8-bit matrix products of Armv8.6-A
#define QNT_ISAS(each, ...) each(scalar, __VA_ARGS__) each(neon, __VA_ARGS__) each(dotprod, __VA_ARGS__) each(i8mm, __VA_ARGS__)
#define QNT_FLOAT_ISAS(each, ...) each(scalar, __VA_ARGS__) each(neon, __VA_ARGS__)
#define QNT_FLOAT_ISA_OF_EACH(each, ...) each(scalar, __VA_ARGS__) each(neon, __VA_ARGS__) each(neon, __VA_ARGS__) each(neon, __VA_ARGS__)
#else
#define QNT_ISAS(each, ...) each(scalar, __VA_ARGS__)
#define QNT_FLOAT_ISAS(each, ...) each(scalar, __VA_ARGS__)
#define QNT_FLOAT_ISA_OF_EACH(each, ...) each(scalar, __VA_ARGS__)
#endif

namespace qnt::isa {

#define QNT_ENUMERATOR(name, ...) name,
enum class id : std::uint8_t { QNT_ISAS(QNT_ENUMERATOR, ) };
#undef QNT_ENUMERATOR

#define QNT_NAME(name, ...) #name,
inline constexpr const char* names[] = {QNT_ISAS(QNT_NAME, )};
#undef QNT_NAME
inline constexpr std::size_t count = sizeof names / sizeof names[0];

constexpr const char* name(id i) { return names[std::size_t(i)]; }

namespace detail {
// One of each per program, whatever flags its translation units are built with, and nothing runs before main: a unit built for a
// newer processor must not be the one that asks which processor this is.
inline constinit std::atomic<unsigned> found{0};  // bit i: id(i) is supported; from reading_ahead on: of the processor; 0: not asked yet
inline constinit std::atomic<int> forced{-1};

inline namespace QNT_BASELINE {

inline constexpr unsigned reading_ahead = 31;

inline unsigned detect() {
    unsigned has = 1;
    const auto add = [&](id i, bool supported) { has |= unsigned(supported) << unsigned(i); };
#if defined(__x86_64__)
    struct registers {
        std::uint32_t a, b, c, d;
    };
    const auto leaf = [](std::uint32_t number, std::uint32_t part = 0) {
        registers r{};
        asm volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(number), "c"(part));
        return r;
    };
    const auto bits = [](std::uint32_t word, auto... n) { return ((word >> n & 1u) & ...) != 0; };
    const registers zero = leaf(0);
    has |= unsigned(zero.b == 0x68747541) << reading_ahead;  // "Auth", of AuthenticAMD
    if (zero.a < 7) return has;
    const registers one = leaf(1), seven = leaf(7);
    if (!bits(one.c, 27)) return has;  // OSXSAVE: the system saves vector registers at all
    std::uint32_t low = 0, high = 0;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    const bool ymm = (low & 0x06u) == 0x06u, zmm = (low & 0xe6u) == 0xe6u;
    const bool avx2 = ymm && bits(one.c, 12, 28, 29) && bits(seven.b, 5), avx512 = avx2 && zmm && bits(seven.b, 16, 17, 30, 31);
    add(id::avx2, avx2);
    add(id::avxvnni, avx2 && seven.a >= 1 && bits(leaf(7, 1).a, 4));
    add(id::avx512, avx512);
    add(id::avx512vnni, avx512 && bits(seven.c, 11));
#if defined(__linux__)
    // Linux, Documentation/arch/x86/xstate.rst: tiles must be asked for, once per process (ARCH_REQ_XCOMP_PERM, feature 18).
    const bool tiles = avx512 && bits(seven.c, 11) && bits(seven.d, 24, 25) && (low >> 17 & 3u) == 3u;
    add(id::amx_int8, tiles && syscall(SYS_arch_prctl, 0x1023, 18) == 0);
#endif
#elif defined(__aarch64__)
    add(id::neon, true);
#if defined(__linux__)
    const bool dotprod = (getauxval(AT_HWCAP) >> 20 & 1u) != 0;  // HWCAP_ASIMDDP
    add(id::dotprod, dotprod);
    add(id::i8mm, dotprod && (getauxval(AT_HWCAP2) >> 13 & 1u) != 0);  // HWCAP2_I8MM
#elif defined(__APPLE__)
    add(id::dotprod, true);  // every Apple M processor
    int i8mm = 0;
    std::size_t size = sizeof i8mm;
    add(id::i8mm, sysctlbyname("hw.optional.arm.FEAT_I8MM", &i8mm, &size, nullptr, 0) == 0 && i8mm != 0);
#endif
#else
    static_cast<void>(add);
#endif
    return has;
}

inline bool has(unsigned bit) {
    unsigned has = found.load(std::memory_order_relaxed);
    if (has == 0) {
        has = detect();  // by several threads at once, it may be: they find the same
        found.store(has, std::memory_order_relaxed);
    }
    return (has >> bit & 1u) != 0;
}

}  // namespace QNT_BASELINE
}  // namespace detail

inline namespace QNT_BASELINE {

constexpr std::span<const char* const> compiled() { return names; }
inline bool supported(id i) { return detail::has(unsigned(i)); }
// Does the processor by itself read far enough ahead of a loop that goes over memory once? AMD's do (Zen 4: to be asked as well costs them up to a
// fifth of the speed, where Intel's reach 0.6 of it unasked).
inline bool reads_ahead() { return detail::has(detail::reading_ahead); }
inline id best() {
    std::size_t i = count - 1;
    while (!supported(id(i))) --i;
    return id(i);
}

// "avx2, avx512": what parse() accepts on this machine.
inline std::string supported_names() {
    std::string list;
    for (std::size_t i = 0; i < count; ++i)
        if (supported(id(i))) list += (list.empty() ? "" : ", ") + std::string(names[i]);
    return list;
}

// The id of a name. Errors: not_found (no such name in this build), unsupported (not on this machine).
inline result<id> parse(std::string_view text) {
    for (std::size_t i = 0; i < count; ++i)
        if (text == names[i]) {
            if (supported(id(i))) return id(i);
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

}  // namespace QNT_BASELINE
}  // namespace qnt::isa
