#!/usr/bin/env bash
# Makes the stargz snapshotter from Debian packages alone, for its column of the benchmarks.
#   scripts/stargz-snapshotter.sh FOLDER      then PATH=FOLDER:$PATH npm run bench
# Debian's package has the client (ctr-remote), its library package the file system: what is built here is the daemon
# between the two, containerd-stargz-grpc. A released one of upstream does as well: it only has to be on PATH.
set -euo pipefail
folder=${1:?folder for containerd-stargz-grpc}
here=$(cd "$(dirname "$0")" && pwd)

bash "$here/system-packages.sh" stargz
mkdir -p "$folder"
cache=$(mktemp -d)
trap 'rm -rf "$cache"' EXIT
# Debian's libraries are a GOPATH; nothing is downloaded.
GOPATH=/usr/share/gocode GO111MODULE=off GOPROXY=off GOFLAGS='' GOCACHE=$cache \
  go build -o "$folder/containerd-stargz-grpc" "$here/stargz-snapshotter/main.go"
echo "$folder/containerd-stargz-grpc"
