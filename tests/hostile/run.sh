#!/bin/sh
# sh tests/hostile/run.sh [PRESET]: malformed and odd files and command lines against the tools of the examples, built with the address and
# undefined behaviour sanitizers (clang-asan; release takes seconds). The files are not ours to ship: without them this says so and ends.
set -eu
cd "$(dirname "$0")/../.."
preset=${1:-clang-asan}
cases=../shared/hostile/cases.tar.gz
[ -f "$cases" ] || { echo "skipped: hostile files: $cases is not there"; exit 0; }

packages='g++=g++ cmake=cmake ninja-build=ninja pkg-config=pkg-config python3=python3 catch2 libeigen3-dev nlohmann-json3-dev libcli11-dev libpcre2-dev libboost-dev'
case $preset in clang*) packages="$packages clang=clang++ libclang-rt-14-dev" ;; esac
# shellcheck disable=SC2086  # one word per package
sh tests/checks/install.sh $packages
cmake --preset "$preset" >/dev/null
cmake --build --preset "$preset" --target qnt-inspect qnt-generate qnt-quantize qnt-serve

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
tar xzf "$cases" -C "$folder"
python3 tests/hostile/files.py "build/$preset/bin" "$folder/cases"
