#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: scripts/mutate.sh --all | --sample N [--seed S] | --only NAME... | --list | --check
# Breaks the library one line at a time and fails unless a test notices each time: see tools/mutate.py --help.
set -euo pipefail
exec python3 "$(dirname "${BASH_SOURCE[0]}")/../tools/mutate.py" "$@"
