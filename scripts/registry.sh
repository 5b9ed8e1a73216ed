#!/usr/bin/env bash
# Debian's docker-registry on loopback with a storage folder of its own, for the demo and the benchmarks.
#   scripts/registry.sh start FOLDER [PORT]    prints host:port; the process id is in FOLDER/pid
#   scripts/registry.sh stop FOLDER
set -euo pipefail
action=${1:?start or stop} folder=$(realpath -m "${2:?folder}")

free_port() {
  node -e 'const s=require("net").createServer().listen(0,"127.0.0.1",()=>{console.log(s.address().port);s.close()})'
}

case $action in
  start)
    port=${3:-$(free_port)}
    mkdir -p "$folder/data"
    cat >"$folder/config.yml" <<Y
version: 0.1
log: {level: info, accesslog: {disabled: false}}
storage:
  filesystem: {rootdirectory: $folder/data}
http: {addr: "127.0.0.1:$port"}
Y
    setsid docker-registry serve "$folder/config.yml" >>"$folder/log" 2>&1 </dev/null &
    echo $! >"$folder/pid"
    for _ in $(seq 100); do
      if curl -sf -o /dev/null "http://127.0.0.1:$port/v2/"; then
        echo "127.0.0.1:$port"
        exit 0
      fi
      kill -0 "$(cat "$folder/pid")" 2>/dev/null || break
      sleep 0.1
    done
    echo "docker-registry did not start on port $port:" >&2
    tail -n 3 "$folder/log" >&2
    exit 1
    ;;
  stop)
    [ -s "$folder/pid" ] || exit 0
    pid=$(cat "$folder/pid")
    # After a crash or a restart of the machine, the number may belong to somebody else.
    if grep -qzxF "$folder/config.yml" "/proc/$pid/cmdline" 2>/dev/null; then
      kill "$pid" 2>/dev/null || true
      for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    fi
    rm -f "$folder/pid"
    ;;
esac
