#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib/gpu_steps.sh"

usage() {
  cat <<'END'
usage: scripts/check_gpus.sh [--quick] [--faults N] [--steps REGEX] FOLDER [BINARIES]

Runs the tests of the CUDA part, more thoroughly than scripts/test.sh, with what build/cuda holds (or the folder
BINARIES, in which railyard and the tests lie side by side, for a machine they were carried to). What takes one GPU runs
on all of them at once, a program on each; then comes what takes all. Programs built with random delays
(-DRAILYARD_DEBUG_DELAYS=ON) run too where BINARIES has a folder `delays`, compute-sanitizer where it is installed.
A log per step goes to FOLDER; a line per step says how it ended. Build first:
  cmake --preset cuda -DRAILYARD_BUILD_TESTS=ON && cmake --build build/cuda

  --quick        a fifth of the cases
  --faults N     at the end, N faults of processes (default 20; three seconds each)
  --steps REGEX  only the steps whose names match
Status 0 if every step succeeded.
END
}

scale=100 faults=20 chosen=.
value_of() { [ $# -ge 2 ] || { echo "error: $1 takes a value" >&2; exit 2; }; printf '%s' "$2"; }
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage; exit 0 ;;
    --quick) scale=20 ;;
    --faults)
      faults=$(value_of "$@") || exit; shift
      [[ $faults =~ ^[0-9]{1,6}$ ]] || { echo "error: --faults is '$faults'; it takes a number" >&2; exit 2; }
      ;;
    --steps) chosen=$(value_of "$@") || exit; shift ;;
    -*) echo "error: unknown option '$1'" >&2; usage >&2; exit 2 ;;
    *) break ;;
  esac
  shift
