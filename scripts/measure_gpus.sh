#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
set -uo pipefail

usage() {
  cat <<'END'
usage: scripts/measure_gpus.sh [--quick] FOLDER [BINARIES]

Tests and measures what build/cuda holds (or the folder BINARIES, which has railyard and the tests side by side) on all
GPUs of this machine, a rank each, in under ten minutes: the property suite as threads and as processes, 100000
operations with random delays, recoveries, waits and traces, faults of processes, links, and dispatch and combine over
tokens and SMs, uniform and Zipf, beside NCCL where it is installed. Logs and JSON go to FOLDER; a line per step says how
it ended. Build first:
  cmake --preset cuda -DRAILYARD_BUILD_TESTS=ON && cmake --build build/cuda

  --quick   a fifth of the cases, 4096 tokens only
Status 0 if every step succeeded.
END
}

quick=no
case ${1:-} in
  --help | -h) usage; exit 0 ;;
  --quick) quick=yes; shift ;;
esac
if [ $# -lt 1 ] || [ $# -gt 2 ]; then usage >&2; exit 2; fi
folder=$1
mkdir -p "$folder" || exit 2
build=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/build/cuda
if [ $# -eq 2 ]; then
  railyard=$2/railyard tests=$2
else
  railyard=$build/railyard tests=$build/tests/multi_rank
fi
for program in "$railyard" "$tests"/{property_test,cuda_test,cuda_recovery_test,cuda_times_test,cuda_chaos_test}; do
  [ -x "$program" ] || { echo "error: $program is not there: build it, or name the folder of the programs" >&2; exit 2; }
done
gpus=$(nvidia-smi --list-gpus 2>/dev/null | grep -c '^GPU')
[ "$gpus" -ge 2 ] || { echo "error: this takes two GPUs or more; this machine shows $gpus" >&2; exit 2; }

cases=200 processes=24 faults=16 operations=100000 tokens=512,4096,8192
[ "$quick" = no ] || { cases=40 processes=6 faults=4 operations=20000 tokens=4096; }
failed=0

step() { # NAME SECONDS [VARIABLE=VALUE...] PROGRAM ARGUMENT...
  local name=$1 seconds=$2 start=$SECONDS status=0
  shift 2
  env "RAILYARD_TEST_DEADLINE_S=20" timeout "$seconds" env "$@" >"$folder/$name.txt" 2>&1 || status=$?
  [ "$status" -eq 0 ] || failed=$((failed + 1))
  printf '%-28s %4d s  %s\n' "$name" $((SECONDS - start)) \
    "$(case $status in 0) echo passed ;; 124) echo "stopped after $seconds s" ;; *) echo "failed ($status)" ;; esac)"
}
bench() { # NAME SECONDS ARGUMENT...
  local name=$1 seconds=$2
  shift 2
  step "$name" "$seconds" "$railyard" bench throughput --device cuda --ranks "$gpus" --experts 256 --iterations 20 \
    --json "$folder/$name.json" "$@"
}

nvidia-smi topo -m >"$folder/topology.txt" 2>&1
step doctor 30 "$railyard" doctor
step property-threads 90 RAILYARD_TEST_BACKEND=cuda-threads RAILYARD_TEST_CASES=$cases "$tests/property_test"
step gpu-threads 60 RAILYARD_TEST_OPERATIONS=$operations "$tests/cuda_test"
step property-processes 100 RAILYARD_TEST_BACKEND=cuda-processes RAILYARD_TEST_CASES=$processes "$tests/property_test"
step recovery 60 RAILYARD_TEST_BACKEND=cuda-threads "$tests/cuda_recovery_test"
step times 60 RAILYARD_TEST_BACKEND=cuda-threads "$tests/cuda_times_test"
step faults 90 RAILYARD_TEST_CASES=$faults "$tests/cuda_chaos_test"
step link 40 "$railyard" bench link --device cuda --iterations 20 --json "$folder/link.json"
bench bf16 80 --tokens "$tokens" --sms 16
bench bf16-sms 60 --tokens 4096 --sms 4,8,12,24,32
bench fp8 80 --tokens "$tokens" --codec fp8_e4m3 --sms 16
bench zipf 40 --tokens 4096 --codec fp8_e4m3 --routing zipf --sms 16
if ldconfig -p | grep -q 'libnccl\.so\.2'; then
  bench nccl 60 --tokens 4096 --sms 16 --peers nccl
else
  echo "nccl: libnccl.so.2 is not installed; not measured"
fi
echo "$failed steps failed; logs and JSON are in $folder"
[ "$failed" -eq 0 ]
