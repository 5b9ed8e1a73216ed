#!/usr/bin/env bash
# Fuzzes the native readers of hostile bytes with libFuzzer, under the address and undefined-behaviour sanitizers.
#   scripts/fuzz.sh [TARGET [SECONDS]]      all targets, 60 seconds each, unless told; clang comes with
#                                           scripts/system-packages.sh fuzz
# What is found is kept in build/fuzz/TARGET/corpus; an input that breaks something is left in build/fuzz/TARGET.
set -euo pipefail
cd "$(dirname "$0")/.."

# target: sources below native/
declare -A SOURCES=(
  [fuse_decode]='fuzz/fuse_decode_fuzz.cc fuse_decode.cc fuse_device.cc fuse_init.cc fuse_ops.cc open_files.cc tree_view.cc tree_validator.cc'
  [inflater]='fuzz/inflater_fuzz.cc inflater.cc huffman.cc'
  [scanner]='fuzz/scanner_fuzz.cc scanner.cc member_checksums.cc index_builder.cc lane.cc sha256.cc sha256_pair.cc tar_digests.cc tar_framer.cc tar_header.cc decoder.cc gzip_stream.cc gzip_header.cc inflater.cc huffman.cc zstd_stream.cc library_stream.cc xz_stream.cc bzip2_stream.cc plain_stream.cc window.cc'
  [span_decoder]='fuzz/span_decoder_fuzz.cc decoder.cc gzip_stream.cc gzip_header.cc inflater.cc huffman.cc zstd_stream.cc library_stream.cc xz_stream.cc bzip2_stream.cc plain_stream.cc window.cc'
  [tar_digests]='fuzz/tar_digests_fuzz.cc tar_digests.cc sha256_pair.cc sha256.cc lane.cc'
  [tree_view]='fuzz/tree_view_fuzz.cc fuzz/walk_tree.cc tree_view.cc tree_validator.cc'
)
# target: libraries
declare -A LIBRARIES=(
  [inflater]='-lz'
  [scanner]='-lz -l:libzstd.a -l:liblzma.a -lcrypto -pthread'
  [span_decoder]='-lz -l:libzstd.a -l:liblzma.a'
  [tar_digests]='-lcrypto -pthread'
)
CXX=${FUZZ_CXX:-clang++-14}

seed() { # target: inputs to begin with, in $2
  node_modules/.bin/tsc -p tsconfig.build.json --outDir build/fuzz/dist
  case $1 in
    fuse_decode)
      node scripts/fuzz-trees.mjs build/fuzz/dist "$2.trees"
      export FUZZ_TREE=$2.trees/everything
      node scripts/fuzz-requests.mjs "$2"
      ;;
    inflater)
      node scripts/fuzz-deflate.mjs "$2"
      ;;
    scanner)
      node scripts/fuzz-layers.mjs "$2"
      ;;
    span_decoder)
      node scripts/fuzz-spans.mjs "$2"
      ;;
    tree_view)
      node scripts/fuzz-trees.mjs build/fuzz/dist "$2"
      ;;
  esac
}

fuzz() { # target, seconds
  local folder=build/fuzz/$1
  local sources=()
  local libraries
  read -ra libraries <<<"${LIBRARIES[$1]:-}"
  for source in ${SOURCES[$1]:?unknown target $1}; do sources+=("native/$source"); done
  mkdir -p "$folder/corpus" "$folder/seeds"
  seed "$1" "$folder/seeds"
  "$CXX" -std=c++17 -O1 -g -Inative -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
    "${sources[@]}" -o "$folder/fuzz" "${libraries[@]}"
  echo "$1: $2 seconds" >&2
  "$folder/fuzz" -max_total_time="$2" -max_len=8192 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 -verbosity=0 \
    -artifact_prefix="$folder/" "$folder/corpus" "$folder/seeds"
}

command -v "$CXX" >/dev/null || { echo "no $CXX: scripts/system-packages.sh fuzz" >&2; exit 1; }
if [ $# -gt 0 ]; then
  fuzz "$1" "${2:-60}"
else
  for target in "${!SOURCES[@]}"; do fuzz "$target" 60; done
fi
