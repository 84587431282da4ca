#!/bin/sh
# sh tests/fuzz/run.sh [SECONDS] [TARGET...]: fuzzes every reader, or the targets named, for SECONDS each (10), with libFuzzer and the
# address and undefined behaviour sanitizers. First it replays tests/fuzz/regressions/TARGET. Fails on a finding and says how to repeat it.
# build/fuzz/corpus/TARGET keeps the inputs that reached something new, so that the next run goes on from there; it begins with the valid
# files of make_corpus. Findings: build/fuzz/findings.
set -eu
cd "$(dirname "$0")/../.."
seconds=${1:-10}
[ $# -eq 0 ] || shift
# shellcheck disable=SC2046  # one word per target
[ $# -gt 0 ] || set -- $(cd tests/fuzz && ls -- *_fuzz.cpp | sed 's/_fuzz\.cpp$//')

sh tests/checks/install.sh clang=clang++ libclang-rt-14-dev ninja-build=ninja nlohmann-json3-dev libpcre2-dev
out=build/fuzz
mkdir -p $out/corpus $out/findings
{
    cat <<EOF
builddir = $out
rule program
  command = clang++ -std=c++20 -g1 -DQNT_COMPILED -DQNT_SOURCE_DIR='"$PWD"' -Iinclude -Iexamples -MMD -MF \$out.d \$flags \$in -o \$out -lpcre2-8
  depfile = \$out.d
  deps = gcc
build $out/make_corpus: program tests/fuzz/make_corpus.cpp
EOF
    for source in tests/fuzz/*_fuzz.cpp; do
        target=$(basename "$source" _fuzz.cpp)
        printf 'build %s: program %s\n  flags = -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all\n' "$out/$target" "$source"
    done
} >$out/build.ninja
(for target in make_corpus "$@"; do echo "$out/$target"; done) | xargs ninja --quiet -f $out/build.ninja

TMPDIR=$(mktemp -d /dev/shm/qnt-fuzz.XXXXXX 2>/dev/null || mktemp -d)  # each input is written back as a file: not to a disk
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
trap 'exit 1' INT TERM
$out/make_corpus $out/corpus

# run TARGET ARGUMENT...: no input beyond 16 KiB, and no single allocation beyond 64 MiB for it.
run() {
    target=$1
    shift
    [ ! -e "tests/fuzz/dictionaries/$target.dict" ] || set -- "-dict=tests/fuzz/dictionaries/$target.dict" "$@"
    "$out/$target" -max_len=16384 -malloc_limit_mb=64 -rss_limit_mb=2048 -timeout=10 -print_final_stats=1 \
        "-artifact_prefix=$out/findings/$target-" "$@" >"$out/$target.log" 2>&1
}

result=0
for target in "$@"; do
    log=$out/$target.log
    mkdir -p "$out/corpus/$target"
    regressions=$(find "tests/fuzz/regressions/$target" -type f 2>/dev/null || true)
    # shellcheck disable=SC2086  # one word per file
    if { [ -z "$regressions" ] || run "$target" $regressions; } && run "$target" "-max_total_time=$seconds" "$out/corpus/$target"; then
        awk -v target="$target" '
            / cov: / { for (i = 1; i < NF; ++i) if ($i == "cov:") edges = $(i + 1) }
            /^Done / { runs = $2; seconds = $5 }
            END { printf "%-12s %10d executions %6d edges %5d s\n", target, runs, edges, seconds }' "$log"
    else
        result=1
        tail -n 40 "$log" >&2
        input=$(sed -n 's/.*Test unit written to //p; s/^Running: //p' "$log" | tail -n 1)
        printf '\nFINDING: %s; the log: %s. Repeat it:\n    %s %s\nMake it smaller with -minimize_crash=1, fix it, keep it in tests/fuzz/regressions/%s.\n' \
            "$target" "$log" "$out/$target" "${input:-INPUT}" "$target" >&2
    fi
done
exit $result
