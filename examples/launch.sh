#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Starts a program as N ranks of one world on this machine, with the variables that torchrun sets.
set -euo pipefail
if [ $# -lt 2 ] || ! [[ $1 =~ ^[1-9][0-9]*$ ]]; then
  echo "usage: launch.sh N PROGRAM [ARGUMENTS...]     MASTER_PORT: 1 to 65534, default 29400" >&2
  exit 2
fi
size=$1
shift
export MASTER_ADDR=127.0.0.1 MASTER_PORT=${MASTER_PORT:-29400} WORLD_SIZE=$size
processes=()
for ((rank = 0; rank < size; rank++)); do
  RANK=$rank LOCAL_RANK=$rank "$@" &
  processes+=($!)
done
status=0
for process in "${processes[@]}"; do
  wait "$process" || status=$?
done
exit "$status"
