#!/bin/sh
# report.sh FOLDER [THREADS]: qnt and other libraries side by side in one run. FOLDER holds a driver bench_kernels.py that takes --tag,
# --set, --threads, --budget, --cold-mb and --qnt COMMAND and leaves the rows of all libraries in results/TAG.json. Writes build/report/table.md and
# chart.svg. Nothing else may run meanwhile.
set -eu
[ $# -ge 1 ] || { sed -n 2,4p "$0" >&2; exit 2; }
cd "$(dirname "$0")/.."
folder=$1 threads=${2:-1}
cmake --preset release >/dev/null
cmake --build --preset release --target qnt-bench
mkdir -p build/report
python3 "$folder/bench_kernels.py" --tag qnt-report --set gpt2 --threads "$threads" --budget 40 --cold-mb 576 --qnt "$PWD/build/release/bin/qnt-bench"
python3 bench/report.py "$folder/results/qnt-report.json" build/report/table.md build/report/chart.svg
echo 'build/report/table.md build/report/chart.svg'
