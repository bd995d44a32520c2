# Lockgate as an image: built with the pinned toolchain, run as uid 10001 on Debian slim. It keeps nothing on disk: run it with
# a read-only root. Mount your configuration: the one in the image is an example, and LOCKGATE_ variables add no route.
#
#   docker build -t lockgate:0.1.0 .
#   docker run --read-only -v $PWD/lockgate.toml:/etc/lockgate/lockgate.toml:ro --network host lockgate:0.1.0
#
# The base images are named by version. Pin them by digest where you build for production, so that a build can be repeated:
#   docker buildx imagetools inspect debian:bookworm-slim      and write  FROM debian:bookworm-slim@sha256:…

FROM rust:1.95.0-bookworm AS build
WORKDIR /src
# For librdkafka, which is compiled along; make and the compilers are in the image.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libssl-dev pkg-config \
    && rm -rf /var/lib/apt/lists/*
COPY . .
# rustup would otherwise fetch the components that only developers need.
RUN sed -i '/^components/d' rust-toolchain.toml \
    && cargo build --release --locked --bin lockgate \
    && strip --strip-debug target/release/lockgate

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates libssl3 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 lockgate \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin lockgate
COPY --from=build /src/target/release/lockgate /usr/local/bin/lockgate
COPY config/lockgate.toml /etc/lockgate/lockgate.toml
USER 10001:10001
WORKDIR /
ENV LOCKGATE_CONFIG=/etc/lockgate/lockgate.toml
EXPOSE 8474
STOPSIGNAL SIGTERM
# Asks /livez: whether this process lives, not whether Redis or Kafka do. With http.tls_cert_file the certificate must be good for
# the address in http.listen (127.0.0.1 where that is every address), and LOCKGATE_CA_FILE name its authority.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 CMD ["lockgate", "health"]
ENTRYPOINT ["lockgate"]
CMD ["run"]
