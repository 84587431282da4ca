#!/bin/sh
# same_bits.sh: builds the smoke program with every compiler at hand, also for other machines, runs it on every instruction set and
# compares the hashes it prints: one hash for all. Then the same with a forward pass of the shipped model.
# Uses what is installed of g++, clang++, aarch64-linux-gnu-g++ and the emulators.
set -eu
cd "$(dirname "$0")"
out=../../build/checks/same_bits
mkdir -p "$out"
expected=

run() { # LABEL COMMAND...
    label=$1
    shift
    hash=$("$@") || { echo "error: $label failed" >&2; exit 1; }
    echo "$hash  $label"
    : "${expected:=$hash}"
    [ "$hash" = "$expected" ] || { echo "error: $label gives other bits" >&2; exit 1; }
}
build() { # NAME COMPILER FLAG...
    name=$1
    shift
    # shellcheck disable=SC2086  # a list
    "$@" -std=c++20 -I../../include -I../../examples -idirafter /usr/include $sources -pthread -o "$out/$name"
}
have() { command -v "$1" >/dev/null; }

sources=smoke.cpp
build base g++ -O2
for isa in $(sh isas.sh); do run "g++ -O2, QNT_ISA=$isa" env QNT_ISA="$isa" "$out/base"; done
if [ "$(uname -m)" = x86_64 ] && have qemu-x86_64-static; then
    run 'g++ -O2, a processor without AVX' qemu-x86_64-static -cpu qemu64 "$out/base"
fi
build native g++ -O3 -march=native -ffp-contract=fast
run 'g++ -O3 -march=native -ffp-contract=fast' "$out/native"
build noexcept g++ -Os -fno-exceptions -fno-rtti
run 'g++ -Os -fno-exceptions -fno-rtti' "$out/noexcept"
if have clang++; then
    build clang clang++ -O2 -ffp-contract=fast
    for isa in $(sh isas.sh); do run "clang++ -O2 -ffp-contract=fast, QNT_ISA=$isa" env QNT_ISA="$isa" "$out/clang"; done
fi
if have aarch64-linux-gnu-g++ && have qemu-aarch64-static; then
    build aarch64 aarch64-linux-gnu-g++ -O2
    run 'aarch64' qemu-aarch64-static -L /usr/aarch64-linux-gnu "$out/aarch64"
    run 'aarch64 without dot products' qemu-aarch64-static -cpu cortex-a57 -L /usr/aarch64-linux-gnu "$out/aarch64"
fi

sources="forward.cpp ../../examples/gpt2/load.cpp ../../examples/gpt2/model.cpp"
expected=
build forward g++ -O2
for isa in $(sh isas.sh); do run "forward pass, g++ -O2, QNT_ISA=$isa" env QNT_ISA="$isa" "$out/forward"; done
if have aarch64-linux-gnu-g++ && have qemu-aarch64-static; then
    build forward_aarch64 aarch64-linux-gnu-g++ -O2
    run 'forward pass, aarch64' qemu-aarch64-static -L /usr/aarch64-linux-gnu "$out/forward_aarch64"
    run 'forward pass, aarch64 without dot products' qemu-aarch64-static -cpu cortex-a57 -L /usr/aarch64-linux-gnu "$out/forward_aarch64"
fi
