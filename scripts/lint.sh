#!/usr/bin/env bash
# Every check that needs no root and no network beyond the crates of Cargo.lock.
set -euo pipefail
cd "$(dirname "$0")/.."

deny_version=0.20.2
if ! cargo deny --version 2>/dev/null | grep -qF "$deny_version"; then
  cargo install --quiet --locked --version "$deny_version" cargo-deny
fi

cargo fmt --all -- --check
cargo clippy --workspace --all-targets --locked -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked --quiet
cargo deny --log-level error check bans licenses sources
cargo deny --log-level error check advisories || echo "lint: advisories above are reported, they do not fail the build" >&2
scripts/forbidden.sh
echo "lint: all clean"