done
if [ $# -lt 1 ] || [ $# -gt 2 ]; then usage >&2; exit 2; fi
begin_steps "$@"
require_programs railyard device_throughput_test property_test multi_rank_test recovery_test cuda_test \
  cuda_recovery_test cuda_times_test cuda_chaos_test fabric_handles_test
require_gpus 1
delays=${programs:+$programs/delays}
source_folder=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

of() { echo $(($1 * scale / 100)); }
is_chosen() { [[ $1 =~ $chosen ]]; }
on_all() { if is_chosen "$1"; then step "$@"; fi; }
sanitizer=$(command -v compute-sanitizer || echo "${CUDA_HOME:-/usr/local/cuda}/bin/compute-sanitizer")
# The example is a user's program: it loads librailyard.so, which is carried beside it.
libraries=LD_LIBRARY_PATH=${programs:-$build/src}${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
threads=RAILYARD_TEST_BACKEND=cuda-threads processes=RAILYARD_TEST_BACKEND=cuda-processes
# All but what stops a rank at a stage, which a kernel has none of, or looks at what only the host does.
recoveries=--gtest_filter='*-Stages*:*WhatWasMade*:*ALateRank*:*HeldSendParts*:*PolicyWait*'

# What one GPU is enough for, the longest first: NAME SECONDS [VARIABLE=VALUE...] PROGRAM ARGUMENT...
one_gpu_steps() {
  echo "kernels 400 RAILYARD_TEST_DEVICES=1 RAILYARD_TEST_SCALE=$scale $(program device_throughput_test)"
  echo "operations 120 RAILYARD_TEST_OPERATIONS=$(of 100000) $(program cuda_test)"
  echo "property 200 $threads RAILYARD_TEST_CASES=$(of 160) $(program property_test)"
  echo "recovery 90 $threads $(program recovery_test) $recoveries"
  echo "program 120 python3 $source_folder/tests/cli/cuda_program_test.py $(program railyard) $source_folder"
  echo "gpu-recovery 60 $threads $(program cuda_recovery_test)"
  echo "times 60 $threads $(program cuda_times_test)"
  echo "held-outputs 60 $threads $(program multi_rank_test) --gtest_filter=Modes/HeldOutputs.*/throughput_rank_major"
  echo "fabric 60 $threads $(program fabric_handles_test)"
  # The tests load all code at once; a program's default loads a kernel when it is first launched.
  echo "lazy-loading 60 CUDA_MODULE_LOADING=LAZY $threads RAILYARD_TEST_CASES=$(of 20) $(program property_test)"
  echo "compiled-from-ptx 120 CUDA_FORCE_PTX_JIT=1 $threads RAILYARD_TEST_CASES=$(of 20) $(program property_test)"
  [ ! -x "$(program 04_gpus)" ] || echo "example 60 $libraries $(program 04_gpus)"
  if [ -n "$delays" ] && [ -d "$delays" ]; then
    echo "kernels-delayed 120 RAILYARD_TEST_DEVICES=1 RAILYARD_TEST_SCALE=$(of 20) $delays/device_throughput_test"
    echo "property-delayed 60 $threads RAILYARD_TEST_CASES=$(of 40) $delays/property_test"
  fi
  [ -x "$sanitizer" ] || return
  # initcheck lets one kernel run at a time, so that its ranks must not wait for each other: one rank alone.
  local checked
  checked="RAILYARD_TEST_DEVICES=1 RAILYARD_TEST_SCALE=$(of 10) $sanitizer --error-exitcode 9"
  echo "memcheck 120 $checked --tool memcheck $(program device_throughput_test) --gtest_filter=OneGpu*Random*/1"
  echo "synccheck 120 $checked --tool synccheck $(program device_throughput_test) --gtest_filter=OneGpu*Random*/1"
  echo "initcheck 120 $checked --tool initcheck $(program device_throughput_test) --gtest_filter=OneGpu*Random*/0"
  echo "memcheck-recovery 120 $threads $sanitizer --error-exitcode 9 --tool memcheck $(program cuda_recovery_test)" \
    "--gtest_filter=*OutputsAreKept*:*TheLatestRoute*:*ADeadlineSet*"
}

run_line() {
  local words
  read -ra words <<<"$1"
  CUDA_VISIBLE_DEVICES=$(cut -d , -f $((slot + 1)) <<<"$gpu_list") step "${words[@]}"
}
export -f run_line
one_gpu_steps | while read -r line; do if is_chosen "${line%% *}"; then echo "$line"; fi; done |
  xargs -r -d '\n' -n 1 -P "$gpus" --process-slot-var=slot bash -c 'run_line "$1"' run_line
[ -x "$sanitizer" ] || echo "compute-sanitizer is not installed; memcheck, synccheck and initcheck did not run"
[ -x "$(program 04_gpus)" ] || echo "$(program 04_gpus) is not there; the example did not run"

if [ "$gpus" -ge 2 ]; then
  on_all kernels-2 150 RAILYARD_TEST_SCALE=$scale "$(program device_throughput_test)" --gtest_filter='TwoGpus*'
  on_all property-all 90 $threads RAILYARD_TEST_CASES="$(of 80)" "$(program property_test)"
  on_all property-processes 90 $processes RAILYARD_TEST_CASES="$(of 16)" "$(program property_test)"
  on_all one-visible 90 RAILYARD_TEST_ONE_VISIBLE_GPU=1 $processes RAILYARD_TEST_CASES="$(of 20)" \
    "$(program property_test)"
  on_all operations-all 90 RAILYARD_TEST_OPERATIONS="$(of 100000)" "$(program cuda_test)" --gtest_filter='*ManyOp*'
  on_all gpu-processes 180 $processes "$(program cuda_test)"
  on_all gpu-recovery-all 60 $threads "$(program cuda_recovery_test)"
  on_all recovery-processes 150 $processes "$(program recovery_test)" \
    --gtest_filter='*FewerThanHalf*:*AbortEnds*:*TwoRanks*:*AMaskedRank*:*PolicyMaskRecovers*:*SamePolicy*'
  [ ! -x "$(program 04_gpus)" ] || on_all example-all 60 "$libraries" "$(program 04_gpus)"
  on_all times-all 60 $threads "$(program cuda_times_test)"
  on_all times-processes 60 $processes "$(program cuda_times_test)"
  if [ -n "$delays" ] && [ -d "$delays" ]; then
    on_all kernels-2-delayed 120 RAILYARD_TEST_SCALE="$(of 40)" "$delays/device_throughput_test" \
      --gtest_filter='TwoGpus*'
    on_all property-all-delayed 60 $threads RAILYARD_TEST_CASES="$(of 24)" "$delays/property_test"
  fi
fi
[ "$faults" -eq 0 ] || on_all faults $((60 + 4 * faults)) RAILYARD_TEST_CASES="$faults" "$(program cuda_chaos_test)"
end_steps
