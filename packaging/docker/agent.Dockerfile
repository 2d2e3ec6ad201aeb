# The agent with all that it needs, for the init container that copies it into a workspace of any image.
ARG BASE=docker.io/library/debian:12-slim
ARG PROGRAMS=localhost/roost-programs:dev
FROM ${PROGRAMS} AS programs

FROM ${BASE}
COPY --from=programs /agent-bundle /roost/agent-bundle
USER 10001:10001
