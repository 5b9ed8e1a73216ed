#!/usr/bin/env bash
# Runs the tests with the addon built for the address and undefined-behaviour sanitizers.
#   scripts/sanitize.sh [FILES]          all tests, unless told; ends like `npm test`, and fails on any report
#   scripts/sanitize.sh --prove          plants one bug for each sanitizer and succeeds if the run fails of it
# Works on a copy of the checkout in build/sanitize. The tests run on a copy of node that has the sanitizers' libraries
# among its own, so that every process of a test is covered, whatever environment it is given.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/system-packages.sh sanitize

folder=$PWD/build/sanitize
copy=$folder/checkout
reports=$folder/reports
readonly FLAGS=-fsanitize=address,undefined
export CXXFLAGS="$FLAGS -fno-sanitize-recover=all -fno-omit-frame-pointer -g"
export LDFLAGS="$FLAGS $folder/options.o"
[ -n "${PEEL_TEST_IMAGES:-}" ] || [ ! -d ../shared/images ] || export PEEL_TEST_IMAGES="$PWD/../shared/images"

refresh() { # the copy, with sources as they are now; what did not change keeps its time
  mkdir -p "$copy"
  rm -rf "$copy"/{src,test,native,scripts}
  git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
    [ ! -e "$file" ] || printf '%s\0' "$file"
  done | xargs -0 cp --parents -p -t "$copy"
  ln -sfn "$PWD/node_modules" "$copy/node_modules"
}

# Leaks are not looked for: V8 leaves much to the end of the process. Reports go to files, since a test may well
# drop what a process says, or expect it to die. libubsan has to be told so by hand: the name by which it would set the
# path is libasan's as well, and the dynamic linker takes the first.
make_node() {
  mkdir -p "$folder/bin"
  cat >"$folder/options.c" <<END
#include <dlfcn.h>
#include <stddef.h>
const char *__asan_default_options(void) {
  return "detect_leaks=0:abort_on_error=1:verify_asan_link_order=0:log_path=$reports/address";
}
const char *__ubsan_default_options(void) { return "print_stacktrace=1"; }
__attribute__((constructor)) static void tell_ubsan(void) {
  void *library = dlopen("libubsan.so.1", RTLD_LAZY | RTLD_NOLOAD);
  void (*set)(const char *) = NULL;
  if (library != NULL) set = (void (*)(const char *))dlsym(library, "__sanitizer_set_report_path");
  if (set != NULL) set("$reports/undefined");
}
END
  cc -c -fPIC "$folder/options.c" -o "$folder/options.o"
  cc -shared "$folder/options.o" -o "$folder/liboptions.so"
  cp --remove-destination "$(node -p process.execPath)" "$folder/bin/node"
  # The last that is added becomes the first: the options have to be found before the sanitizers' own empty ones.
  local library
  for library in "$(g++ -print-file-name=libubsan.so)" "$(g++ -print-file-name=libasan.so)" "$folder/liboptions.so"; do
    patchelf --add-needed "$(readlink -f "$library")" "$folder/bin/node"
  done
}

run_tests() {
  local status=0
  rm -rf "$reports"
  mkdir -m 1777 "$reports"
  # By the plain node, beside which its headers are.
  (cd "$copy" && node scripts/build-native.mjs)
  (cd "$copy" && PATH=$folder/bin:$PATH node scripts/test.mjs "$@") || status=$?
  for report in "$reports"/*; do
    [ -e "$report" ] || continue
    status=1
    cat "$report"
  done
  return "$status"
}

# A bug as the first statement of `function` in native/FILE must fail `test` with a report that says `words`.
prove() { # file, function, bug, words, test
  local failed=0 scratch
  refresh
  # Where it begins: the one line that starts so and opens the body, whatever the parameters are.
  awk -v start="$2(" -v bug="$3" '{ print } index($0, start) == 1 && /\{$/ { print bug; found++ }
    END { exit found != 1 }' "native/$1" >"$copy/native/$1" || {
    echo "scripts/sanitize.sh --prove: native/$1 must have one line that starts with '$2(' and ends with '{';" \
      "if the function has another name now, say it in the call of prove" >&2
    return 1
  }
  # What a test leaves behind that loses its server goes with the folder.
  scratch=$(mktemp -d)
  chmod 755 "$scratch"
  TMPDIR=$scratch run_tests "$5" >"$folder/proof.log" 2>&1 || failed=$?
  rm -rf --one-file-system "$scratch"
  # The sources come back with the time they had: make would keep the bug.
  rm -f "$copy/build/Release/obj.target/peel/native/${1%.cc}.o"
  if [ "$failed" = 0 ] || ! grep -q "$4" "$reports"/* 2>/dev/null; then
    echo "a planted bug in native/$1 went unseen: $folder/proof.log" >&2
    return 1
  fi
  echo "seen: $(grep -h -m 1 "$4" "$reports"/* | head -n 1)"
}

make_node
if [ "${1:-}" = --prove ]; then
  # The second is in a process that a test starts with an environment of its own.
  prove decoder.cc 'Status Decoder::Run' \
    '  volatile uint8_t* gone = new uint8_t[1]; delete[] gone; *gone = 1;' \
    heap-use-after-free test/native/resume.test.ts
  prove fuse_ops.cc 'Answer Ops::Respond' \
    '  volatile int most = 2147483647; most = most + 1;' \
    'signed integer overflow' test/mount/cached-reads.test.ts
else
  refresh
  run_tests "$@"
fi
