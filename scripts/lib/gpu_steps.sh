# SPDX-License-Identifier: Apache-2.0
# Steps of the scripts that test and measure GPUs: each has a log, a limit in seconds and a line that says how it ended.
# Sourced by them. Functions and what they need are exported, so that xargs may run steps beside each other.
# shellcheck shell=bash

# begin_steps FOLDER [BINARIES]: logs go to FOLDER; programs are those of build/cuda, or lie side by side in BINARIES.
# The GPUs are all of the machine, or those of CUDA_VISIBLE_DEVICES.
begin_steps() {
  folder=$1 programs=${2:-}
  build=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/build/cuda
  mkdir -p "$folder" || exit 2
  : >"$folder/steps.txt"
  gpus=$(nvidia-smi --list-gpus 2>/dev/null | grep -c '^GPU')
  gpu_list=${CUDA_VISIBLE_DEVICES:-$(seq -s , 0 $((gpus - 1)))}
  [ -z "${CUDA_VISIBLE_DEVICES:-}" ] || gpus=$(tr , '\n' <<<"$gpu_list" | grep -c .)
  export folder programs build gpus gpu_list
}

# program NAME: its path.
program() {
  if [ -n "$programs" ]; then
    echo "$programs/$1"
  elif [ "$1" = railyard ]; then
    echo "$build/railyard"
  elif [ "$1" = device_throughput_test ]; then
    echo "$build/tests/device/$1"
  elif [ "$1" = 04_gpus ]; then
    echo "$build/examples/$1"
  else
    echo "$build/tests/multi_rank/$1"
  fi
}

# require_programs NAME...: ends the script if one is not there.
require_programs() {
  local name
  for name in "$@"; do
    [ -x "$(program "$name")" ] && continue
    echo "error: $(program "$name") is not there: build it, or name the folder of the programs" >&2
    exit 2
  done
}

# require_gpus COUNT
require_gpus() {
  [ "$gpus" -ge "$1" ] && return
  echo "error: this takes $1 GPUs or more; this machine shows $gpus" >&2
  exit 2
}

# step NAME SECONDS [VARIABLE=VALUE...] PROGRAM ARGUMENT...
step() {
  local name=$1 seconds=$2 start=$SECONDS status=0 how
  shift 2
  timeout "$seconds" env RAILYARD_TEST_DEADLINE_S=20 "$@" >"$folder/$name.txt" 2>&1 </dev/null || status=$?
  if [ "$status" -eq 124 ]; then
    how="stopped after $seconds s"
  elif [ "$status" -ne 0 ]; then
    how="failed ($status)"
  elif grep -q '^\[==========\] Running 0 tests' "$folder/$name.txt"; then
    how="failed (no test has such a name)"
  else
    how=passed
  fi
  printf '%-28s %4d s  %s\n' "$name" $((SECONDS - start)) "$how" | tee -a "$folder/steps.txt"
}

# end_steps: says how many failed. Status 0 if none did, and there was one.
end_steps() {
  local all failed
  all=$(wc -l <"$folder/steps.txt")
  failed=$(grep -vc ' passed$' "$folder/steps.txt")
  echo "$failed of $all steps failed; logs are in $folder"
  [ "$failed" -eq 0 ] && [ "$all" -gt 0 ]
}

export -f program step
