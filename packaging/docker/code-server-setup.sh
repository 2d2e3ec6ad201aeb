#!/bin/bash
# The step of code-server.Dockerfile: npm builds some of code-server's parts, for which it wants a compiler.
set -euo pipefail
: "${CODE_SERVER_VERSION:?}" "${NODE_VERSION:?}"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ca-certificates g++ git libkrb5-dev libsecret-1-dev libx11-dev \
  libxkbfile-dev make npm pkg-config python3 >/dev/null
# Where the base image trusts an authority of your own, Node.js does too.
export NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
npm install -g --no-fund --no-audit --prefix /tmp/node "node@$NODE_VERSION"
PATH=/tmp/node/bin:$PATH npm install -g --no-fund --no-audit --prefix /tmp/code-server "code-server@$CODE_SERVER_VERSION" --allow-scripts=code-server,argon2
/tmp/collect-code-server.sh /tmp/node /tmp/code-server /out
/out/node/bin/node /out/code-server/out/node/entry.js --version
