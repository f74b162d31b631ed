#!/usr/bin/env bash
# The dependency rule of docs/architecture.md: what a crate must not depend on, however indirectly.
set -euo pipefail
cd "$(dirname "$0")/.."

status=0
forbid() { # crate, pattern, reason
  local found
  found=$(cargo tree --locked -p "$1" -e normal --prefix none | tail -n +2 | awk '{print $1}' | grep -E "^($2)\$" | sort -u || true)
  if [ -n "$found" ]; then
    echo "forbidden: $1 depends on $(echo $found): $3" >&2
    status=1
  fi
}
io='tokio|axum|hyper|kube|kube-client|rustls|reqwest|async-std|smol'
forbid tunmesh-packet ".+" "bytes only"
forbid tunmesh-protocol "$io|tunmesh-(mesh|sys|agent)" "the wire contract does no I/O"
forbid tunmesh-mesh "$io|nix|libc|rand|tunmesh-(sys|agent)" "the core has no clock, no socket, no randomness"
forbid tunmesh-sys "tokio|axum|hyper|kube|rustls|tunmesh-(protocol|mesh|agent)" "the host is below everything"
forbid tunmesh-agent "kube|kube-client|k8s-openapi|openssl|openssl-sys|ring" "the agent knows no cluster API, and one cryptographic library is enough"
[ "$status" -eq 0 ] && echo "forbidden dependencies: none"
exit "$status"
