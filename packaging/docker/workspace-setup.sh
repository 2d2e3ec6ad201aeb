#!/bin/bash
# The step of workspace.Dockerfile: tools, and the user with uid 1000 (Ubuntu's image has one by another name).
set -euo pipefail
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ca-certificates curl git less libgssapi-krb5-2 libsecret-1-0 \
  nano openssh-client procps python3 >/dev/null
rm -rf /var/lib/apt/lists/* /var/cache/apt/*
if old=$(getent passwd 1000 | cut -d: -f1) && [ -n "$old" ]; then userdel --remove "$old" 2>/dev/null || userdel "$old"; fi
getent group 1000 >/dev/null || groupadd --gid 1000 user
useradd --uid 1000 --gid 1000 --create-home --shell /bin/bash user
install -d -o 1000 -g 1000 -m 0755 /workspace
# A set-user-ID program could not raise itself here anyway (no_new_privs): none is kept.
find / -xdev -perm /6000 -type f -exec chmod a-s {} +
