#!/bin/sh
# isas.sh: the instruction sets of the library that this machine has, one a line, as the environment variable QNT_ISA names them.
set -eu
library=$(dirname "$0")/../../include/qnt/isa
flags=" $(grep -m 1 -iE '^(flags|features)' /proc/cpuinfo | cut -d : -f 2) "

offer() { # NAME FLAG...: says NAME when the library has it and the processor has all flags
    name=$1
    shift
    for flag in "$@"; do
        case $flags in *" $flag "*) ;; *) return 0 ;; esac
    done
    if [ -d "$library/$name" ]; then echo "$name"; fi
}

echo scalar
case $(uname -m) in
    x86_64)
        v3='avx2 fma f16c'
        v4="$v3 avx512f avx512bw avx512dq avx512vl"
        # shellcheck disable=SC2086  # lists of words
        { offer avx2 $v3; offer avxvnni $v3 avx_vnni; offer avx512 $v4; offer avx512vnni $v4 avx512_vnni; offer amx_int8 $v4 avx512_vnni amx_int8; } ;;
    aarch64)
        offer neon
        offer dotprod asimddp
        offer i8mm asimddp i8mm ;;
esac
