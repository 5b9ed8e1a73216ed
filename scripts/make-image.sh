#!/usr/bin/env bash
# Builds a real multi-layer image from Debian packages as an OCI layout, with umoci (Go's gzip).
#   scripts/make-image.sh LAYOUT TAG ['PACKAGE...'...]
# Layers: a debootstrap base; one layer for every argument, which names the packages in it; an application layer
# that adds, replaces and deletes files, so that whiteouts and type changes are in it, and one that changes it again.
# Does nothing where LAYOUT already holds TAG; TAG appears when the image is whole. Needs root (chroot, mknod).
set -euo pipefail
layout=${1:?layout folder} tag=${2:?tag}
shift 2
part=$tag.part
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
commit() { run umoci repack --refresh-bundle --image "$layout:$part" "$bundle"; }

[ -f "$layout/index.json" ] || run umoci init --layout "$layout"
# What an interrupted run left.
if umoci ls --layout "$layout" | grep -qx "$part"; then run umoci rm --image "$layout:$part"; fi
run umoci new --image "$layout:$part"
run umoci unpack --image "$layout:$part" "$bundle"

step "layer 1: Debian base (debootstrap)"
run debootstrap --variant=minbase "$suite" "$root" "$mirror"
clean
commit

number=1
for packages in "$@"; do
  number=$((number + 1))
  step "layer $number: $packages"
  # shellcheck disable=SC2086 # one argument names several packages
  run env DEBIAN_FRONTEND=noninteractive chroot "$root" sh -ec 'apt-get -qq update; apt-get -y -qq --no-install-recommends install "$@"' sh $packages
  clean
  commit
done

step "layer $((number + 1)): an application, with whiteouts and type changes"
rm -rf "$root/usr/share/doc" "$root/usr/share/man" "$root/etc/motd"
mkdir -p "$root/app/conf"
for i in $(seq 200); do echo "file $i" >"$root/app/f$i"; done
echo one >"$root/app/conf/a"
echo two >"$root/app/data"
commit

step "layer $((number + 2)): the application changes"
rm -rf "$root/app/conf" "$root/app/data" "$root"/app/f1?
echo 'now a file' >"$root/app/conf"
mkdir "$root/app/data"
echo inside >"$root/app/data/x"
ln "$root/app/f1" "$root/app/hard-link-of-f1"
commit
run umoci config --image "$layout:$part" --config.cmd /bin/bash --config.env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
run umoci tag --image "$layout:$part" "$tag"
run umoci rm --image "$layout:$part"
