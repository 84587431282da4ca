#!/bin/sh
# sh examples/demo.sh [PROMPT]: installs what is missing (Debian), builds the text generator, and continues one prompt with the small
# model of this repository in four formats, side by side. Nothing is downloaded but packages.
set -eu
cd "$(dirname "$0")/.."
prompt=${1:-The old house stood at the end of the road, and}
model=examples/models/qnt-gpt2-5m

sh tests/checks/install.sh g++=g++ cmake=cmake ninja-build=ninja pkg-config=pkg-config nlohmann-json3-dev libcli11-dev libpcre2-dev
cmake --preset examples >/dev/null
cmake --build --preset examples --target qnt-generate

# The value of a key in the JSON object on standard input, which is one line.
number() { sed -nE 's/.*"'"$1"'": *(-?[0-9.eE+-]+).*/\1/p'; }
text() { sed -nE 's/.*"'"$1"'": *"(([^"\\]|\\.)*)".*/\1/p' | sed 's/\\n/\n/g; s/\\t/\t/g; s/\\"/"/g; s/\\\\/\\/g'; }

table=
for format in f32 int8_channel nf4:64 int4:32; do
    json=$(build/examples/bin/qnt-generate --model "$model" --format "$format" --prompt "$prompt" -n 48 --json | tr '\n' ' ')
    printf '\n%s: %s%s\n' "$format" "$prompt" "$(printf '%s' "$json" | text text)"
    row=$format
    for key in model_bytes effective_bits prefill_tok_s decode_tok_s; do row="$row $(printf '%s' "$json" | number $key)"; done
    table="$table$row
"
done

printf '\n%s, %s threads, mode %s\n' "$(printf '%s' "$json" | text isa)" "$(printf '%s' "$json" | number threads)" "$(printf '%s' "$json" | text mode)"
printf '%s' "$table" | awk '
    BEGIN { printf "%-14s %12s %12s %14s %14s\n", "format", "model bytes", "bits/weight", "prefill tok/s", "decode tok/s" }
    { printf "%-14s %12d %12.2f %14.1f %14.1f\n", $1, $2, $3, $4, $5 }'
