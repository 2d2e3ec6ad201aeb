#!/usr/bin/env bash
# collect-code-server.sh NODE_PREFIX CODE_SERVER_PREFIX OUT_DIR: of what npm installed below the two prefixes, what runs: OUT_DIR/node/bin/node
# and OUT_DIR/code-server; OUT_DIR/bin/code-server starts it (it is at home in /opt/roost).
set -euo pipefail
node=$(readlink -f "$1/bin/node") modules=$2/lib/node_modules out=$3
rm -rf "$out"; mkdir -p "$out/node/bin" "$out/bin"
cp "$node" "$out/node/bin/node"
cp -a "$modules/code-server" "$out/code-server"
find "$out/code-server" -name '*.map' -type f -delete
cat >"$out/bin/code-server" <<'START'
#!/bin/sh
exec /opt/roost/node/bin/node /opt/roost/code-server/out/node/entry.js "$@"
START
chmod 755 "$out/bin/code-server"
