#!/bin/bash
# Installs what `ringfence bench` compares with, below the user's cache; nothing else of the machine changes:
#   bench/peers.sh [wireguard-go] [boringtun-cli] [coredns]
# wireguard-go is the newest of the Go module proxy, boringtun-cli is built by cargo. Debian's wireguard-go comes by
# `apt-get install wireguard-go`, a gotatun is taken from PATH. Twin: src/bench/programs.ts, which looks for them.
set -euo pipefail
BORINGTUN=0.7.1
MODULE=golang.zx2c4.com/wireguard

cache=${XDG_CACHE_HOME:-$HOME/.cache}/ringfence/bench
mkdir -p "$cache"
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT

# needs PROGRAM WHERE: whether a builder is here.
needs() {
  command -v "$1" >/dev/null && return
  echo "peers: $1 is missing: $2" >&2
  return 1
}

wireguard_go() {
  needs go 'install Go from https://go.dev/dl or by apt-get install golang-go' || return
  echo "peers: wireguard-go, the newest …" >&2
  GOBIN=$build CGO_ENABLED=0 GOFLAGS=-trimpath go install "$MODULE@latest" || return
  # The program prints the number of its last release, whatever it is built from.
  go version -m "$build/wireguard" | awk '$1 == "mod" { version = $3 } NR == 1 { go = $2 } END { print version " (" go ")" }' >"$cache/wireguard-go.version"
  mv "$build/wireguard" "$cache/wireguard-go"
  echo "peers: $cache/wireguard-go $(cat "$cache/wireguard-go.version")" >&2
}

boringtun_cli() {
  needs cargo 'install Rust from https://rustup.rs or by apt-get install cargo' || return
  echo "peers: boringtun-cli $BORINGTUN …" >&2
  CARGO_TARGET_DIR=$build/target cargo install boringtun-cli --version "$BORINGTUN" --locked --root "$build" || return
  mv "$build/bin/boringtun-cli" "$cache/boringtun-cli"
  echo "peers: $cache/boringtun-cli $("$cache/boringtun-cli" --version)" >&2
}

coredns() {
  needs go 'install Go from https://go.dev/dl or by apt-get install golang-go' || return
  echo "peers: coredns, the newest, for its test in test/pair/dns.test.ts: some minutes …" >&2
  GOBIN=$build CGO_ENABLED=0 GOFLAGS=-trimpath go install github.com/coredns/coredns@latest || return
  mv "$build/coredns" "$cache/coredns"
  echo "peers: $cache/coredns $("$cache/coredns" -version | head -n 1)" >&2
}

status=0
[ $# -gt 0 ] || set -- wireguard-go boringtun-cli
for name in "$@"; do
  case $name in
    wireguard-go) wireguard_go || status=1 ;;
    boringtun-cli) boringtun_cli || status=1 ;;
    coredns) coredns || status=1 ;;
    *)
      echo 'usage: bench/peers.sh [wireguard-go] [boringtun-cli] [coredns]' >&2
      exit 2
      ;;
  esac
done
exit "$status"
