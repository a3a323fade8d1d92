# From the repository's root: docker build -f docker/provider.Dockerfile -t commonwatt-node .

FROM rust:1.95-bookworm AS build
# 1 builds for processors older than x86-64-v3, which .cargo/config.toml asks for: about three times slower.
ARG PORTABLE=
ENV CARGO_TARGET_DIR=/target
WORKDIR /src
COPY . .
# The caches spare the next build the engine, half an hour's work. Cargo goes by file times, and the cache may hold
# another checkout's build: hence the touch. --workspace: the features that the tests ran with, and one build for both
# images.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,id=commonwatt-target,target=/target,sharing=locked \
    if [ "$PORTABLE" = 1 ]; then export RUSTFLAGS="-C target-cpu=x86-64"; fi \
 && find . -type f -exec touch {} + \
 && cargo build --release --locked --workspace --bin commonwatt-node --bin commonwatt-reader \
 && cp /target/release/commonwatt-node /target/release/commonwatt-reader /usr/local/bin/

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="Commonwatt node" \
      org.opencontainers.image.description="Serves language models on this machine through a Commonwatt gateway" \
      org.opencontainers.image.licenses="Apache-2.0"
# Not the gateway's user: of the files that both see, this one may read only what is open to all. A new volume takes
# /data's owner and mode. Nothing here needs to become another user.
RUN useradd --uid 10002 --user-group --no-create-home --shell /usr/sbin/nologin commonwatt \
 && install -d -o commonwatt -g commonwatt -m 0700 /data \
 && find / -xdev -type f -perm /6000 -exec chmod ug-s {} +
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /usr/local/bin/commonwatt-node /usr/local/bin/commonwatt-reader /usr/local/bin/
USER 10002:10002
# HF_HOME: the engine wants to create that folder, and the root may be read-only. It stays empty.
ENV COMMONWATT_DATA=/data HF_HOME=/tmp/huggingface
VOLUME /data
# The local API asks for no key, so it stays within the container. For this machine's programs:
# -e COMMONWATT_NODE_LISTEN=0.0.0.0:8090 -p 127.0.0.1:8090:8090
# The first start downloads the model. A check costs more than a node that idles, so there are few of them.
HEALTHCHECK --interval=15s --timeout=3s --start-period=15m CMD ["commonwatt-node", "healthcheck"]
ENTRYPOINT ["commonwatt-node"]
CMD ["serve"]
