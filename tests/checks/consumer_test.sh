#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: consumer_test.sh BUILD_DIRECTORY CONSUMER_SOURCES COMPILER LIBRARY_SUBDIRECTORY
# Installs the build to a temporary prefix; builds the consumer there with find_package and with pkg-config; runs both.
set -euo pipefail

build=$1 sources=$2 compiler=$3 library_subdirectory=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix

cmake --install "$build" --prefix "$prefix" >"$work/install.log" || { cat "$work/install.log"; exit 1; }

echo "== find_package"
cmake -S "$sources" -B "$work/consumer" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$prefix" \
  -DCMAKE_CXX_COMPILER="$compiler" >"$work/configure.log" 2>&1 || { cat "$work/configure.log"; exit 1; }
cmake --build "$work/consumer"
"$work/consumer/consumer"

echo "== pkg-config"
# Where it was not installed, and not configured for: the file says its prefix by where it lies.
moved=$work/moved
mv "$prefix" "$moved"
export PKG_CONFIG_PATH=$moved/$library_subdirectory/pkgconfig
read -r -a flags <<<"$(pkg-config --cflags --libs railyard)"
"$compiler" -std=c++20 -Wall -Wextra -Wpedantic -Werror "$sources/main.cpp" -o "$work/by_pkg_config" "${flags[@]}"
LD_LIBRARY_PATH=$moved/$library_subdirectory "$work/by_pkg_config"
mv "$moved" "$prefix"

if [ -x "$prefix/bin/railyard" ]; then
  echo "== installed program"
  "$prefix/bin/railyard" --version
fi
