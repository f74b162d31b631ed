#!/usr/bin/env bash
# Fuzzes every parser that reads the network or a file, FUZZ_SECONDS each (default 60), starting from the committed corpus.
# Works on the stable toolchain: coverage comes from LLVM's sanitizer-coverage pass, the engine from libfuzzer-sys.
set -euo pipefail
cd "$(dirname "$0")/../agent/fuzz"

export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks"
build=${CARGO_TARGET_DIR:-target}
target=$(rustc -vV | sed -n 's/^host: //p')
cargo build --quiet --release --locked --target "$target" --bins

failed=0 count=0
for binary in $(sed -n 's/^path = "fuzz_targets\/\(.*\)\.rs"/\1/p' Cargo.toml); do
  mkdir -p "$build/corpus/$binary" "artifacts/$binary" "corpus/$binary"
  log=$(mktemp)
  if "$build/$target/release/$binary" -max_total_time="${FUZZ_SECONDS:-60}" -max_len=65536 -timeout=10 -rss_limit_mb=2048 \
    -artifact_prefix="artifacts/$binary/" "$build/corpus/$binary" "corpus/$binary" >"$log" 2>&1; then
    echo "fuzz: $binary: $(grep -oE 'Done [0-9]+ runs' "$log" || echo 'ended'), no finding"
    count=$((count + 1))
  else
    echo "fuzz: $binary failed:" >&2
    tail -30 "$log" >&2
    failed=$((failed + 1))
  fi
  rm -f "$log"
done
echo "fuzz: $count targets without a finding, $failed with one"
[ "$failed" -eq 0 ]
