#!/usr/bin/env bash
# Builds Roost's three images and writes each as an archive that `docker load` and `ctr images import` take:
#   build.sh OUT_DIR [--programs BUILD_DIR] [--code-server CACHE_DIR] [--base IMAGE] [--workspace-base IMAGE] [--base-tar TAR] [--tag TAG] [--prefix PREFIX] [--only "NAME..."]
#     OUT_DIR/roost.tar            localhost/roost:dev            roostd, its plugins, roost-agent for the tasks
#     OUT_DIR/roost-agent.tar      localhost/roost-agent:dev      the agent that an init container brings into any workspace
#     OUT_DIR/roost-workspace.tar  localhost/roost-workspace:dev  VS Code in the browser
# Without --programs they are compiled in a container. With it they are taken from a build directory of this machine, which must
# then be the system of the base image. --code-server takes code-server from $ROOST_CACHE of `./dev setup` in the same way.
# --base-tar: a root file system (base.sh makes one) instead of a base image from a registry, for all images.
# --only: of roost, roost-agent and roost-workspace.
# $ENGINE: docker, podman or buildah, with its global options; the first that works by default.
set -euo pipefail
here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
top=$(cd "$here/../.." && pwd)
die() { printf 'build.sh: %s\n' "$*" >&2; exit 2; }

case ${1:-} in ''|-*) sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 2 ;; esac
mkdir -p "$1"; out=$(cd "$1" && pwd); shift
programs='' code_server='' base=docker.io/library/debian:12-slim workspace_base=docker.io/library/ubuntu:24.04 base_tar='' tag=dev prefix=localhost/ only='roost roost-agent roost-workspace'
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || die "$1 needs a value"
  case $1 in
    --programs) programs=$2 ;;
    --code-server) code_server=$2 ;;
    --base) base=$2 ;;
    --workspace-base) workspace_base=$2 ;;
    --base-tar) base_tar=$2 ;;
    --tag) tag=$2 ;;
    --prefix) prefix=$2 ;;
    --only) only=$2 ;;
    *) die "unknown option $1" ;;
  esac
  shift 2
done
if [ -z "${ENGINE:-}" ]; then
  for ENGINE in docker podman buildah none; do "$ENGINE" info >/dev/null 2>&1 && break; done
  [ "$ENGINE" != none ] || die "none of docker, podman and buildah works here (Debian and Ubuntu: apt-get install buildah)"
fi
read -r -a engine <<<"$ENGINE"
kind=$(basename "${engine[0]}")
# Without an init system and inside containers only chroot isolation works; it is what a build needs.
[ "$kind" != buildah ] || export BUILDAH_ISOLATION=${BUILDAH_ISOLATION:-chroot}

image() { # image NAME DOCKERFILE CONTEXT [ARGUMENT=VALUE...]
  local name=$1 file=$2 context=$3 argument options=(); shift 3
  for argument in "$@"; do options+=(--build-arg "$argument"); done
  # OCI has no place for SHELL and HEALTHCHECK. Layers that are there already are taken, as the other engines do.
  if [ "$kind" = buildah ]; then options+=(--format docker --layers); fi
  "${engine[@]}" build "${options[@]}" -t "$name" -f "$file" "$context" >"$out/build.log" 2>&1 ||
    { tail -40 "$out/build.log" >&2; die "$name could not be built; the whole log is in $out/build.log"; }
  echo "built $name" >&2
}

from_files() { # from_files NAME DIRECTORY: an image that holds these files and nothing else
  printf 'FROM scratch\nCOPY . /\n' >"$out/files.Dockerfile"
  image "$1" "$out/files.Dockerfile" "$2"
  rm "$out/files.Dockerfile"
}

archive() { # archive NAME FILE
  rm -f "$2"
  case $kind in
    buildah) "${engine[@]}" push -q "$1" "docker-archive:$2:$1" >/dev/null ;;
    podman) "${engine[@]}" save --format docker-archive -o "$2" "$1" >/dev/null ;;
    *) "${engine[@]}" save -o "$2" "$1" ;;
  esac
  echo "$2"
}

import_base() { # import_base TAR NAME
  local container
  case $kind in
    buildah)
      container=$("${engine[@]}" from scratch)
      "${engine[@]}" add -q "$container" "$1" / >/dev/null
      "${engine[@]}" commit -q "$container" "$2" >/dev/null
      "${engine[@]}" rm "$container" >/dev/null ;;
    *) "${engine[@]}" import "$1" "$2" >/dev/null ;;
  esac
}

wanted() { case " $only " in *" $1 "*) ;; *) return 1 ;; esac; }

if [ -n "$base_tar" ]; then # named by what is in it: the layers above one that was imported before are found again
  base=localhost/roost-base:$(sha256sum "$base_tar" | cut -c1-16) workspace_base=$base
  "${engine[@]}" inspect --type image "$base" >/dev/null 2>&1 || import_base "$base_tar" "$base"
fi

programs_image() {
  if [ -z "$programs" ]; then image localhost/roost-programs:dev "$here/programs.Dockerfile" "$top" BASE="$base"; return; fi
  "$here/collect.sh" "$programs" "$out/programs"
  from_files localhost/roost-programs:dev "$out/programs"
}

code_server_image() {
  local versions
  if [ -n "$code_server" ]; then
    "$here/collect-code-server.sh" "$code_server/node" "$code_server/code-server" "$out/code-server/opt/roost"
    from_files localhost/roost-code-server:dev "$out/code-server"
    return
  fi
  versions=$(sed -n 's/^\(CODE_SERVER_VERSION\|NODE_VERSION\)=\([0-9.]*\)$/\1=\2/p' "$top/dev")
  # shellcheck disable=SC2086 # two words
  image localhost/roost-code-server:dev "$here/code-server.Dockerfile" "$top" BASE="$workspace_base" $versions
}

if wanted roost || wanted roost-agent; then
  programs_image
  for name in roost:daemon roost-agent:agent; do
    if wanted "${name%:*}"; then image "$prefix${name%:*}:$tag" "$here/${name#*:}.Dockerfile" "$top" BASE="$base" PROGRAMS=localhost/roost-programs:dev; fi
  done
fi
if wanted roost-workspace; then
  code_server_image
  image "${prefix}roost-workspace:$tag" "$here/workspace.Dockerfile" "$top" BASE="$workspace_base" CODE_SERVER=localhost/roost-code-server:dev
fi

for name in $only; do archive "$prefix$name:$tag" "$out/$name.tar"; done
