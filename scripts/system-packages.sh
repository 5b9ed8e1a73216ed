#!/usr/bin/env bash
# Installs the Debian packages that a task needs, and only those whose command or file is missing.
#   scripts/system-packages.sh build|mount|test|check|fuzz|sanitize|demo|bench|stargz|snapshotter|image|container-image ...
# As another user than root, or without apt, it says what to install and fails.
set -euo pipefail

# task: package=path or command that proves it
declare -A NEEDS=(
  [build]='python3=python3 make=make g++=g++ libzstd-dev=/usr/include/zstd.h liblzma-dev=/usr/include/lzma.h libbz2-dev=/usr/include/bzlib.h'
  [mount]='fuse3=fusermount3 libfuse2=libfuse.so.2'
  [test]='docker-registry=docker-registry apache2-utils=htpasswd openssl=openssl skopeo=skopeo umoci=umoci pigz=pigz zstd=zstd xz-utils=xz bzip2=bzip2 tabix=bgzip attr=getfattr util-linux=unshare strace=strace golang-go=go containerd=containerd runc=runc crun=crun podman=podman uidmap=newuidmap busybox-static=busybox stargz-snapshotter=ctr-remote libarchive-tools=bsdtar python3=python3 python3-yaml=/usr/lib/python3/dist-packages/yaml'
  [check]='clang-format=clang-format'
  [fuzz]='libssl-dev=/usr/include/openssl/evp.h zlib1g-dev=/usr/include/zlib.h libzstd-dev=/usr/include/zstd.h liblzma-dev=/usr/include/lzma.h libbz2-dev=/usr/include/bzlib.h zstd=zstd xz-utils=xz bzip2=bzip2 clang-14=clang++-14 libclang-rt-14-dev=/usr/lib/llvm-14/lib/clang/14.0.6/lib/linux'
  [sanitize]='g++=g++ patchelf=patchelf'
  [demo]='curl=curl'
  [bench]='gcc=cc attr=setfattr util-linux=findmnt runc=runc'
  [stargz]='containerd=containerd stargz-snapshotter=ctr-remote golang-go=go golang-github-containerd-stargz-snapshotter-dev=/usr/share/gocode/src/github.com/containerd/stargz-snapshotter/fs/fs.go'
  [snapshotter]='golang-go=go golang-github-containerd-containerd-dev=/usr/share/gocode/src/github.com/containerd/containerd/snapshots/testsuite/testsuite.go'
  [container-image]='debootstrap=debootstrap buildah=buildah podman=podman runc=runc'
  [image]='debootstrap=debootstrap docker-registry=docker-registry skopeo=skopeo umoci=umoci'
)

present() { # command, absolute path, or shared library
  case $1 in
    /*) [ -e "$1" ] ;;
    *.so.*) PATH=$PATH:/sbin:/usr/sbin ldconfig -p | grep -q "$1" ;;
    *) PATH=$PATH:/sbin:/usr/sbin command -v "$1" >/dev/null ;;
  esac
}

missing=()
for task in "$@"; do
  for need in ${NEEDS[$task]:?unknown task $task}; do
    present "${need#*=}" || missing+=("${need%%=*}")
  done
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "missing: ${missing[*]}. On Debian or Ubuntu: sudo apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 1
fi
echo "installing: ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -q >/dev/null
# Not started as a service: the tests start their own registry.
apt-get install -q -y --no-install-recommends -o Dpkg::Options::=--force-confold "${missing[@]}" >/dev/null
