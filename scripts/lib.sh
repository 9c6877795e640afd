# shellcheck shell=bash
# What the scripts share. Sourced, never run:
#
#     source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
#
# It moves to the root of the checkout, so that every path in a script is relative to that.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
ROOT=$PWD
CACHE=$ROOT/.cache
PROGRAM=$(basename "$0")
# Exit status of what is not permitted or not supported here, as the command line has it.
NOT_HERE=3
# Go of the host or the one that setup fetched; see scripts/setup.
GO=${GO:-$CACHE/go/bin/go}
export GO

mkdir -p "$CACHE"

say() {
  printf '%s: %s\n' "$PROGRAM" "$*" >&2
}

fail() {
  say "$*"
  exit 1
}

seconds_since() { # EPOCHREALTIME
  awk -v from="$1" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.1f s", to - from }'
}

# Runs a command and says how long it took. What it prints is shown only when it fails, in full.
stage() { # WHAT COMMAND…
  local what=$1 from=$EPOCHREALTIME log status
  shift
  say "$what …"
  log=$(mktemp)
  # Beside an || or an if, bash would let a function run on after a command in it has failed.
  set +e
  (
    set -e
    "$@"
  ) >"$log" 2>&1 9>&- </dev/null
  status=$?
  set -e
  if [[ $status -ne 0 ]]; then
    cat "$log" >&2
    rm -f "$log"
    say "$what: failed with status $status after $(seconds_since "$from")"
    exit "$status"
  fi
  rm -f "$log"
  say "$what: done in $(seconds_since "$from")"
}

# True if the stamp exists and nothing under the paths is newer. A directory is newer when a file
# was added to it or removed, and a path that does not exist never was.
fresh() { # STAMP PATH…
  local stamp=$1
  shift
  [[ -e $stamp ]] || return 1
  [[ -z $(find "$@" -newer "$stamp" -print -quit 2>/dev/null) ]]
}

# One at a time in a checkout: two builds would write the same files. Held until the script ends.
# UNDERSPAN_LOCKED keeps a script that another one calls from waiting for its caller.
lock() {
  [[ -z ${UNDERSPAN_LOCKED:-} ]] || return 0
  exec 9>"$CACHE/lock"
  if ! flock -n 9; then
    say 'waiting for another build in this checkout …'
    flock 9
  fi
  export UNDERSPAN_LOCKED=1
}
