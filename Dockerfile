# luxcli in a container: one command per run, started by the host's scheduler.
#   docker build -t luxcli .
#   docker run --rm -e HOST=192.168.1.50 -v ./data:/data luxcli poll-once
# The data directory must belong to the user of the container (uid 1000, or whatever --user says).
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY luxcli ./luxcli
# Compiled here: the final image may be read-only, and every poll would compile anew.
RUN python3 -m venv /opt/luxcli \
 && /opt/luxcli/bin/pip install --no-cache-dir --compile . \
 && /opt/luxcli/bin/pip uninstall -y pip

FROM ${BASE}
LABEL org.opencontainers.image.title="luxcli" \
      org.opencontainers.image.description="Records a Luxtronik heat pump" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/luxcli /opt/luxcli
ENV PATH=/opt/luxcli/bin:$PATH \
    HOME=/data \
    CACHE_PATH=/data/cache.sqlite3 \
    PYTHONDONTWRITEBYTECODE=1
RUN mkdir /data && chown 1000:1000 /data
USER 1000:1000
WORKDIR /data
VOLUME /data
ENTRYPOINT ["luxcli"]
CMD ["--help"]
