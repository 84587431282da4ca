#!/bin/sh
# headers.sh [COMPILER]: every header with #pragma once compiles alone, without exceptions and RTTI. The others are meant to be
# included many times, inside others; those of cuda and metal need compilers of their own.
set -eu
cd "$(dirname "$0")/../../include"
compiler=${1:-g++}
export compiler
# shellcheck disable=SC2016  # $compiler is for the inner shell
find qnt -name '*.hpp' ! -path '*cuda*' ! -path '*metal*' -exec grep -l '^#pragma once' {} + | sort |
    xargs -P "$(nproc)" -I{} sh -c '
    echo "#include <{}>" | $compiler -x c++ -std=c++20 -fsyntax-only -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror \
        -fno-exceptions -fno-rtti -I. - || { echo "error: {} does not compile alone" >&2; exit 255; }'
