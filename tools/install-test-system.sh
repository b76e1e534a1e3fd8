#!/usr/bin/env bash
# Installs what the tests on a real Kubernetes need from Debian's packages. Run as root; doing it again changes nothing.
set -euo pipefail
packages=(containerd runc containernetworking-plugins buildah debootstrap iptables nftables conntrack socat
          prometheus docker-registry iproute2 gcc libc6-dev xz-utils make)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
if ((${#missing[@]})); then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi
# Debian starts services of some packages; the tests start their own.
for service in containerd prometheus prometheus-node-exporter docker-registry; do
  if command -v systemctl >/dev/null && systemctl is-active --quiet "$service" 2>/dev/null; then
    systemctl stop "$service"
  fi
done
