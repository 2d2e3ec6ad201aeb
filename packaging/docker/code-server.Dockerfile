# VS Code for the browser (code-server and its Node.js, from npm) below /opt/roost, and nothing else.
ARG BASE=docker.io/library/ubuntu:24.04
FROM ${BASE} AS install
ARG CODE_SERVER_VERSION
ARG NODE_VERSION
COPY packaging/docker/collect-code-server.sh packaging/docker/code-server-setup.sh /tmp/
RUN /tmp/code-server-setup.sh

FROM scratch
COPY --from=install /out /opt/roost
