#!/usr/bin/env bash
# The dependency rule of docs/architecture.md: what a crate must not depend on, however indirectly.
set -euo pipefail
cd "$(dirname "$0")/.."

status=0
forbid() { # crate, pattern, reason
  local tree found
  tree=$(cargo tree --locked -p "$1" -e normal --prefix none)
  found=$(tail -n +2 <<<"$tree" | awk '{print $1}' | grep -E "^($2)\$" | sort -u || true)
  if [ -n "$found" ]; then
    echo "forbidden: $1 depends on $(echo $found): $3" >&2
    status=1
  fi
}
io='tokio|axum|hyper|kube|kube-client|rustls|reqwest|async-std|smol|mio|socket2|quinn-udp'
clock='chrono|time|jiff|coarsetime|quanta'
forbid tunmesh-packet ".+" "bytes only"
forbid tunmesh-protocol "$io|tunmesh-(mesh|core|sys|agent)" "the wire contract does no I/O"
forbid tunmesh-session "$io|$clock|nix|libc|rand|getrandom|tunmesh-.+" "handshakes and seals are told the time and given a seed"
forbid tunmesh-membership "$io|$clock|nix|libc|rand|getrandom|tunmesh-(packet|session|mesh|core|sys|agent|emulator)" "gossip is told the time and given a seed"
forbid tunmesh-mesh "$io|$clock|nix|libc|rand|getrandom|tunmesh-(session|membership|core|sys|agent|emulator)" "the v0 core has no clock, no socket, no randomness, and is told of members and sessions"
# It seals with what the sessions and the records bring, ring and aws-lc-rs among them.
forbid tunmesh-core "$io|$clock|nix|rand|tunmesh-(sys|agent|emulator)" "the parts of a node are tied together without clock and socket"
forbid tunmesh-sys "tokio|axum|hyper|kube|rustls|tunmesh-.+" "the host is below everything"
forbid tunmesh-emulator "$io|tunmesh-(protocol|session|membership|mesh|core|agent)" "it measures the tunnel from outside: devices and packets only"
forbid tunmesh-agent "tunmesh-emulator|kube|kube-client|k8s-openapi|openssl|openssl-sys" "the agent knows no cluster API, and the emulator is for tests"
[ "$status" -eq 0 ] && echo "forbidden dependencies: none"
exit "$status"
