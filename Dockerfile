# luxcli in a container, which polls on schedule:
#   docker build -t luxcli .
#   mkdir data && docker run -d --name luxcli -e HOST=192.168.1.50 -e TZ=Europe/Berlin -v ./data:/data luxcli
# With arguments it is that command of luxcli: docker run --rm ... luxcli diagnose
ARG BASE=docker.io/library/python:3.13-slim

# The scheduler is Debian's own package: signed, for every architecture, and no checksum to keep.
FROM ${BASE} AS supercronic
ARG DEBIAN_SUITE=forky
RUN rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/* \
 && printf '%s\n' 'Types: deb' 'URIs: http://deb.debian.org/debian' "Suites: ${DEBIAN_SUITE}" \
      'Components: main' 'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg' \
      > /etc/apt/sources.list.d/supercronic.sources \
 && apt-get update -q -o Acquire::Languages=none \
 && cd /tmp \
 && apt-get download -q supercronic \
 && dpkg -x supercronic_*.deb /supercronic

FROM ${BASE} AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY luxcli ./luxcli
RUN python3 -m venv /opt/luxcli \
 && /opt/luxcli/bin/pip install --no-cache-dir --disable-pip-version-check --compile . \
 && /opt/luxcli/bin/pip uninstall -q -y pip

FROM ${BASE}
# The official image has no bytecode of the standard library: every start would compile it anew, as
# nothing can be written later. Installers go; what is not compiled is of no use to luxcli.
RUN find /usr /opt -depth \( -name pip -o -name 'pip-*' -o -name 'pip[0-9.]*' -o -name ensurepip \) \
      -exec rm -rf {} + \
 && python3 -m compileall -q -x '/(test|tests|idlelib|lib2to3|turtledemo|tkinter|pydoc_data)/' \
      "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
 && rm -rf /var/lib/apt/lists/* /tmp/* /root/.cache \
 && mkdir -m 777 /data && chown 1000:1000 /data
COPY --from=supercronic /supercronic/usr/bin/supercronic /usr/local/bin/
COPY --from=supercronic /supercronic/usr/share/doc/supercronic/copyright /usr/share/doc/supercronic/
COPY --from=build /opt/luxcli /opt/luxcli
# HOME, as the user may be anybody: there is no other place to write to than the volume.
ENV PATH=/opt/luxcli/bin:$PATH \
    HOME=/data \
    CACHE_PATH=/data/cache.sqlite3 \
    PYTHONDONTWRITEBYTECODE=1
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=unknown
ARG SOURCE=unknown
# Does it run on this base: libraries, SQLite, time zones, supercronic? Behind the arguments, for without a
# RUN that has them older builders take the labels from their cache.
RUN TIMEZONE=Europe/Berlin luxcli schedule supercronic --command luxcli > /tmp/crontab \
 && supercronic -test /tmp/crontab \
 && python -c 'from luxcli.store.database import check_library; check_library()' \
 && rm /tmp/crontab
USER 1000:1000
WORKDIR /data
VOLUME /data
# `status` has patience of its own: 5 minutes without a poll, or three intervals.
HEALTHCHECK --interval=1m --timeout=30s --start-period=2m --retries=2 CMD ["luxcli", "status"]
ENTRYPOINT ["luxcli"]
CMD ["schedule", "supercronic", "--command", "luxcli", "--run"]

LABEL org.opencontainers.image.title="luxcli" \
      org.opencontainers.image.description="Records a Luxtronik heat pump: every value, nothing lost, a CSV each morning" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.url="${SOURCE}" \
      org.opencontainers.image.documentation="${SOURCE}" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
