#!/usr/bin/env bash
# Runs the tests with the addon built for the address and undefined-behaviour sanitizers.
#   scripts/sanitize.sh [FILES]          all tests, unless told; ends like `npm test`, and fails on any report
#   scripts/sanitize.sh --prove          plants one bug for each sanitizer and succeeds if the run fails of it
# Works on a copy of the checkout in build/sanitize. The tests run on a copy of node that has the sanitizer's library
# among its own, so that every process of a test is covered, whatever environment it is given.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/system-packages.sh sanitize

folder=$PWD/build/sanitize
copy=$folder/checkout
reports=$folder/reports
# Undefined behaviour traps, and the address sanitizer reports the trap: of the two libraries, side by side, only the
# first would write its reports to files.
flags=(-fsanitize=address,undefined -fsanitize-undefined-trap-on-error)
export CXXFLAGS="${flags[*]} -fno-omit-frame-pointer -g"
export LDFLAGS="${flags[*]} $folder/options.o"
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
# drop what a process says, or expect it to die. Signals are handled with a 2: node would take the handlers away.
make_node() {
  mkdir -p "$folder/bin"
  cat >"$folder/options.c" <<END
const char *__asan_default_options(void) {
  return "detect_leaks=0:abort_on_error=1:verify_asan_link_order=0:log_path=$reports/report"
         ":handle_sigill=2:handle_segv=2:handle_sigbus=2:handle_sigfpe=2";
}
END
  cc -c -fPIC "$folder/options.c" -o "$folder/options.o"
  cc -shared "$folder/options.o" -o "$folder/liboptions.so"
  cp --remove-destination "$(node -p process.execPath)" "$folder/bin/node"
  # The last that is added becomes the first: the options have to be found before the sanitizer's own empty ones.
  patchelf --add-needed "$(readlink -f "$(g++ -print-file-name=libasan.so)")" "$folder/bin/node"
  patchelf --add-needed "$folder/liboptions.so" "$folder/bin/node"
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

# A bug behind `mark`, a line of native/FILE, must fail `test` with a report that says `words`.
prove() { # file, mark, bug, words, test
  local failed=0
  refresh
  sed -i "s|^$2\$|&\n$3|" "$copy/native/$1"
  ! cmp -s "native/$1" "$copy/native/$1" || { echo "native/$1 has no line '$2'" >&2; return 1; }
  run_tests "$5" >"$folder/proof.log" 2>&1 || failed=$?
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
  prove decoder.cc 'Status Decoder::Run(Output\& output) {' \
    '  volatile uint8_t* gone = new uint8_t[1]; delete[] gone; *gone = 1;' \
    heap-use-after-free test/native/resume.test.ts
  prove fuse_ops.cc 'Answer Ops::Respond(const Request\& request, Output\& output) {' \
    '  volatile int most = 2147483647; most = most + 1;' \
    'ILL on unknown address' test/mount/cached-reads.test.ts
else
  refresh
  run_tests "$@"
fi
