#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib/gpu_steps.sh"

usage() {
  cat <<'END'
usage: scripts/measure_gpus.sh [--quick] FOLDER [BINARIES]

Tests and measures what build/cuda holds (or the folder BINARIES, which has railyard and the tests side by side) on all
GPUs of this machine, a rank each, in some ten minutes: the property suite as threads and as processes, 100000
operations with random delays, recoveries, waits and traces, faults of processes; then links, and dispatch and combine
over tokens and SMs, uniform and Zipf, with wait statistics, beside a GEMM and NCCL where those are installed. Logs and
JSON go to FOLDER; a line per step says how it ended. scripts/check_gpus.sh tests more. Build first:
  cmake --preset cuda -DRAILYARD_BUILD_TESTS=ON && cmake --build build/cuda

  --quick     a fifth of the cases, 4096 tokens only
  --no-tests  measure only
Status 0 if every step succeeded.
END
}

quick=no tests=yes
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage; exit 0 ;;
    --quick) quick=yes ;;
    --no-tests) tests=no ;;
    -*) echo "error: unknown option '$1'" >&2; usage >&2; exit 2 ;;
    *) break ;;
  esac
  shift
done
if [ $# -lt 1 ] || [ $# -gt 2 ]; then usage >&2; exit 2; fi
begin_steps "$@"
require_programs railyard property_test cuda_test cuda_recovery_test cuda_times_test cuda_chaos_test
require_gpus 2

cases=200 processes=24 faults=16 operations=100000 tokens=512,4096,8192
[ "$quick" = no ] || { cases=40 processes=6 faults=4 operations=20000 tokens=4096; }
has() { ldconfig -p | grep -q "$1"; }
bench() { # NAME SECONDS ARGUMENT...
  local name=$1 seconds=$2
  shift 2
  step "$name" "$seconds" "$(program railyard)" bench throughput --device cuda --ranks "$gpus" --experts 256 \
    --iterations 20 --json "$folder/$name.json" "$@"
}

nvidia-smi topo -m >"$folder/topology.txt" 2>&1
step doctor 60 "$(program railyard)" doctor
if [ "$tests" = yes ]; then
  step property-threads 90 RAILYARD_TEST_BACKEND=cuda-threads RAILYARD_TEST_CASES=$cases "$(program property_test)"
  step gpu-threads 60 RAILYARD_TEST_OPERATIONS=$operations "$(program cuda_test)"
  step property-processes 100 RAILYARD_TEST_BACKEND=cuda-processes RAILYARD_TEST_CASES=$processes \
    "$(program property_test)"
  step recovery 60 RAILYARD_TEST_BACKEND=cuda-threads "$(program cuda_recovery_test)"
  step times 60 RAILYARD_TEST_BACKEND=cuda-threads "$(program cuda_times_test)"
  step faults 90 RAILYARD_TEST_CASES=$faults "$(program cuda_chaos_test)"
fi
step link 40 "$(program railyard)" bench link --device cuda --iterations 20 --json "$folder/link.json"
bench bf16 80 --tokens "$tokens" --sms 16
bench bf16-statistics 80 --tokens "$tokens" --sms 16 --wait-statistics
bench bf16-sms 80 --tokens 4096 --sms 4,8,12,24,32,64
bench fp8 120 --tokens "$tokens" --codec fp8_e4m3 --sms 16,20
bench statistics 120 --tokens "$tokens" --codec fp8_e4m3 --sms 16,20 --wait-statistics
bench zipf 40 --tokens 4096 --codec fp8_e4m3 --routing zipf --sms 16
bench zipf-bf16 40 --tokens 4096 --routing zipf --sms 16
if has 'libnccl\.so\.2'; then
  bench nccl 60 --tokens 1,16,64,256,1024,4096 --sms 16 --peers nccl
  [ "$quick" = yes ] || bench nccl-large 60 --tokens 8192,16384 --sms 16 --peers nccl
else
  echo "nccl: libnccl.so.2 is not installed; not measured"
fi
if has 'libcublas\.so\.1[23]'; then
  bench gemm 60 --tokens 4096 --sms 16,20,24 --beside gemm
  bench gemm-fp8 120 --tokens 4096 --codec fp8_e4m3 --sms 16,20,24 --beside gemm
else
  echo "gemm: libcublas is not installed; not measured"
fi
end_steps
