# One image for the broker and the nodes. Dependencies come from requirements.lock, with hashes.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/tallystick
COPY requirements.lock requirements-build.lock ./
# --no-deps: the lock is complete, and clkhash's needlessly low pins would not resolve.
RUN /opt/tallystick/bin/pip install --no-deps --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY protos protos
COPY crypto crypto
COPY policies policies
COPY agency_node agency_node
COPY broker broker
COPY tallystick tallystick
RUN /opt/tallystick/bin/pip install --require-hashes -r requirements-build.lock \
 && /opt/tallystick/bin/pip install --no-deps --no-build-isolation .

FROM python:3.11-slim-bookworm
RUN groupadd --system --gid 10001 tallystick \
 && useradd --system --uid 10001 --gid 10001 --home-dir /var/lib/tallystick --create-home tallystick
COPY --from=build /opt/tallystick /opt/tallystick
ENV PATH=/opt/tallystick/bin:$PATH PYTHONUNBUFFERED=1 NUMBA_CACHE_DIR=/var/lib/tallystick/.numba
USER 10001:10001
WORKDIR /var/lib/tallystick
VOLUME /var/lib/tallystick
ENTRYPOINT ["tallystick"]
CMD ["--help"]
