// Version, compiler support and the few macros of the library.
#pragma once
#include <cstddef>
#include <cstdint>

#define QNT_VERSION_MAJOR 0
#define QNT_VERSION_MINOR 1
#define QNT_VERSION_PATCH 0

#if !defined(__GNUC__) && !defined(__clang__)
#error "qnt needs g++ >= 12 or clang++ >= 14"
#endif
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "qnt supports little-endian machines only"
#endif
#if defined(__FAST_MATH__) && !defined(QNT_ALLOW_FAST_MATH)
#error "qnt promises the same bits everywhere, -ffast-math breaks that: remove it or define QNT_ALLOW_FAST_MATH"
#endif
static_assert(sizeof(void*) == 8, "qnt supports 64-bit machines only");

#if defined(__cpp_exceptions)
#define QNT_EXCEPTIONS 1
#else
#define QNT_EXCEPTIONS 0
#endif

// Under a sanitizer kernels are compiled otherwise (isa/intrinsics.hpp), and tests leave out what it does not stand: it ends the program when
// an allocation is too large, the thread sanitizer refuses new threads after a fork.
#if defined(__has_feature)
#define QNT_HAS_FEATURE(f) __has_feature(f)
#else
#define QNT_HAS_FEATURE(f) 0
#endif
#if defined(__SANITIZE_THREAD__) || QNT_HAS_FEATURE(thread_sanitizer)
#define QNT_THREAD_SANITIZER
#endif
#if defined(__SANITIZE_ADDRESS__) || QNT_HAS_FEATURE(address_sanitizer)
#define QNT_ADDRESS_SANITIZER
#endif

#define QNT_INLINE inline __attribute__((always_inline))
#define QNT_INLINE_LAMBDA __attribute__((always_inline))  // behind the parameters: a kernel's registers live in its caller
#define QNT_NOINLINE __attribute__((noinline))
#define QNT_PRAGMA(text) _Pragma(#text)
// QNT_BASELINE: an inline namespace named after the instruction sets of the command line. Every inline function with code worth
// the name lives in it, so that translation units built with different flags never share a weak symbol: a program that links one
// unit built with -mavx2 keeps baseline copies for all others. Types, and state that must exist once, stay outside of it.
#if defined(__x86_64__)
#define QNT_TAG_ARCH b_x86_64
#if defined(__SSE4_2__)
#define QNT_TAG_SSE _sse42
#else
#define QNT_TAG_SSE
#endif
#if defined(__AVX2__)
#define QNT_TAG_AVX _avx2
#elif defined(__AVX__)
#define QNT_TAG_AVX _avx
#else
#define QNT_TAG_AVX
#endif
#if defined(__FMA__)
#define QNT_TAG_FMA _fma
#else
#define QNT_TAG_FMA
#endif
#if defined(__AVX512FP16__)
#define QNT_TAG_512 _avx512fp16
#elif defined(__AVX512VNNI__)
#define QNT_TAG_512 _avx512vnni
#elif defined(__AVX512F__)
#define QNT_TAG_512 _avx512
#elif defined(__AVXVNNI__)
#define QNT_TAG_512 _avxvnni
#else
#define QNT_TAG_512
#endif
#elif defined(__aarch64__)
#define QNT_TAG_ARCH b_aarch64
#define QNT_TAG_SSE
#if defined(__ARM_FEATURE_DOTPROD)
#define QNT_TAG_AVX _dotprod
#else
#define QNT_TAG_AVX
#endif
#if defined(__ARM_FEATURE_MATMUL_INT8)
#define QNT_TAG_FMA _i8mm
#else
#define QNT_TAG_FMA
#endif
#if defined(__ARM_FEATURE_SVE)
#define QNT_TAG_512 _sve
#else
#define QNT_TAG_512
#endif
#else
#define QNT_TAG_ARCH b_generic
#define QNT_TAG_SSE
#define QNT_TAG_AVX
#define QNT_TAG_FMA
#define QNT_TAG_512
#endif
#if QNT_EXCEPTIONS
#define QNT_TAG_EXCEPTIONS
#else
#define QNT_TAG_EXCEPTIONS _noexcept
#endif
#define QNT_PASTE_(a, b, c, d, e, f) a##b##c##d##e##f
#define QNT_PASTE(a, b, c, d, e, f) QNT_PASTE_(a, b, c, d, e, f)
#define QNT_BASELINE QNT_PASTE(QNT_TAG_ARCH, QNT_TAG_SSE, QNT_TAG_AVX, QNT_TAG_FMA, QNT_TAG_512, QNT_TAG_EXCEPTIONS)

namespace qnt {
namespace isa {
inline namespace QNT_BASELINE {}
}  // namespace isa
inline namespace QNT_BASELINE {}

// Bytes of a cache line and of a panel line; alignment of every owned buffer and of every tensor in an archive.
inline constexpr std::size_t line_bytes = 64;

constexpr std::size_t ceil_div(std::size_t a, std::size_t b) { return a / b + (a % b != 0); }
constexpr std::size_t round_up(std::size_t a, std::size_t b) { return ceil_div(a, b) * b; }
}  // namespace qnt
