#!/bin/sh
# sh tests/eval/run.sh [FOLDER]: qnt-eval beside other systems: the figures of the goldens, a real browser, MPI. Installs what is missing (Debian).
# Results, report and screenshots stay in FOLDER (build/eval). What needs the validation text of WikiText-2, which is not ours to ship, is
# skipped without it.
set -eu
cd "$(dirname "$0")/../.."
out=${1:-build/eval}
shared=../shared/data
text=$shared/wikitext2/valid.txt
bin=build/release/bin
sh tests/checks/install.sh g++=g++ cmake=cmake ninja-build=ninja pkg-config=pkg-config python3=python3 catch2 libeigen3-dev nlohmann-json3-dev libcli11-dev \
    libpcre2-dev chromium=chromium fonts-dejavu-core openmpi-bin=mpirun libopenmpi-dev
cmake --preset release >/dev/null
cmake --build --preset release --target qnt-eval qnt-eval-mpi
mkdir -p "$out"

echo '== one report'
rm -rf "$out/report"
cat >"$out/mixed.json" <<'JSON'
[["wte", "int8_channel"], ["*.attn.*", "int8_channel"], ["*", "nf4:64"]]
JSON
report() { # TEXT
    "$bin/qnt-eval" --formats "int8,int8_channel,llmint8,selective:5,nf4:64,int4:32,$out/mixed.json" --calibrate docs/performance.md --batch 1,8 --text "$1" --out "$out/report"
}
start=$(date +%s)
if [ -f "$text" ]; then
    report "$text"
    seconds=$(($(date +%s) - start))
    echo "8 configurations in $seconds s"
    [ "$seconds" -lt 600 ] || { echo 'error: that is more than 10 minutes' >&2; exit 1; }
else
    echo "skipped: the report of WikiText-2, $text is not there; a small one instead"
    report docs/performance.md
fi

echo '== in a browser'
python3 tests/eval/browser.py "$out/report/report.html" "$out/report/comparison.json" "$out"

echo '== MPI'
sh tests/eval/mpi.sh "$PWD/$bin"

echo '== goldens'
if [ -f "$text" ] && [ -d "$shared/model" ]; then
    python3 tests/eval/goldens.py "$bin/qnt-eval" tests/data/model/goldens.json "$text" "$shared/model"
else
    echo "skipped: goldens.py: $text or $shared/model is not there"
fi
