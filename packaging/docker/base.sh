#!/usr/bin/env bash
# A base image without a registry: base.sh OUT.tar [SUITE] [MIRROR] makes a small root file system with debootstrap (root).
#   base.sh debian.tar                                              Debian 12
#   base.sh ubuntu.tar noble MIRROR                                 Ubuntu 24.04, from a mirror of it
# Without MIRROR: debootstrap's own.
set -euo pipefail
out=$(readlink -f "${1:?usage: base.sh OUT.tar [SUITE] [MIRROR]}") suite=${2:-bookworm} mirror=${3:-}
[ "$(id -u)" = 0 ] || { echo "base.sh: debootstrap needs root" >&2; exit 2; }
command -v debootstrap >/dev/null || { echo "base.sh: debootstrap is not installed (apt-get install debootstrap)" >&2; exit 2; }
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
components=main
case $mirror in *ubuntu*) components=main,universe ;; esac # npm is in universe there
debootstrap --variant=minbase --components="$components" "$suite" "$root" ${mirror:+"$mirror"} >"$root.log" 2>&1 || { tail -20 "$root.log" >&2; exit 1; }
rm -f "$root.log"
# What Docker's slim images leave out: packages that come later leave it out as well.
mkdir -p "$root/etc/dpkg/dpkg.cfg.d"
cat >"$root/etc/dpkg/dpkg.cfg.d/slim" <<'SLIM'
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/man/*
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
SLIM
find "$root/usr/share/doc" -type f ! -name copyright -delete
rm -rf "$root"/usr/share/{man,info,locale}/* "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/*.log
tar -C "$root" -cf "$out" .
