#!/bin/sh
# Starts the Node that came along, by the loader and with the libraries that came along. What it
# starts itself is not touched by that: there is no variable in the environment.
set -eu
self=$(readlink -f "$0")
root=${self%/bin/*}
exec "$root/lib/@LOADER@" --library-path "$root/lib" --argv0 trace \
  "$root/lib/node" "$root/app/dist/cli/main.js" "$@"
