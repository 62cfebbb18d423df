# The service alone: no shell, no package manager, nothing that is not needed to run it.
FROM rust:1.89-slim-bookworm@sha256:d7fc7de78bb8c1469933aeecbf801314d30d7d6e9f0578bba4cfa285bfa37fe6 \
    AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ make python3-pip \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# libtorch first: it is large and changes seldom.
COPY scripts/libtorch.sh scripts/
RUN scripts/libtorch.sh
COPY . .
RUN cargo build --release --locked && scripts/rootfs.sh /rootfs

FROM scratch
COPY --from=build /rootfs /
WORKDIR /
USER 65532:65532
EXPOSE 5000
ENTRYPOINT ["/bin/dqn-scaler"]
