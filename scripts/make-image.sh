#!/usr/bin/env bash
# Builds a real multi-layer image from Debian packages as an OCI layout, with umoci (Go's gzip).
#   scripts/make-image.sh LAYOUT TAG [PACKAGE...]
# Layers: a debootstrap base; the packages; an application layer that adds, replaces and deletes files, so that
# whiteouts and type changes are in it. Does nothing where LAYOUT already holds TAG. Needs root (chroot, mknod).
set -euo pipefail
layout=${1:?layout folder} tag=${2:?tag}
shift 2
suite=bookworm

if [ -f "$layout/index.json" ] && umoci ls --layout "$layout" | grep -qx "$tag"; then exit 0; fi
[ "$(id -u)" = 0 ] || { echo "make-image: needs root (debootstrap makes device nodes)" >&2; exit 1; }

# Where this machine's own apt gets its packages from.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 '/debian/\?$')

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bundle=$work/bundle root=$work/bundle/rootfs log=$work/log
step() { echo "make-image: $*" >&2; }
run() { "$@" >>"$log" 2>&1 || { tail -n 20 "$log" >&2; return 1; }; }
clean() { rm -rf "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/var/log/*.log; }
commit() { run umoci repack --refresh-bundle --image "$layout:$tag" "$bundle"; }

[ -f "$layout/index.json" ] || run umoci init --layout "$layout"
run umoci new --image "$layout:$tag"
run umoci unpack --image "$layout:$tag" "$bundle"

step "layer 1: Debian base (debootstrap)"
run debootstrap --variant=minbase "$suite" "$root" "$mirror"
clean
commit

if [ $# -gt 0 ]; then
  step "layer 2: $*"
  run env DEBIAN_FRONTEND=noninteractive chroot "$root" sh -ec 'apt-get -qq update; apt-get -y -qq --no-install-recommends install "$@"' sh "$@"
  clean
  commit
fi

step "layer 3: an application, with whiteouts and type changes"
rm -rf "$root/usr/share/doc" "$root/usr/share/man" "$root/etc/motd"
mkdir -p "$root/app/conf"
for i in $(seq 200); do echo "file $i" >"$root/app/f$i"; done
echo one >"$root/app/conf/a"
echo two >"$root/app/data"
commit

step "layer 4: the application changes"
rm -rf "$root/app/conf" "$root/app/data" "$root"/app/f1?
echo 'now a file' >"$root/app/conf"
mkdir "$root/app/data"
echo inside >"$root/app/data/x"
ln "$root/app/f1" "$root/app/hard-link-of-f1"
commit
run umoci config --image "$layout:$tag" --config.cmd /bin/bash --config.env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
