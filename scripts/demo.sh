#!/usr/bin/env bash
# `npm run demo`: the main job on a real image, from nothing. Installs what is missing, builds peel, makes a
# multi-layer Debian image, pushes it to a real registry on loopback, then looks into it without pulling it.
#   npm run demo -- --keep    leaves the registry running on port 5000 and says how to stop it
set -euo pipefail
cd "$(dirname "$0")/.."

keep=no
[ "${1:-}" = --keep ] && keep=yes

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
peel() { node dist/cli/main.js "$@"; }
show() { printf '$ peel %s\n' "$*"; peel "$@"; }

node -e 'const [a,b]=process.versions.node.split(".").map(Number); if (a<20||(a===20&&b<19)) { console.error("peel needs Node 20.19 or newer, this is "+process.versions.node); process.exit(1) }'
bash scripts/system-packages.sh build mount image demo
npm run --silent build

home=${XDG_CACHE_HOME:-$HOME/.cache}/peel-demo
work=$(mktemp -d)
mkdir -p "$home"
finish() {
  [ -d "$work/mnt" ] && mountpoint -q "$work/mnt" && peel umount --lazy "$work/mnt"
  [ "$keep" = yes ] || bash scripts/registry.sh stop "$home/registry"
  rm -rf "$work"
}
trap finish EXIT

say "A real image of four layers, in a real registry"
bash scripts/make-image.sh "$home/layout" debian-python python3
bash scripts/registry.sh stop "$home/registry"
if [ "$keep" = yes ]; then
  registry=$(bash scripts/registry.sh start "$home/registry" 5000)
else
  registry=$(bash scripts/registry.sh start "$home/registry")
fi
skopeo copy -q --dest-tls-verify=false "oci:$home/layout:debian-python" "docker://$registry/debian-python:latest"
image=$registry/debian-python

# A cache of its own, so that the demo shows the first time, and stats of this run.
export PEEL_CACHE_DIR=$work/cache XDG_RUNTIME_DIR=$work/run
mkdir -m 700 "$XDG_RUNTIME_DIR"

say "Look into it"
show layers "$image"
show ls -l "$image" /usr/lib/python3
show cat "$image" /etc/os-release

say "Mount it"
mkdir "$work/mnt"
show mount "$image" "$work/mnt"
echo "\$ ls $work/mnt"
ls "$work/mnt"
echo "\$ $work/mnt/usr/bin/python3 --version"
"$work/mnt/usr/bin/python3" --version
echo "\$ chroot $work/mnt python3 -c 'print(6 * 7)'"
chroot "$work/mnt" /usr/bin/python3 -c 'print(6 * 7)'
show umount "$work/mnt"

say "What it cost"
show cache du
echo "image, compressed layers: $(du -sb "$home/layout/blobs" | cut -f1) bytes"

if [ "$keep" = yes ]; then
  say "The registry goes on: $image. To stop it: bash scripts/registry.sh stop $home/registry"
fi
