#!/bin/sh
# Steps of daemon.Dockerfile.
set -eu
case ${1:?usage: daemon-setup.sh packages|check} in
  packages) # the libraries of Debian 12 that the programs were linked with
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ca-certificates libarchive13 libcurl4 libdeflate0 libpococrypto80 \
      libpocojson80 libpoconet80 libpoconetssl80 libpocoredis80 libpocoutil80 libprometheus-cpp-core1.0 libspdlog1.10 libsqlite3-0 libssl3 libsystemd0 libyaml-cpp0.7
    rm -rf /var/lib/apt/lists/* /var/cache/apt/*
    ;;
  check) # all that they need is there, and they start
    for file in /usr/bin/roostd /usr/bin/roost-agent /usr/bin/roostctl /usr/lib/roost/plugins/*.so; do
      if ldd "$file" | grep 'not found'; then echo "$file lacks a library" >&2; exit 1; fi
    done
    roostd --version
    roostd --check-config
    roost-agent --version
    roostctl --version
    ;;
esac
