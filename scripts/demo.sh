#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/lib/packages.sh
source scripts/lib/cuda.sh

usage() {
  cat <<'END'
usage: scripts/demo.sh [--install] [--help] [--] [ARGUMENTS OF `railyard demo`...]

Builds the optimised program, leaves it at build/railyard, and runs `build/railyard demo`: a Mixture-of-Experts layer
over several ranks on this machine, checked against the dense computation. Needs no GPU; where there is one, the
program with the CUDA part is built too, at build/cuda/railyard.

  --install   install missing Debian packages with sudo (as root they are installed without asking)
  --help      this text; `scripts/demo.sh -- --help` shows the options of the demo itself

Everything else is passed on, for example: scripts/demo.sh --ranks 4 --text README.md
END
}

install=no
while [ $# -gt 0 ]; do
  case $1 in
    --install) install=yes; shift ;;
    --help | -h) usage; exit 0 ;;
    --) shift; break ;;
    *) break ;;
  esac
done

gpus=$(num_gpus)
packages=$packages_to_build
[ "$gpus" -eq 0 ] || packages+=$(packages_to_get_nvcc)
require_packages "$packages" "$install" build/packages.log

begin=$SECONDS
if [ ! -f build/build.ninja ]; then
  echo "configuring build/ (release)"
  mkdir -p build
  cmake --preset release -DRAILYARD_BUILD_TESTS=OFF -DRAILYARD_BUILD_BENCH=OFF -DRAILYARD_BUILD_EXAMPLES=OFF \
    >build/configure.log 2>&1 </dev/null || { cat build/configure.log >&2; exit 1; }
fi
echo "building build/railyard"
cmake --build build --target railyard_cli --parallel "$(nproc)" </dev/null
echo "built in $((SECONDS - begin)) s"
if [ "$gpus" -eq 0 ]; then
  echo "no GPU here: the CUDA part was not built; scripts/test.sh --all compiles it"
else
  echo "building build/cuda/railyard (log: build/cuda.log)"
  if build_cuda_program "$(nproc)" >build/cuda.log 2>&1 </dev/null; then
    echo "build/cuda/railyard has the CUDA part"
  else
    tail -n 25 build/cuda.log >&2
    echo "the CUDA part was NOT built, see above; the demonstration needs no GPU and goes on" >&2
  fi
fi
echo
exec build/railyard demo "$@"
