#!/usr/bin/env bash
# Installs what tests and benchmarks call from outside the workspace, if it is missing. Debian and Ubuntu only; elsewhere it names what is missing.
set -euo pipefail

declare -A package=([ip]=iproute2 [iperf3]=iperf3 [nft]=nftables [openssl]=openssl [ping]=iputils-ping [python3]=python3 [wg]=wireguard-tools [wireguard-go]=wireguard-go)
PATH=$PATH:/usr/sbin:/sbin
missing=()
for tool in "${!package[@]}"; do
  command -v "$tool" >/dev/null || missing+=("${package[$tool]}")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
  echo "setup: please install: ${missing[*]}" >&2
  exit 1
fi
echo "setup: installing ${missing[*]}"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
