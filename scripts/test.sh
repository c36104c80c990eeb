#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/lib/packages.sh
logs=build/logs
source scripts/lib/stages.sh
source scripts/lib/cuda.sh

usage() {
  cat <<'END'
usage: scripts/test.sh [--all] [--filter REGEX] [--seed N] [--install] [--help]

Builds the library in build/ and runs its tests on this machine; needs no GPU. Where there is one, it builds the CUDA
part in build/cuda too and runs its tests. The last line says how many passed.

  --all            also: the tests built by clang with AddressSanitizer and UndefinedBehaviorSanitizer, and by g++ with
                   ThreadSanitizer; the CUDA part compiled without a GPU too; the fuzzers, briefly; clang-format;
                   clang-tidy; the mutants
  --filter REGEX   only the tests whose names match (in every build); leaves out fuzzers, lint and mutants, and without
                   a GPU the CUDA part
  --seed N         the seed of the fuzzers (default: random; printed)
  --install        install missing Debian packages with sudo (as root they are installed without asking)
  --help           this text

nvcc of release 12.4 or newer is the machine's ($CUDACXX, on PATH, in ${CUDA_HOME:-/usr/local/cuda}), or is installed
from PyPI into build/cuda-toolkit. Logs are in build/logs.
END
}

all=no filter='' seed=$((RANDOM * 32768 + RANDOM + 1)) install=no
value_of() { [ $# -ge 2 ] || { echo "error: $1 takes a value" >&2; exit 2; }; printf '%s' "$2"; }
while [ $# -gt 0 ]; do
  case $1 in
    --all) all=yes ;;
    --filter) filter=$(value_of "$@") || exit; shift ;;
    --seed)
      seed=$(value_of "$@") || exit
      [[ $seed =~ ^[1-9][0-9]{0,8}$ ]] || { echo "error: --seed is '$seed'; it takes 1 to 999999999" >&2; exit 2; }
      shift
      ;;
    --install) install=yes ;;
    --help | -h) usage; exit 0 ;;
    *) echo "error: unknown argument '$1'" >&2; usage >&2; exit 2 ;;
  esac
  shift
done

gpus=$(num_gpus) cuda=no
if [ "$gpus" -gt 0 ] || { [ "$all" = yes ] && [ -z "$filter" ]; }; then
  cuda=yes
fi
packages=$packages_to_test
[ "$all" = no ] || packages=$packages_to_test_all
[ "$cuda" = no ] || packages+=$(packages_to_get_nvcc)
require_packages "$packages" "$install" build/packages.log

jobs=$(nproc)
mkdir -p "$logs"
ctest_arguments=(--label-regex '^host$' --parallel "$jobs")
[ -z "$filter" ] || ctest_arguments+=(--tests-regex "$filter")

configure_and_build() {
  local preset=$1 directory=$2
  shift 2
  cmake --preset "$preset" "$@" && cmake --build "$directory" --parallel "$jobs"
}

# ThreadSanitizer of g++ 12 cannot start where the kernel randomises more than 28 bits of an address.
if [ "$(cat /proc/sys/vm/mmap_rnd_bits 2>/dev/null || echo 32)" -gt 28 ] && setarch --addr-no-randomize true 2>/dev/null; then
  ctest_prefix=(setarch --addr-no-randomize)
fi

# build_and_test <preset> <directory> <what to call it> <options of cmake...>
build_and_test() {
  local preset=$1 directory=$2 title=$3
  shift 3
  if stage "build: $title" configure_and_build "$preset" "$directory" "$@"; then
    stage_ctest "tests: $title" "$directory" "${ctest_arguments[@]}" || true
  else
    stage_not_run "tests: $title" "the build failed"
  fi
}

# The CUDA part: compiled, and its tests run as far as the GPUs of this machine allow.
build_and_test_cuda() {
  local labels=gpu1 arguments=(--parallel 1)
  [ "$gpus" -lt 2 ] || labels+='|gpu2'
  [ "$gpus" -lt 8 ] || labels+='|gpu8'
  arguments+=(--label-regex "^($labels)\$")
  [ -z "$filter" ] || arguments+=(--tests-regex "$filter" --no-tests=ignore)
  if ! stage "build: CUDA part" build_cuda_part "$jobs"; then
    [ "$gpus" -eq 0 ] || stage_not_run "tests: CUDA part" "the build failed"
  elif [ "$gpus" -eq 0 ]; then
    echo "      no GPU here: its tests were not run"
  else
    stage_ctest "tests: CUDA part" "$cuda_build" "${arguments[@]}" || true
  fi
}

stages_total=2
[ "$cuda" = no ] || stages_total=$((stages_total + 1 + (gpus > 0)))
if [ "$all" = yes ]; then
  stages_total=$((stages_total + 4))
  [ -n "$filter" ] || stages_total=$((stages_total + 5))
  echo "seed $seed (repeat with --seed $seed)"
fi

if [ "$all" = yes ] && [ -z "$filter" ]; then
  stage "format" scripts/lib/format.sh || true
fi
build_and_test release build "release, g++" -DRAILYARD_BUILD_TESTS=ON
if [ "$cuda" = yes ]; then
  build_and_test_cuda
else
  printf '\nno GPU here: the CUDA part was not built; scripts/test.sh --all compiles it\n'
fi
if [ "$all" = yes ]; then
  export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1
  export UBSAN_OPTIONS=print_stacktrace=1
  export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
  build_and_test asan build/asan "clang, AddressSanitizer and UndefinedBehaviorSanitizer"
  build_and_test tsan build/tsan "g++, ThreadSanitizer"
  if [ -z "$filter" ]; then
    stage "clang-tidy" tools/run_clang_tidy.py build/asan --jobs "$jobs" || true
    if stage "build: fuzzers" configure_and_build fuzz build/fuzz; then
      stage "fuzzers, 5 s each" scripts/lib/fuzz.sh build/fuzz/fuzzers 5 "$seed" || true
    else
      stage_not_run "fuzzers, 5 s each" "the build failed"
    fi
    stage "mutants" scripts/mutate.sh --all || true
  fi
fi
finish
