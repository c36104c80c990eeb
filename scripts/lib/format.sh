#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: format.sh [--fix]
# Checks (or with --fix, makes) the layout of every C++ file as .clang-format says.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
mode=(--dry-run -Werror)
[ "${1:-}" != --fix ] || mode=(-i)
directories=()
for directory in include src tests bench examples tools simulator; do
  [ ! -d "$directory" ] || directories+=("$directory")
done
find "${directories[@]}" \( -name '*.hpp' -o -name '*.cpp' -o -name '*.cuh' -o -name '*.cu' \) -print0 |
  xargs -0 --no-run-if-empty clang-format "${mode[@]}"
