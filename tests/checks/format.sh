#!/bin/sh
# format.sh [--fix]: every C++ file looks as clang-format 16 writes it (14 does not understand concepts).
set -eu
cd "$(dirname "$0")/../.."
files=$(git ls-files -co --exclude-standard -- '*.hpp' '*.cpp' '*.inl')
errors=0
for file in $files; do
    if [ "${1:-}" = --fix ]; then  # a file that is right keeps its time: nothing is built again
        clang-format-16 "$file" | cmp -s - "$file" || clang-format-16 -i "$file"
        continue
    fi
    # Not --dry-run: it rejects the namespace comments that clang-format itself writes behind `namespace a::inline b`.
    clang-format-16 "$file" | diff -u --label "$file" --label "$file, formatted" "$file" - || errors=$((errors + 1))
done
echo "format: $errors files differ"
[ "$errors" -eq 0 ]
