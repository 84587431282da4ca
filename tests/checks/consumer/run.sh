#!/bin/sh
# run.sh: a user's program gets the library in three ways: find_package on an installed and moved copy, pkg-config, add_subdirectory.
set -eu
cd "$(dirname "$0")/../../.."
out=$PWD/build/checks/consumer
rm -rf "$out"
quiet() { "$@" >"$out/log" 2>&1 || { cat "$out/log" >&2; echo "error: $*" >&2; exit 1; }; }
mkdir -p "$out"
export CMAKE_GENERATOR=Ninja

quiet cmake -S . -B "$out/library" -DQNT_BUILD_TESTS=OFF -DQNT_BUILD_EXAMPLES=OFF -DQNT_BUILD_BENCH=OFF
quiet cmake --install "$out/library" --prefix "$out/first"
mv "$out/first" "$out/moved"

quiet cmake -S tests/checks/consumer -B "$out/package" -DCMAKE_PREFIX_PATH="$out/moved"
quiet cmake --build "$out/package"
"$out/package/consumer"

# shellcheck disable=SC2046  # list of flags
quiet g++ -std=c++20 tests/checks/consumer/main.cpp -o "$out/by_pkg_config" $(PKG_CONFIG_PATH="$out/moved/share/pkgconfig" pkg-config --cflags --libs qnt)
"$out/by_pkg_config"

quiet cmake -S tests/checks/consumer -B "$out/subdirectory" -DQNT_FROM="$PWD"
quiet cmake --build "$out/subdirectory"
"$out/subdirectory/consumer"
