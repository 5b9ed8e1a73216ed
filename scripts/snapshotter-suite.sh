#!/usr/bin/env bash
# containerd's own test suite of snapshotters, against `peel snapshotter`. Root, and a built peel.
#   scripts/snapshotter-suite.sh [go test options: -v, -run TestSnapshotter/Basic ...]
# Everything comes from Debian packages, which are a GOPATH; nothing is downloaded. The last line counts the cases.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

bash "$here/system-packages.sh" snapshotter
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export GOPATH=/usr/share/gocode GO111MODULE=off GOPROXY=off GOFLAGS='' GOCACHE=${GOCACHE:-$work/go}
export XDG_RUNTIME_DIR=$work/run PEEL_CACHE_DIR=$work/cache TMPDIR=$work/tmp
mkdir -p -m 700 "$XDG_RUNTIME_DIR" "$TMPDIR"
export PEEL="node $here/../dist/cli/main.js"

cd "$here/snapshotter-suite"
status=0
go test -c -o "$work/suite" .
"$work/suite" -test.v -test.timeout 10m "$@" >"$work/log" 2>&1 || status=$?
passed=$(grep -c '^    --- PASS: TestSnapshotter/' "$work/log" || true)
skipped=$(grep -c '^    --- SKIP: TestSnapshotter/' "$work/log" || true)
failed=$(grep -c '^    --- FAIL: TestSnapshotter/' "$work/log" || true)
[ "$status" -eq 0 ] || cat "$work/log"
# Rename is skipped by the suite itself, for all snapshotters.
grep '^    --- SKIP:' "$work/log" || true
echo "$passed passed, $skipped skipped by the suite, $failed failed"
exit "$status"
