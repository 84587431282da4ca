#pragma once
// Catch2 v3 where it is installed, else the single header of v2 (Debian 12 has that one).
#define CATCH_CONFIG_FAST_COMPILE
#if __has_include(<catch2/catch_test_macros.hpp>)
#include <catch2/catch_approx.hpp>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_all.hpp>
#include <catch2/matchers/catch_matchers_all.hpp>
using Catch::Approx;
using Catch::Matchers::ContainsSubstring;
#else
#include <catch2/catch.hpp>
inline auto ContainsSubstring(const std::string& text) { return Catch::Contains(text); }
#endif

#include "text.hpp"

// Sanitizers end the program when an allocation is too large, and the thread sanitizer refuses new threads after a fork.
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
