# A user's workspace: VS Code in the browser and the usual tools. Runs as uid 1000 with its files in /workspace.
# For an image of your own, begin with FROM this one; or with any other and bring code-server in the same way.
ARG BASE=docker.io/library/ubuntu:24.04
ARG CODE_SERVER=localhost/roost-code-server:dev
FROM ${CODE_SERVER} AS code-server

FROM ${BASE}
COPY packaging/docker/workspace-setup.sh /tmp/
RUN /tmp/workspace-setup.sh && rm /tmp/workspace-setup.sh
COPY --from=code-server /opt/roost /opt/roost
ENV PATH=/opt/roost/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/home/user USER=user SHELL=/bin/bash LANG=C.UTF-8 \
    ROOST_NODE_BIN=/opt/roost/node/bin/node ROOST_CODE_SERVER=/opt/roost/code-server
RUN ["code-server", "--version"]
WORKDIR /workspace
USER 1000:1000
