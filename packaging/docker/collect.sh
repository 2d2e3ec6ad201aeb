#!/usr/bin/env bash
# collect.sh BUILD_DIR OUT_DIR: of a build, what the images hold.
set -euo pipefail
build=$(cd "${1:?usage: collect.sh BUILD_DIR OUT_DIR}" && pwd) out=${2:?usage: collect.sh BUILD_DIR OUT_DIR}
rm -rf "$out"; mkdir -p "$out/bin" "$out/plugins"
# Their symbols are only of use to a debugger. The plugins stay as they are: their manifests hold their SHA-256.
for program in roostd roost-agent roostctl; do strip --strip-debug -o "$out/bin/$program" "$build/bin/$program"; done
for plugin in store-sqlite store-redis compute-kubernetes compute-process backup-directory backup-s3; do
  cp "$build/lib/roost/plugins/$plugin".{so,roost.json} "$out/plugins/"
done
# What the init container copies to /roost/bin; a build with a sanitizer has none.
[ -d "$build/agent-bundle" ] || { echo "collect.sh: $build/agent-bundle is missing: build the release preset" >&2; exit 2; }
cp -a "$build/agent-bundle" "$out/agent-bundle"
