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
# What only agent/session may take beside aws-lc-rs, as that has no AEGIS, BLAKE2s and XChaCha20; see docs/architecture.md.
session_ciphers='aegis|blake2|chacha20poly1305'
# What would do once more what aws-lc-rs does.
second='ring|openssl|openssl-sys|native-tls|boring|rustls-rustcrypto|rsa|p256|p384|ed25519-dalek|x25519-dalek|curve25519-dalek|aes|aes-gcm|hmac|hkdf|sha1|sha2|sha3|blake3'
forbid tunmesh-packet ".+" "bytes only"
forbid tunmesh-protocol "$io|$session_ciphers|tunmesh-(mesh|core|sys|agent)" "the wire contract does no I/O, and its cryptography is aws-lc-rs"
forbid tunmesh-session "$io|$clock|nix|libc|rand|getrandom|tunmesh-.+" "handshakes and seals are told the time and given a seed"
forbid tunmesh-membership "$io|$clock|nix|libc|rand|getrandom|$session_ciphers|tunmesh-(packet|session|mesh|core|sys|agent|emulator)" "gossip is told the time and given a seed, and its cryptography is aws-lc-rs"
forbid tunmesh-mesh "$io|$clock|nix|libc|rand|getrandom|tunmesh-(session|membership|core|sys|agent|emulator)" "the v0 core has no clock, no socket, no randomness, and is told of members and sessions"
forbid tunmesh-core "$io|$clock|nix|libc|rand|getrandom|tunmesh-(sys|agent|emulator)" "the parts of a node are tied together without clock and socket"
forbid tunmesh-sys "tokio|axum|hyper|kube|rustls|tunmesh-.+" "the host is below everything"
forbid tunmesh-emulator "$io|tunmesh-(protocol|session|membership|mesh|core|agent)" "it measures the tunnel from outside: devices and packets only"
forbid tunmesh-agent "tunmesh-emulator|kube|kube-client|k8s-openapi" "the agent knows no cluster API, and the emulator is for tests"
forbid tunmesh-agent "$second" "aws-lc-rs does it"
forbid tunmesh-crds "tokio|axum|hyper|kube-client|kube-runtime|rustls|tunmesh-.+" "types of the cluster API only"
forbid tunmesh-e2e "openssl|openssl-sys|native-tls|ring|serde_yaml" "one TLS library"
[ "$status" -eq 0 ] && echo "forbidden dependencies: none"
exit "$status"
