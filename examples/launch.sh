#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Starts a program as N ranks of one world on this machine, with the variables that torchrun sets. An interrupt ends all.
set -euo pipefail
if [ $# -lt 2 ] || ! [[ $1 =~ ^[1-9][0-9]*$ ]]; then
  echo "usage: launch.sh N PROGRAM [ARGUMENTS...]     MASTER_PORT: 1 to 65534, default: any" >&2
  exit 2
fi
size=$1
shift
# Below the ports that a system gives to programs that name none, so that jobs beside each other do not meet.
export MASTER_ADDR=127.0.0.1 MASTER_PORT=${MASTER_PORT:-$((10000 + RANDOM % 20000))} WORLD_SIZE=$size
if [ -z "${RAILYARD_RENDEZVOUS:-}" ]; then  # `railyard rendezvous` would not know it
  export RAILYARD_SECRET=${RAILYARD_SECRET:-$$-$RANDOM}
fi
processes=()
trap 'kill "${processes[@]}" 2>/dev/null; exit 130' INT TERM
for ((rank = 0; rank < size; rank++)); do
  RANK=$rank LOCAL_RANK=$rank "$@" &
  processes+=($!)
done
status=0
for process in "${processes[@]}"; do
  wait "$process" || status=$?
done
exit "$status"
