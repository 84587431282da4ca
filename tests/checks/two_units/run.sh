#!/bin/sh
# run.sh [COMPILER]: no instruction reaches a machine that lacks it. Looks into the machine code of a unit built without -m flags; then
# links it with a unit built with them, in both orders, runs the program on every instruction set of this machine, and looks for
# functions that both units share although only one of them may run everywhere.
set -eu
cd "$(dirname "$0")"
compiler=${1:-g++}
out=../../../build/checks/two_units-$(basename "$compiler")
mkdir -p "$out"

grep -qw avx2 /proc/cpuinfo || { echo 'skipped: this machine has no AVX2'; exit 0; }
native='-mavx2:-mfma'
if grep -qw avx512vl /proc/cpuinfo; then native="$native -march=x86-64-v4"; fi
# shellcheck disable=SC2046,SC2086  # lists of flags
for level in -O0 -O2; do
    compile="$compiler -std=c++20 $level -I../../../include -Wall -Wextra -Werror"
    $compile -c main.cpp -o "$out/main.o"
    $compile -c tu_base.cpp -o "$out/base.o"
    echo "$compiler $level"
    python3 ../leak_scan.py object "$out/base.o"
    [ "$level" = -O0 ] || python3 ../leak_scan.py kernels "$out/base.o"
    for flags in $native; do
        $compile $(echo "$flags" | tr : ' ') -c tu_native.cpp -o "$out/native.o"
        for order in "base native" "native base"; do
            objects=$(for unit in $order; do echo "$out/$unit.o"; done)
            $compiler "$out/main.o" $objects -pthread -o "$out/program"
            for isa in $(sh ../isas.sh); do
                QNT_ISA=$isa "$out/program" || { echo "error: $level, $flags, linked $order, QNT_ISA=$isa" >&2; exit 1; }
            done
            echo "$compiler $level, with a unit of $flags, linked $order"
            # At -O0 nothing is inlined, and every member function of a type is a weak function that the units share.
            [ "$level" = -O0 ] || python3 ../leak_scan.py linked "$out/program" "$out/base.o"
        done
    done
done
