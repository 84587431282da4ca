#!/bin/sh
# readme.sh [COMPILER]: the program in the README compiles with the command beside it and prints what stands under it.
set -eu
cd "$(dirname "$0")/../.."
compiler=${1:-g++}
out=build/checks/readme
mkdir -p "$out"
block() { # LANGUAGE: the first block of that language
    awk -v fence="\`\`\`$1" '$0 == fence { inside = 1; next } /^```$/ { if (inside) exit } inside' README.md
}
block cpp >"$out/my.cpp"
block text >"$out/expected.txt"
grep -q 'include <qnt/qnt.hpp>' "$out/my.cpp"
grep -q 'g++ -std=c++20 -O2 -I include my.cpp -pthread' README.md
"$compiler" -std=c++20 -O2 -I include "$out/my.cpp" -pthread -o "$out/my"
"$out/my" >"$out/printed.txt"
diff "$out/expected.txt" "$out/printed.txt" || { echo 'error: the program of the README prints something else' >&2; exit 1; }
echo 'the program of the README prints what it says'
