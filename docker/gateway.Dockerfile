# From the repository's root: docker build -f docker/gateway.Dockerfile -t commonwatt-gateway .

FROM rust:1.95-bookworm AS build
# It writes down what an image is made of. How fast it does so is no matter, hence --debug, which compiles sooner. The same
# line as in the other Dockerfile, so that it is compiled once for both.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    cargo install --locked --debug cargo-cyclonedx@0.5.9
# 1 builds for processors older than x86-64-v3, which .cargo/config.toml asks for.
ARG PORTABLE=
ENV CARGO_TARGET_DIR=/target
WORKDIR /src
COPY . .
# The caches spare the next build the dependencies. Cargo goes by file times, and the cache may hold another checkout's
# build: hence the touch. --workspace: the features that the tests ran with.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,id=commonwatt-target,target=/target,sharing=locked \
    if [ "$PORTABLE" = 1 ]; then export RUSTFLAGS="-C target-cpu=x86-64"; fi \
 && find . -type f -exec touch {} + \
 && cargo build --profile published --locked --workspace --bin commonwatt \
 && cp /target/published/commonwatt /usr/local/bin/
# The bill of materials: every crate in the program, with its version, licence and checksum.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    cargo cyclonedx --manifest-path gateway/Cargo.toml --format json --spec-version 1.5 \
 && install -D -m 0644 LICENSE /usr/share/doc/commonwatt/LICENSE \
 && install -m 0644 gateway/gateway.cdx.json /usr/share/doc/commonwatt/sbom.cdx.json

FROM debian:bookworm-slim
# New volumes take the owner and mode of these folders. /bootstrap is open: the node's user reads its token there. Nothing
# here needs to become another user.
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin commonwatt \
 && install -d -o commonwatt -g commonwatt -m 0700 /data \
 && install -d -o commonwatt -g commonwatt -m 0755 /bootstrap \
 && find / -xdev -type f -perm /6000 -exec chmod ug-s {} +
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /usr/share/doc/commonwatt /usr/share/doc/commonwatt
COPY --from=build /usr/local/bin/commonwatt /usr/local/bin/
USER 10001:10001
ENV COMMONWATT_DATA=/data COMMONWATT_LISTEN=0.0.0.0:8080
# The secret and the journal: each replica needs a volume of its own, with the same secret.
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s CMD ["commonwatt", "healthcheck"]
ENTRYPOINT ["commonwatt"]
CMD ["serve"]
# What it was built from, where whoever builds says so. Last, so that another value builds nothing anew.
ARG VERSION=0.1.0 REVISION=unknown CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="Commonwatt gateway" \
      org.opencontainers.image.description="OpenAI-compatible gateway to language models on independent machines" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="docker.io/library/debian:bookworm-slim" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED" \
      commonwatt.sbom="/usr/share/doc/commonwatt/sbom.cdx.json"
