// Everything a kernel body may use, included before any instruction set's region opens: a standard header first included inside a
// region would leave its inline functions compiled for that instruction set, for the whole program.
#pragma once
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "../core/config.hpp"
#include "../core/float_math.hpp"
#include "../core/half.hpp"
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace qnt::isa::inline QNT_BASELINE {
// Asks for the line `ahead` bytes behind p, which need not be anybody's.
QNT_INLINE void prefetch(const void* p, std::size_t ahead) {
    __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<std::uintptr_t>(p) + ahead));
}
// Asks for the line of an address that need not be anybody's, into the second-level cache.
QNT_INLINE void prefetch_second_level(std::uintptr_t address) { __builtin_prefetch(reinterpret_cast<const void*>(address), 0, 2); }
// Of what a loop moves on: a compiler else computes what it ends as a second time, behind the loop, with multiplications.
template <class T> QNT_INLINE void moves_on(T& pointer) { asm("" : "+r"(pointer)); }
}  // namespace qnt::isa::inline QNT_BASELINE

// A region: what stands between BEGIN and END may use the named instruction sets. Regions add to the command line's flags.
// g++ 12 warns of uninitialized values inside its own AVX-512 headers.
#if defined(__clang__)
#define QNT_REGION_BEGIN(target_string) QNT_PRAGMA(clang attribute push(__attribute__((target(target_string))), apply_to = function))
#define QNT_REGION_END QNT_PRAGMA(clang attribute pop)
#else
#define QNT_REGION_BEGIN(target_string)                        \
    QNT_PRAGMA(GCC push_options)                               \
    QNT_PRAGMA(GCC target(target_string))                      \
    QNT_PRAGMA(GCC diagnostic push)                            \
    QNT_PRAGMA(GCC diagnostic ignored "-Wmaybe-uninitialized") \
    QNT_PRAGMA(GCC diagnostic ignored "-Wuninitialized")
#define QNT_REGION_END             \
    QNT_PRAGMA(GCC diagnostic pop) \
    QNT_PRAGMA(GCC pop_options)
#endif

#define QNT_TARGET_AVX2 "avx2,fma,f16c"
#define QNT_TARGET_AVXVNNI "avx2,fma,f16c,avxvnni"
#define QNT_TARGET_AVX512 "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl"
#define QNT_TARGET_AVX512VNNI "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"
#define QNT_TARGET_AMX_INT8 "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,amx-tile,amx-int8"
#if defined(__clang__)
#define QNT_TARGET_DOTPROD "dotprod"
#define QNT_TARGET_I8MM "dotprod,i8mm"
#else
#define QNT_TARGET_DOTPROD "arch=armv8.2-a+dotprod"
#define QNT_TARGET_I8MM "arch=armv8.2-a+dotprod+i8mm"
#endif

// QNT_UNROLL before a loop over the registers of a tile: they must not be indexed at run time, or they live in memory. The scalar
// path's registers are arrays, which stay loops: unrolled they would be most of a program's code (foreach.hpp defines it for each). Loops
// stay under sanitizers too, which check every access: to compile them unrolled takes minutes.
#if defined(QNT_ADDRESS_SANITIZER) || defined(QNT_THREAD_SANITIZER)
#define QNT_UNROLL_FULLY
#elif defined(__clang__)
#define QNT_UNROLL_FULLY QNT_PRAGMA(clang loop unroll(full))
#else
#define QNT_UNROLL_FULLY QNT_PRAGMA(GCC unroll 16)
#endif
#define QNT_EACH(i, n) \
    QNT_UNROLL         \
    for (int i = 0; i < (n); ++i)
