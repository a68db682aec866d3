# Builds the command `provender` and nothing else.
FROM rust:1.95-bookworm AS builder
WORKDIR /source
COPY . .
RUN cargo build --release --locked -p provender-cli

FROM debian:bookworm-slim
# Certificates let the registry check those of a PostgreSQL server.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 provender
COPY --from=builder /source/target/release/provender /usr/local/bin/provender
COPY --from=builder /source/LICENSE /usr/share/doc/provender/LICENSE
USER provender
# The project's folder (provender.yaml, features/) is mounted here.
WORKDIR /project
ENTRYPOINT ["provender"]
