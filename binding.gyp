{
  "targets": [
    {
      "target_name": "peel",
      "sources": [
        "native/addon.cc",
        "native/bzip2_stream.cc",
        "native/decoder.cc",
        "native/decoder_binding.cc",
        "native/fuse_binding.cc",
        "native/fuse_decode.cc",
        "native/fuse_device.cc",
        "native/fuse_init.cc",
        "native/fuse_mount.cc",
        "native/fuse_ops.cc",
        "native/fuse_parked.cc",
        "native/fuse_session.cc",
        "native/fuse_thread.cc",
        "native/fuse_watchdog.cc",
        "native/gzip_header.cc",
        "native/gzip_stream.cc",
        "native/huffman.cc",
        "native/index_builder.cc",
        "native/inflater.cc",
        "native/lane.cc",
        "native/library_stream.cc",
        "native/napi_helpers.cc",
        "native/plain_stream.cc",
        "native/scanner.cc",
        "native/scanner_binding.cc",
        "native/sha256.cc",
        "native/span_files.cc",
        "native/syscalls_binding.cc",
        "native/tar_framer.cc",
        "native/tar_header.cc",
        "native/tree_binding.cc",
        "native/tree_seal.cc",
        "native/tree_validator.cc",
        "native/tree_view.cc",
        "native/window.cc",
        "native/xz_stream.cc",
        "native/zstd_stream.cc"
      ],
      "cflags_cc!": ["-fno-exceptions", "-std=gnu++17", "-std=gnu++20", "-O3"],
      "cflags": ["-fvisibility=hidden"],
      "cflags_cc": ["-std=c++17", "-O2", "-fexceptions", "-Wall", "-Wextra", "-Werror"],
      "ldflags": ["-Wl,--exclude-libs,ALL", "-Wl,-Bsymbolic", "-Wl,-z,relro,-z,now"],
      "libraries": ["-l:libzstd.a", "-l:liblzma.a"]
    },
    {
      "target_name": "peel-watchdog",
      "type": "executable",
      "sources": ["native/watchdog.cc"],
      "cflags_cc!": ["-std=gnu++17", "-std=gnu++20", "-O3"],
      "cflags_cc": ["-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror"],
      "ldflags": ["-static-libgcc", "-static-libstdc++", "-Wl,-z,relro,-z,now"]
    }
  ]
}
