#!/bin/sh
# format.sh [--fix]: every C++ file looks as clang-format 14 writes it (other versions write some lines differently).
set -eu
cd "$(dirname "$0")/../.."
files=$(git ls-files -co --exclude-standard -- '*.hpp' '*.cpp' '*.inl')
errors=0
for file in $files; do
    if [ "${1:-}" = --fix ]; then clang-format-14 -i "$file"; continue; fi
    # Not --dry-run: it rejects the namespace comments that clang-format itself writes behind `namespace a::inline b`.
    clang-format-14 "$file" | diff -u --label "$file" --label "$file, formatted" "$file" - || errors=$((errors + 1))
done
echo "format: $errors files differ"
[ "$errors" -eq 0 ]
