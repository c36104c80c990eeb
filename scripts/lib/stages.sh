# SPDX-License-Identifier: Apache-2.0
# Running the stages of a script, with progress and a count of what passed. Sourced by the scripts.
# Set `logs=<directory>` before sourcing this, and `stages_total=<n>` before the first stage.
# shellcheck shell=bash

: "${logs:?set logs before sourcing this}"

stages_run=0
stages_total=${stages_total:-0}
passed=0
failed=0
skipped=0
failures=()
ctest_prefix=()

# file_name <stage>: the stage's name as a file name.
file_name() { printf '%s' "${1//[^A-Za-z0-9+]/_}" | tr -s _; }

heading() {
  stages_run=$((stages_run + 1))
  printf '\n[%d/%d] %s (%d s so far)\n' "$stages_run" "$stages_total" "$1" "$SECONDS"
}

count_failure() {
  failed=$((failed + 1))
  failures+=("$1")
}

# stage <name> <command...>: runs the command into a log, whose end is shown if it fails. Counts as one test.
# Status: that of the command, so that what depends on it can be left out.
stage() {
  local name=$1 begin=$SECONDS status=0
  shift
  local log=$logs/$(file_name "$name").log
  heading "$name"
  "$@" >"$log" 2>&1 </dev/null || status=$?
  if [ "$status" -eq 0 ]; then
    passed=$((passed + 1))
    echo "      passed, $((SECONDS - begin)) s"
  else
    tail -n 60 "$log"
    echo "      FAILED with status $status after $((SECONDS - begin)) s; the whole log is $log"
    count_failure "$name"
  fi
  return "$status"
}

# stage_not_run <name> <why>: a stage whose condition failed. Counts as a failure.
stage_not_run() {
  heading "$1"
  echo "      FAILED: not run, because $2"
  count_failure "$1"
}

# stage_ctest <name> <build directory> <arguments of ctest...>: every test of the run counts as one.
# The array ctest_prefix holds a command to run ctest under, if any.
stage_ctest() {
  local name=$1 directory=$2 begin=$SECONDS status=0 tests failures_here skipped_here
  shift 2
  local log=$logs/$(file_name "$name").log report=$PWD/$logs/$(file_name "$name").xml
  rm -f "$report"
  heading "$name"
  "${ctest_prefix[@]}" ctest --test-dir "$directory" --output-on-failure --output-junit "$report" --no-tests=error "$@" \
    >"$log" 2>&1 </dev/null || status=$?
  if [ "$status" -ne 0 ]; then
    grep -vE '^ *Start +[0-9]+:|\. +Passed +' "$log" | tail -n 200
  fi
  grep -E '^[0-9]+% tests passed' "$log" | sed 's/^/      /' || true
  if [ ! -s "$report" ]; then
    echo "      FAILED: ctest ended with status $status and left no report; the whole log is $log"
    count_failure "$name"
    return 1
  fi
  tests=$(report_field "$report" tests)
  failures_here=$(report_field "$report" failures)
  skipped_here=$(report_field "$report" skipped)
  passed=$((passed + tests - failures_here - skipped_here))
  failed=$((failed + failures_here))
  skipped=$((skipped + skipped_here))
  if [ "$failures_here" -gt 0 ]; then
    failures+=("$name: $failures_here tests")
  elif [ "$status" -ne 0 ]; then
    count_failure "$name: ctest ended with status $status"
  fi
  [ "$skipped_here" -eq 0 ] || grep -E '\((Skipped|Not Run|Disabled)\)' "$log" || true
  echo "      $((SECONDS - begin)) s"
  return "$status"
}

# report_field <JUnit file> <attribute of the test suite>
report_field() {
  sed -n "s/^[[:space:]]*$2=\"\([0-9]*\)\".*/\1/p" "$1" | head -n 1
}

# Prints the closing line; status 0 only if something ran and nothing failed.
finish() {
  printf '\n'
  [ ${#failures[@]} -eq 0 ] || printf 'failed: %s\n' "${failures[@]}"
  [ "$skipped" -eq 0 ] || printf 'skipped: %d\n' "$skipped"
  printf 'time: %d s\n' "$SECONDS"
  printf '%d passed, %d failed\n' "$passed" "$failed"
  [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}
