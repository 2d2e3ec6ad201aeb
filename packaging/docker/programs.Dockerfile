# Roost's programs, compiled from this source tree, and nothing else: the other images copy from this one.
ARG BASE=docker.io/library/debian:12-slim
FROM ${BASE} AS compile
WORKDIR /src
COPY . .
RUN ./dev build release && packaging/docker/collect.sh build/release /out

FROM scratch
COPY --from=compile /out /
