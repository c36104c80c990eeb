#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: fuzz.sh DIRECTORY_OF_FUZZERS SECONDS_EACH SEED
# Runs each fuzzer for a time, from its checked-in inputs and the seed. What it finds is left beside the fuzzer.
set -euo pipefail
directory=$1 seconds=$2 seed=$3
shopt -s nullglob
fuzzers=("$directory"/*_fuzz)
[ ${#fuzzers[@]} -gt 0 ] || { echo "no fuzzers in $directory" >&2; exit 1; }
status=0
for fuzzer in "${fuzzers[@]}"; do
  name=$(basename "$fuzzer")
  found=$directory/$name.found
  grown=$directory/$name.corpus
  mkdir -p "$found" "$grown"
  corpus=("$grown")
  [ ! -d "tests/fuzz/corpus/$name" ] || corpus+=("tests/fuzz/corpus/$name")
  echo "== $name: $seconds s, seed $seed"
  "$fuzzer" -max_total_time="$seconds" -seed="$seed" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$found/" "${corpus[@]}" || { echo "$name FAILED; inputs in $found"; status=1; }
done
exit "$status"
