#!/bin/sh
# sh tests/run.sh [PRESET...]: installs what is missing (Debian), builds and runs the tests. Default: release. The presets are those
# of CMakePresets.json; each keeps its folder build/PRESET, so that a second run only builds what changed.
set -eu
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- release

packages='g++=g++ cmake=cmake ninja-build=ninja pkg-config=pkg-config binutils=objdump catch2 libeigen3-dev nlohmann-json3-dev libcli11-dev libpcre2-dev libboost-dev'
for preset in "$@"; do
    case $preset in
        clang*) packages="$packages clang=clang++ libclang-rt-14-dev" ;;
        aarch64) packages="$packages g++-aarch64-linux-gnu=aarch64-linux-gnu-g++ qemu-user-static=qemu-aarch64-static" ;;
    esac
done
# shellcheck disable=SC2086  # one word per package
sh tests/checks/install.sh $packages

# Where a compiler cache is installed, sources that were compiled before are not compiled again, in whatever folder they lie.
if command -v ccache >/dev/null; then
    export CMAKE_CXX_COMPILER_LAUNCHER=ccache CCACHE_BASEDIR="$PWD" CCACHE_NOHASHDIR=1
fi

# Catch2 says how many test cases passed, failed and were skipped in each program; a program that says nothing counts as one case.
summary() {
    awk -v preset="$1" '
        / Testing: / { said = 0 }
        /^All tests passed \(/ { said = 1; split($0, part, " in "); passed += part[2] }
        /^test cases: / {
            said = 1
            for (i = 1; i < NF; ++i) { if ($(i + 1) == "passed") passed += $i; if ($(i + 1) == "failed") failed += $i; if ($(i + 1) == "skipped") skipped += $i }
        }
        /^  skipped: / { skipped++; passed-- }  # WARN("skipped: why")
        /^Test Passed\.$/ { if (!said) passed++ }
        /^Test Failed\.$|^Test time = .*Timeout/ { if (!said) failed++ }
        END { printf "%s: %d passed, %d failed, %d skipped\n", preset, passed, failed, skipped }' "build/$1/Testing/Temporary/LastTest.log"
}

result=0
for preset in "$@"; do
    echo "== $preset"
    cmake --preset "$preset" >/dev/null
    cmake --build --preset "$preset"
    ctest --preset "$preset" -j "$(nproc)" || result=1
    summary "$preset"
done
exit $result
