# From the repository's root: docker build -f docker/provider.Dockerfile -t commonwatt-node .

# A version of NVIDIA's images, such as 12.9.1, builds a node that computes on NVIDIA's accelerators.
ARG CUDA=

FROM rust:1.95-bookworm AS compiler

# Its kernels are fetched with git, and compiled for one generation of accelerators: 80 is Ampere, 89 Ada, 90 Hopper.
FROM nvidia/cuda:${CUDA:-12.9.1}-devel-ubuntu24.04 AS compiler-cuda
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates git && rm -rf /var/lib/apt/lists/*
COPY --from=rust:1.95-bookworm /usr/local/cargo /usr/local/cargo
COPY --from=rust:1.95-bookworm /usr/local/rustup /usr/local/rustup
ARG CUDA_COMPUTE_CAP=80
ENV RUSTUP_HOME=/usr/local/rustup CARGO_HOME=/usr/local/cargo PATH=/usr/local/cargo/bin:$PATH \
    CUDA_COMPUTE_CAP=$CUDA_COMPUTE_CAP

FROM compiler${CUDA:+-cuda} AS build
# It writes down what an image is made of. How fast it does so is no matter, hence --debug, which compiles sooner. The same
# line as in the other Dockerfile, so that it is compiled once for both.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    cargo install --locked --debug cargo-cyclonedx@0.5.9
# 1 builds for processors older than x86-64-v3, which .cargo/config.toml asks for: about three times slower.
ARG PORTABLE=
ARG CUDA
ENV CARGO_TARGET_DIR=/target
WORKDIR /src
COPY . .
# The caches spare the next build the engine, half an hour's work. Cargo goes by file times, and the cache may hold
# another checkout's build: hence the touch. --workspace: the features that the tests ran with.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,id=commonwatt-target,target=/target,sharing=locked \
    if [ "$PORTABLE" = 1 ]; then export RUSTFLAGS="-C target-cpu=x86-64"; fi \
 && find . -type f -exec touch {} + \
 && cargo build --release --locked --workspace ${CUDA:+--features provider/cuda} \
      --bin commonwatt-node --bin commonwatt-reader \
 && cp /target/release/commonwatt-node /target/release/commonwatt-reader /usr/local/bin/
# The bill of materials: every crate in the programs, with its version, licence and checksum.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    cargo cyclonedx --manifest-path provider/Cargo.toml --format json --spec-version 1.5 ${CUDA:+--features cuda} \
 && install -D -m 0644 LICENSE /usr/share/doc/commonwatt/LICENSE \
 && install -m 0644 provider/provider.cdx.json /usr/share/doc/commonwatt/sbom.cdx.json

FROM debian:bookworm-slim AS system
LABEL org.opencontainers.image.base.name="docker.io/library/debian:bookworm-slim"

FROM nvidia/cuda:${CUDA:-12.9.1}-runtime-ubuntu24.04 AS system-cuda
ARG CUDA
LABEL org.opencontainers.image.base.name="docker.io/nvidia/cuda:$CUDA-runtime-ubuntu24.04"
ENV COMMONWATT_METER_ACCELERATORS=true

FROM system${CUDA:+-cuda}
# Not the gateway's user: of the files that both see, this one may read only what is open to all. A new volume takes
# /data's owner and mode. Nothing here needs to become another user.
RUN useradd --uid 10002 --user-group --no-create-home --shell /usr/sbin/nologin commonwatt \
 && install -d -o commonwatt -g commonwatt -m 0700 /data \
 && find / -xdev -type f -perm /6000 -exec chmod ug-s {} +
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /usr/share/doc/commonwatt /usr/share/doc/commonwatt
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
# What it was built from, where whoever builds says so. Last, so that another value builds nothing anew.
ARG VERSION=0.1.0 REVISION=unknown CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="Commonwatt node" \
      org.opencontainers.image.description="Serves language models on this machine through a Commonwatt gateway" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED" \
      commonwatt.sbom="/usr/share/doc/commonwatt/sbom.cdx.json"
