#!/bin/sh
# sh tests/interop/run.sh [CHECK...]: files of qnt in other packages, and theirs in qnt. CHECK: numpy, safetensors, gguf, gptq_awq,
# bitsandbytes, transformers, llama; without, all of them. Each check is a line "ok", "FAILED" or "skipped"; exit 1 if any failed.
#
#   QNT_INTEROP_VENV   a virtual environment to use as it is; else build/interop/venv is made, with the packages of requirements.txt
#   QNT_BIN            folder of qnt-quantize, qnt-inspect, qnt-generate and qnt-interop; else they are built, preset release
#   QNT_SHARED         reference data outside of the repository; the checks that need them are skipped where they are absent
set -eu
cd "$(dirname "$0")/../.."
QNT_ROOT=$PWD
QNT_SHARED=${QNT_SHARED:-$PWD/../shared}
[ $# -gt 0 ] || set -- numpy safetensors gguf gptq_awq bitsandbytes transformers llama

if [ -z "${QNT_BIN:-}" ]; then
    sh tests/checks/install.sh g++=g++ cmake=cmake ninja-build=ninja pkg-config=pkg-config catch2 libeigen3-dev nlohmann-json3-dev libcli11-dev libpcre2-dev
    cmake --preset release >/dev/null
    cmake --build --preset release --target qnt-quantize qnt-inspect qnt-generate qnt-interop
    QNT_BIN=$PWD/build/release/bin
fi
export QNT_BIN QNT_ROOT QNT_SHARED

# One package after the other: one that cannot be installed only takes its own checks with it.
venv=${QNT_INTEROP_VENV:-build/interop/venv}
packages() {
    echo numpy
    case $1 in
        safetensors | gptq_awq) echo safetensors ;;
        gguf) echo gguf ;;
        bitsandbytes) echo safetensors torch bitsandbytes ;;
        transformers) echo torch transformers accelerate bitsandbytes ;;
        llama) echo llama-cpp-python ;;
    esac
}
install() {
    pinned=$(grep "^$1==" tests/interop/requirements.txt)
    case $1 in
        torch) index='--index-url https://download.pytorch.org/whl/cpu' ;;
        llama-cpp-python) index='--extra-index-url https://abetlen.github.io/llama-cpp-python/whl/cpu' ;;
        *) index= ;;
    esac
    # shellcheck disable=SC2086  # words; the second attempt is for machines that reach PyPI alone
    "$venv/bin/pip" install -q --disable-pip-version-check --prefer-binary $index "$pinned" 2>/dev/null ||
        "$venv/bin/pip" install -q --disable-pip-version-check --prefer-binary "$pinned" || echo "not installed: $pinned"
}
if [ -z "${QNT_INTEROP_VENV:-}" ]; then
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
    for package in $(for check in "$@"; do packages "$check"; done | tr ' ' '\n' | awk '!seen[$0]++'); do install "$package"; done
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
for check in "$@"; do
    script=tests/interop/with_$check.py
    [ -f "$script" ] || script=tests/interop/$check.py
    echo "== $check"
    { PYTHONDONTWRITEBYTECODE=1 "$venv/bin/python" "$script" || echo "FAILED: $check: the script ended with exit code $?"; } 2>&1 | tee -a "$log"
done
awk '/^version: /{ if (!seen[$2]++) versions = versions " " $2 " " $3 } /^ok: /{ ok++ } /^FAILED: /{ failed++ } /^skipped: /{ skipped++ }
    END { printf "versions:%s\ninterop: %d passed, %d failed, %d skipped\n", versions, ok, failed, skipped; exit failed > 0 }' "$log"
