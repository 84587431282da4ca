#!/bin/sh
# run.sh [COMPILER]: no instruction reaches a machine that lacks it. Looks into the machine code of a unit built without -m flags; then
# links it with a unit built with them, in both orders, runs the program on every instruction set of this machine, and looks for
# functions that both units share although only one of them may run everywhere. At -O0 and -O2, side by side.
set -eu
cd "$(dirname "$0")"
compiler=${1:-g++}
out=../../../build/checks/two_units-$(basename "$compiler")

grep -qw avx2 /proc/cpuinfo || { echo 'skipped: this machine has no AVX2'; exit 0; }
native='-mavx2:-mfma'
if grep -qw avx512vl /proc/cpuinfo; then native="$native -march=x86-64-v4"; fi

# shellcheck disable=SC2046,SC2086  # lists of flags
check() { # LEVEL
    level=$1 objects=$out/$1
    mkdir -p "$objects"
    compile="$compiler -std=c++20 $level -I../../../include -Wall -Wextra -Werror"
    $compile -c main.cpp -o "$objects/main.o"
    $compile -c tu_base.cpp -o "$objects/base.o"
    echo "$compiler $level"
    python3 ../leak_scan.py object "$objects/base.o"
    [ "$level" = -O0 ] || python3 ../leak_scan.py kernels "$objects/base.o"
    for flags in $native; do
        $compile $(echo "$flags" | tr : ' ') -c tu_native.cpp -o "$objects/native.o"
        for order in "base native" "native base"; do
            $compiler "$objects/main.o" $(for unit in $order; do echo "$objects/$unit.o"; done) -pthread -o "$objects/program"
            for isa in $(sh ../isas.sh); do
                QNT_ISA=$isa "$objects/program" || { echo "error: $level, $flags, linked $order, QNT_ISA=$isa" >&2; exit 1; }
            done
            echo "$compiler $level, with a unit of $flags, linked $order"
            # At -O0 nothing is inlined, and every member function of a type is a weak function that the units share.
            [ "$level" = -O0 ] || python3 ../leak_scan.py linked "$objects/program" "$objects/base.o"
        done
    done
}

check -O0 &
slow=$!
check -O2 &
fast=$!
wait $slow || { wait $fast; exit 1; }
wait $fast
