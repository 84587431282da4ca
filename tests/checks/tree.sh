#!/bin/sh
# tree.sh: what every file of the repository keeps to. Files are small and not empty, speak of no machine's folders, and tests/FOLDER mirrors
# include/qnt/FOLDER (what tests several of them stands directly in tests/).
set -eu
cd "$(dirname "$0")/../.."

# Tests in a mirrored folder that test something wider than the header of their name.
without_header='io/allocation_test.cpp kernels/bounds_test.cpp kernels/corners_test.cpp kernels/emulated_isas_test.cpp'

errors=0
error() { echo "error: $*" >&2; errors=$((errors + 1)); }
files() { git ls-files -co --exclude-standard -- "$@"; }

small=$(files . ':!examples/models' ':!tests/data')
for file in $small; do
    bytes=$(wc -c <"$file")
    [ "$bytes" -gt 0 ] || error "$file: empty"
    [ "$bytes" -le 307200 ] || error "$file: $bytes bytes, the limit is 307200"
done

if git grep --untracked -nIE '(^|[^[:alnum:]_.)}])/(home|root|Users)/' >&2; then error 'paths of one machine (above)'; fi

tests=$(files 'tests/*/*_test.cpp')
for test in $tests; do
    mirrored=${test#tests/}
    case " $without_header " in *" $mirrored "*) continue ;; esac
    header=include/qnt/${mirrored%_test.cpp}
    folder=$(dirname "$header")
    [ ! -d "$folder" ] || [ -f "$header.hpp" ] || [ -f "$header.inl" ] || [ -f "$header.cuh" ] || error "$test: $header.hpp does not exist"
done

echo "tree: $errors errors"
[ "$errors" -eq 0 ]
