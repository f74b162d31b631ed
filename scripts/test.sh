#!/usr/bin/env bash
# Runs every test of the workspace and a short round of every fuzz target, and closes with the count of the tests. Tests of
# namespaces and devices need root, those of the cluster API an API server, and say so.
set -uo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin

# Built from Go modules the first time, a few minutes; then they are in the cache.
python3 e2e/cluster/tools.py etcd kube-apiserver >/dev/null || exit 1

log=$(mktemp)
trap 'rm -f "$log"' EXIT
cargo test --workspace --locked --no-fail-fast "$@" 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
if ! FUZZ_SECONDS="${FUZZ_SECONDS:-3}" scripts/fuzz.sh; then
  status=1
fi

read -r passed failed ignored < <(awk '/^test result:/ {p += $4; f += $6; i += $8} END {print p + 0, f + 0, i + 0}' "$log")
echo
if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then
  echo "the tests did not run to their end (exit status $status)" >&2
fi
echo "$passed passed, $failed failed, $ignored skipped"
[ "$passed" -gt 0 ] || status=1
exit "$status"
