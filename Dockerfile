# The operator as one static binary in an otherwise empty image.
FROM rust:1.95-slim AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates musl-tools \
 && rustup target add "$(uname -m)-unknown-linux-musl"
WORKDIR /bellwether
COPY Cargo.toml Cargo.lock ./
COPY src src
RUN cargo build --release --locked --bin bellwether --target "$(uname -m)-unknown-linux-musl" \
 && cp target/*-unknown-linux-musl/release/bellwether /usr/local/bin/

FROM scratch
# The authorities that metric providers and receivers of alerts are checked against.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /usr/local/bin/bellwether /bellwether
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/bellwether"]
CMD ["run"]
