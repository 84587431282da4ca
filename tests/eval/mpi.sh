#!/bin/sh
# mpi.sh BIN: qnt-eval-mpi of 1, 2 and 4 ranks is qnt-eval, byte for byte; a rank that is killed leaves an error and what was finished.
set -eu
cd "$(dirname "$0")/../.."
bin=$1
command -v mpirun >/dev/null && [ -x "$bin/qnt-eval-mpi" ] || { echo 'skipped: mpi.sh: there is no MPI, or no qnt-eval-mpi built with it'; exit 0; }
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
ranks() { # N ARGUMENTS...: root and more ranks than cores are for tests only
    n=$1
    shift
    mpirun --allow-run-as-root --oversubscribe -n "$n" "$bin/qnt-eval-mpi" "$@"
}
what="--formats int4:32,selective:2 --kv f32,int8 --text docs/performance.md --window 128 --new-tokens 8"
fail() { echo "error: mpi.sh: $*" >&2; exit 1; }

# shellcheck disable=SC2086  # one word per option
{
    "$bin/qnt-eval" $what --tokens 1500 --no-speed --out "$out/whole" >/dev/null
    for n in 1 2 4; do
        ranks "$n" $what --tokens 1500 --out "$out/$n" >/dev/null
        for file in "$out/whole/"*; do
            cmp "$file" "$out/$n/$(basename "$file")" || fail "$n ranks differ from the whole"
        done
        echo "$n ranks: the same $(ls "$out/whole" | wc -l) files"
    done

    # One rank of three is killed while it works.
    ranks 3 $what --tokens 20000 --out "$out/killed" >/dev/null 2>"$out/messages" &
    run=$!
    victim=
    for _ in $(seq 600); do
        victim=$(pgrep -f "^[^ ]*qnt-eval-mpi .*--out $out/killed\$" | head -1) && [ -n "$victim" ] && ls "$out/killed/"*.json >/dev/null 2>&1 && break
        sleep 0.1
    done
    [ -n "$victim" ] || fail 'no rank to kill'
    kill -9 "$victim"
    if wait "$run"; then fail 'a run whose rank was killed ended well'; fi
    grep -q 'signal 9' "$out/messages" || fail "nothing said that a rank was killed: $(cat "$out/messages")"
    kept=$(ls "$out/killed" | grep -c '\.json$')
    [ -e "$out/killed/comparison.json" ] && fail 'a report without all of its shards'
    if "$bin/qnt-eval" merge "$out/killed" 2>"$out/messages"; then fail 'merged without all shards'; fi
    grep -q 'is missing: --shard' "$out/messages" || fail "not the message for a missing shard: $(cat "$out/messages")"
    ranks 3 $what --tokens 20000 --out "$out/killed" >/dev/null 2>"$out/messages"
    grep -q 'kept from before' "$out/messages" || fail 'nothing was kept'
    "$bin/qnt-eval" $what --tokens 20000 --no-speed --out "$out/whole-again" >/dev/null
    for file in "$out/whole-again/"*; do cmp "$file" "$out/killed/$(basename "$file")" || fail 'differs after a killed rank'; done
    echo "killed rank: $kept shards were kept, the rest went on, the same report"
}
