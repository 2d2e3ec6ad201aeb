# roostd with its plugins, roostctl for those who look in, and roost-agent, which the backup's Jobs run in this image.
ARG BASE=docker.io/library/debian:12-slim
ARG PROGRAMS=localhost/roost-programs:dev
FROM ${PROGRAMS} AS programs

FROM ${BASE}
COPY packaging/docker/daemon-setup.sh /tmp/
RUN /tmp/daemon-setup.sh packages
COPY --from=programs /bin/roostd /bin/roost-agent /bin/roostctl /usr/bin/
COPY --from=programs /plugins /usr/lib/roost/plugins
COPY config/roost.kubernetes.yaml /etc/roost/roost.yaml
RUN /tmp/daemon-setup.sh check && rm /tmp/daemon-setup.sh
# A number, so that Kubernetes can see that it is not root.
USER 10001:10001
EXPOSE 8080
ENTRYPOINT ["/usr/bin/roostd"]
