#!/bin/sh
# sh tests/serve/run.sh [quick|full] [PRESET]: builds qnt-serve and runs what it must stand, on loopback. quick (the default) fits builds with
# sanitizers: sh tests/serve/run.sh quick tsan. full also tests with OpenAI's client (from PyPI) and the page in Chromium (from Debian).
set -eu
cd "$(dirname "$0")/../.."
form=${1:-quick}
preset=${2:-release}

packages='g++=g++ cmake=cmake ninja-build=ninja pkg-config=pkg-config python3=python3 catch2 libeigen3-dev nlohmann-json3-dev libcli11-dev libpcre2-dev libboost-dev'
case $preset in clang*) packages="$packages clang=clang++ libclang-rt-14-dev" ;; esac
# shellcheck disable=SC2086  # one word per package
sh tests/checks/install.sh $packages
cmake --preset "$preset" >/dev/null
cmake --build --preset "$preset" --target qnt-serve qnt-generate
program=build/$preset/bin/qnt-serve
export PYTHONDONTWRITEBYTECODE=1 UBSAN_OPTIONS=print_stacktrace=1

if [ "$form" = quick ]; then
    exec python3 tests/serve/load_test.py "$program" --quick
fi
result=0
sh tests/checks/install.sh strace=strace || true
python3 tests/serve/load_test.py "$program" || result=1

venv=build/serve/venv
[ -x "$venv/bin/python" ] || python3 -m venv "$venv" || true
"$venv/bin/python" -c 'import openai' 2>/dev/null || "$venv/bin/pip" install -q --disable-pip-version-check -r tests/serve/requirements.txt 2>/dev/null || echo 'not installed: openai'
python=python3
[ -x "$venv/bin/python" ] && python=$venv/bin/python
"$python" tests/serve/openai_test.py "$program" || result=1

sh tests/checks/install.sh chromium=chromium || true
python3 tests/serve/page_test.py "$program" build/serve/page || result=1
exit $result
