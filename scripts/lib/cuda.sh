# SPDX-License-Identifier: Apache-2.0
# The CUDA compiler, and the build of the CUDA part in build/cuda. Sourced by the scripts, after packages.sh.
# The compiler is the machine's: $CUDACXX, nvcc on PATH, or that of ${CUDA_HOME:-/usr/local/cuda}. Where it has none that
# is new enough, the packages of cuda_packages.txt are installed from PyPI into build/cuda-toolkit.
# shellcheck shell=bash disable=SC2154

cuda_minimum=12.4
cuda_packages=scripts/lib/cuda_packages.txt
cuda_toolkits=build/cuda-toolkit
cuda_build=build/cuda

# num_gpus: how many NVIDIA GPUs this machine shows.
num_gpus() {
  local listed=0
  if command -v nvidia-smi >/dev/null 2>&1; then
    listed=$(nvidia-smi --list-gpus 2>/dev/null | grep -c '^GPU ') || true
  fi
  [ "$listed" -gt 0 ] || listed=$(find /dev -maxdepth 1 -name 'nvidia[0-9]*' -type c | wc -l)
  echo "$listed"
}

# nvcc_release <nvcc>: its release, such as 13.0; nothing if it is no nvcc that runs.
nvcc_release() {
  { "$1" --version 2>/dev/null || true; } | sed -n 's/^Cuda compilation tools, release \([0-9]*\.[0-9]*\),.*/\1/p'
}

# is_new_enough <release>
is_new_enough() {
  [ -n "$1" ] && [ "$(printf '%s\n' "$cuda_minimum" "$1" | sort --version-sort | head -n 1)" = "$cuda_minimum" ]
}

# machine_nvcc: the path of the machine's nvcc, or nothing where it has none. What is passed over is said on stderr.
# Status 1 if CUDACXX names something else than an nvcc that is new enough: a choice is not replaced silently.
machine_nvcc() {
  local candidate path release
  for candidate in "${CUDACXX:-nvcc}" "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc"; do
    if path=$(command -v "$candidate"); then
      release=$(nvcc_release "$path")
      if is_new_enough "$release"; then
        echo "$(cd "$(dirname "$path")" && pwd -P)/$(basename "$path")"
        return 0
      fi
      echo "$path is of release '$release'; the CUDA part needs nvcc $cuda_minimum or newer" >&2
    fi
    if [ -n "${CUDACXX:-}" ]; then
      echo "error: CUDACXX is '$CUDACXX', which is no nvcc of release $cuda_minimum or newer" >&2
      return 1
    fi
  done
}

# packages_to_get_nvcc: the lines of packages.sh without which choose_nvcc cannot install a compiler, if it will have to.
packages_to_get_nvcc() {
  local nvcc
  nvcc=$(machine_nvcc 2>/dev/null) || return 0
  [ -n "$nvcc" ] || [ -d "$(pinned_toolkit)" ] || echo "$packages_to_install_cuda"
}

# pinned_toolkit: the folder of the toolkit that cuda_packages.txt describes, installed or not.
pinned_toolkit() { echo "$PWD/$cuda_toolkits/$(sha256sum "$cuda_packages" | cut -c 1-12)"; }

# install_toolkit: puts the pinned toolkit into its folder unless it is there. The folder appears only when complete.
install_toolkit() {
  local toolkit partial=$PWD/$cuda_toolkits.partial
  toolkit=$(pinned_toolkit)
  [ ! -d "$toolkit" ] || return 0
  if [ "$(uname -sm)" != "Linux x86_64" ]; then
    echo "error: the pinned CUDA toolkit is for Linux x86_64, this is $(uname -sm); install nvcc $cuda_minimum or newer" >&2
    return 1
  fi
  echo "installing the CUDA toolkit of $cuda_packages (NVIDIA's licence, in $toolkit/licenses)"
  rm -rf "$partial" "$cuda_toolkits" &&
    python3 -m venv "$partial/venv" &&
    "$partial/venv/bin/python3" -m pip install --disable-pip-version-check --no-input --no-deps --no-compile \
      --only-binary :all: --require-hashes --requirement "$cuda_packages" --target "$partial/packages" &&
    ln -s lib "$partial/packages/nvidia/cu13/lib64" &&
    mkdir -p "$partial/packages/nvidia/cu13/licenses" "$cuda_toolkits" &&
    mv "$partial"/packages/*.dist-info "$partial/packages/nvidia/cu13/licenses" &&
    mv "$partial/packages/nvidia/cu13" "$toolkit" &&
    rm -rf "$partial"
}

# choose_nvcc: exports CUDACXX, installing the pinned toolkit where the machine has no compiler.
choose_nvcc() {
  local nvcc
  nvcc=$(machine_nvcc) || return
  if [ -z "$nvcc" ]; then
    install_toolkit || { echo "error: no nvcc here, and installing one failed" >&2; return 1; }
    nvcc=$(pinned_toolkit)/bin/nvcc
    is_new_enough "$(nvcc_release "$nvcc")" || { echo "error: $nvcc does not run" >&2; return 1; }
  fi
  export CUDACXX=$nvcc
  echo "CUDA compiler: $CUDACXX, release $(nvcc_release "$CUDACXX")"
}

# configure_cuda <arguments of cmake...>: configures build/cuda with the chosen compiler.
configure_cuda() {
  local configured fresh=()
  choose_nvcc || return
  configured=$(sed -n 's/^CMAKE_CUDA_COMPILER:[A-Z]*=//p' "$cuda_build/CMakeCache.txt" 2>/dev/null) || true
  # CMake cannot change the compiler of a configured folder.
  [ -z "$configured" ] || [ "$configured" = "$CUDACXX" ] || fresh=(--fresh)
  cmake --preset cuda "${fresh[@]}" "$@"
}

# build_cuda_part <jobs>: the library, the program, tests and benchmarks that need nvcc or a GPU.
# Fails if a .cu file of the tree is not part of the build.
build_cuda_part() {
  local jobs=$1 file
  configure_cuda -DRAILYARD_BUILD_TESTS=ON -DRAILYARD_BUILD_BENCH=ON || return
  while IFS= read -r file; do
    if ! grep -qF "/$file\"" "$cuda_build/compile_commands.json"; then
      echo "error: $file is not part of the build in $cuda_build" >&2
      return 1
    fi
  done < <(find src tests bench -name '*.cu')
  cmake --build "$cuda_build" --target railyard_cuda_part --parallel "$jobs"
}

# build_cuda_program <jobs>: build/cuda/railyard alone, which needs no library of the tests.
build_cuda_program() {
  local jobs=$1 without=()
  [ -f "$cuda_build/build.ninja" ] || without=(-DRAILYARD_BUILD_TESTS=OFF -DRAILYARD_BUILD_BENCH=OFF)
  configure_cuda "${without[@]}" && cmake --build "$cuda_build" --target railyard_cli --parallel "$jobs"
}
