# SPDX-License-Identifier: Apache-2.0
# The Debian 12 packages of the project, in one place. Sourced by the scripts.
# Each line: package, and what shows that it is there: a command, a file under an include or library directory, or
# python3:<module>.
# shellcheck shell=bash disable=SC2034

packages_to_build="
g++                  g++
cmake                cmake
ninja-build          ninja
ccache               ccache
git                  git
libcli11-dev         CLI/CLI.hpp
libfmt-dev           fmt/format.h
libspdlog-dev        spdlog/spdlog.h
nlohmann-json3-dev   nlohmann/json.hpp
"
packages_to_test="
$packages_to_build
libbenchmark-dev     benchmark/benchmark.h
libgtest-dev         gtest/gtest.h
librapidcheck-dev    rapidcheck.h
libopenmpi-dev       mpicxx
openmpi-bin          mpirun
binutils             readelf
pkg-config           pkg-config
python3              python3
"
packages_to_test_all="
$packages_to_test
clang                clang++
clang-format         clang-format
clang-tidy           clang-tidy
libclang-rt-14-dev   clang/14/lib/linux/libclang_rt.fuzzer-$(uname -m).a
"
packages_to_install_cuda="
python3              python3
python3-venv         python3:ensurepip
"

# is_present <command, file or python3:module>
is_present() {
  case $1 in
    python3:*) python3 -c "import ${1#python3:}" >/dev/null 2>&1 ;;
    */* | *.h | *.hpp)
      local directory
      for directory in /usr/include /usr/local/include /usr/lib "/usr/include/$(uname -m)-linux-gnu"; do
        [ -e "$directory/$1" ] && return 0
      done
      return 1
      ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
  esac
}

# require_packages <list> <install: yes or no> <log file>
# Installs what is missing as root, or with `--install` through sudo; otherwise says what to run and exits 1.
require_packages() {
  local list=$1 install=$2 log=$3 package probe missing=() become=()
  while read -r package probe; do
    [ -n "$package" ] || continue
    is_present "$probe" || missing+=("$package")
  done <<<"$list"
  [ ${#missing[@]} -gt 0 ] || return 0

  local command=(apt-get install -y --no-install-recommends "${missing[@]}")
  echo "missing packages: ${command[*]}"
  if ! command -v apt-get >/dev/null 2>&1; then
    echo "error: this system has no apt-get; install the equivalents of these packages and run this again" >&2
    exit 1
  fi
  if [ "$(id -u)" -ne 0 ]; then
    if [ "$install" != yes ]; then
      echo "error: run 'sudo ${command[*]}', or run this script again with --install" >&2
      exit 1
    fi
    become=(sudo)
  fi
  mkdir -p "$(dirname "$log")"
  local begin=$SECONDS
  if ! { "${become[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update &&
    "${become[@]}" env DEBIAN_FRONTEND=noninteractive "${command[@]}"; } >"$log" 2>&1 </dev/null; then
    tail -n 25 "$log" >&2
    echo "error: installing packages failed; the whole log is $log" >&2
    exit 1
  fi
  echo "installed ${#missing[@]} packages in $((SECONDS - begin)) s (log: $log)"
}
