#!/usr/bin/env bash
# Builds the image of the repository's Dockerfile with buildah, and starts it with podman: its version, and the
# snapshotter, which has to listen and to end in order. Needs no registry of images: the base is made by debootstrap,
# with this machine's Node. As root.
#   scripts/container-image.sh [ARCHIVE]     ARCHIVE: where the image is left, for `ctr images import`
set -euo pipefail
cd "$(dirname "$0")/.."
archive=${1:+$(realpath -m "$1")}
[ "$(id -u)" = 0 ] || { echo "container-image: needs root (debootstrap, mounts)" >&2; exit 1; }
bash scripts/system-packages.sh container-image

work=$(mktemp -d)
export CONTAINERS_CONF=$work/containers.conf CONTAINERS_STORAGE_CONF=$work/storage.conf BUILDAH_ISOLATION=chroot
step() { echo "container-image: $*" >&2; }
run() { "$@" >>"$work/log" 2>&1 || { tail -n 30 "$work/log" >&2; return 1; }; }
finish() {
  podman rm -f -t 20 "$name" >/dev/null 2>&1 || true
  grep -o " $work/[^ ]*" /proc/self/mountinfo | sort -ur | xargs -r umount -l || true
  rm -rf "$work"
}
name=peel-image-$$
trap finish EXIT

cat >"$CONTAINERS_STORAGE_CONF" <<Y
[storage]
driver = "overlay"
graphroot = "$work/storage"
runroot = "$work/run"
Y
cat >"$CONTAINERS_CONF" <<Y
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
tmp_dir = "$work/tmp"
Y

step "a base: Debian, and this machine's Node"
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 '/debian/\?$')
include=ca-certificates,g++,make,python3,libzstd-dev,liblzma-dev,libbz2-dev
run debootstrap --variant=minbase --include="$include" bookworm "$work/base" "$mirror"
node=$(dirname "$(dirname "$(readlink -f "$(command -v node)")")")
mkdir -p "$work/base/usr/include" "$work/base/usr/lib/node_modules"
cp -a "$node/bin/node" "$work/base/usr/bin/node"
cp -a "$node/include/node" "$work/base/usr/include/"
cp -a "$node/lib/node_modules/npm" "$work/base/usr/lib/node_modules/"
ln -sf ../lib/node_modules/npm/bin/npm-cli.js "$work/base/usr/bin/npm"
base=$(buildah from scratch)
run buildah add "$base" "$work/base" /
run buildah commit --rm "$base" localhost/peel-base
rm -rf --one-file-system "$work/base"

step "the image"
# As this machine's npm reaches its registry.
npmrc=()
for file in "$HOME/.npmrc" "$(npm config get globalconfig)"; do
  [ -f "$file" ] && npmrc+=(--volume "$file:$file:ro")
done
run buildah build --network host --build-arg BUILD=localhost/peel-base --build-arg BASE=localhost/peel-base \
  "${npmrc[@]}" --volume /etc/ssl/certs:/etc/ssl/certs:ro --ignorefile .containerignore --tag localhost/peel:check .

step "started: its version"
podman run --rm --network none localhost/peel:check --version

step "started: the snapshotter"
mkdir -m 755 "$work/peel" "$work/socket"
mount --bind "$work/peel" "$work/peel"
mount --make-rshared "$work/peel"
podman run -d --name "$name" --network host --privileged -v "$work/socket:/run/peel" \
  -v "$work/peel:$work/peel:rshared" localhost/peel:check snapshotter \
  --root "$work/peel/snapshotter" --cache-dir "$work/peel/cache" >/dev/null
for _ in $(seq 100); do
  [ -S "$work/socket/snapshotter.sock" ] && break
  sleep 0.1
done
[ -S "$work/socket/snapshotter.sock" ] || { podman logs "$name" >&2; exit 1; }
podman stop -t 20 "$name" >/dev/null
[ "$(podman wait "$name")" = 0 ] || { podman logs "$name" >&2; exit 1; }

if [ -n "$archive" ]; then
  run buildah push localhost/peel:check "oci-archive:$archive:peel:check"
  step "written to $archive"
fi
step "ok"
