#!/usr/bin/env bash
# Builds the core from source and writes wireguard.wasm with wireguard.wasm.sha256, the digest of its sources
# and of itself. With rustup the pinned toolchain is used; without it Debian's packages rustc-web cargo-web
# rust-web-src lld wasi-libc.
#   build.sh           build and replace the committed core
#   build.sh --check   build and compare the bytes with the committed core; changes nothing
#   build.sh --sources print the digest of the sources; builds nothing
set -euo pipefail
cd "$(dirname "$0")"
# What the bytes depend on: sources, manifests, lock file, this script. Tests beside the code do not count against it,
# but telling them apart would cost more than it saves.
sources() {
  find core aead clock Cargo.toml Cargo.lock rust-toolchain.toml build.sh -type f -not -path '*/target/*' |
    LC_ALL=C sort | xargs sha256sum | sha256sum | cut -d' ' -f1
}

if [ "${1:-}" = --sources ]; then
  sources
  exit
fi
target=wasm32-wasip1
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}
cargo_home=${CARGO_HOME:-$HOME/.cargo}

# No path of the building machine may reach the bytes: panic messages carry file names, and the folder of a registry
# is named after its host.
cargo fetch --quiet --locked
flags="-C target-feature=+simd128,+bulk-memory --remap-path-prefix=$PWD=wireguard-wasm"
for registry in "$cargo_home"/registry/src/*; do flags+=" --remap-path-prefix=$registry=crates"; done

if command -v rustup >/dev/null; then
  rustup target list --installed | grep -qx "$target" || rustup target add "$target"
  flags+=" --remap-path-prefix=$(rustc --print sysroot)=rust"
  compiler=$(rustc --version)
  RUSTFLAGS=$flags cargo build --quiet --locked --release --target "$target" -p wireguard-core
elif [ -d /usr/lib/wasm32-wasi ] && [ -x /usr/bin/cargo ]; then
  compiler="$(/usr/bin/rustc --version) (Debian)"
  flags="-C link-self-contained=no -L native=/usr/lib/wasm32-wasi $flags"
  RUSTC_BOOTSTRAP=1 RUSTC=/usr/bin/rustc CARGO_TARGET_WASM32_WASIP1_LINKER=wasm-ld RUSTFLAGS=$flags \
    /usr/bin/cargo build --quiet --locked --release --target "$target" -p wireguard-core -Zbuild-std=std,panic_abort
else
  echo "build.sh: no compiler for $target: install rustup, or Debian's rustc-web cargo-web rust-web-src lld wasi-libc" >&2
  exit 1
fi
built=$CARGO_TARGET_DIR/$target/release/wireguard.wasm

digest() {
  printf 'sources  %s\nwasm     %s\ncompiler %s\n' "$(sources)" "$(sha256sum "$1" | cut -d' ' -f1)" "$compiler"
}

if [ "${1:-}" = --check ]; then
  recorded=$(sed -n 's/^compiler //p' wireguard.wasm.sha256)
  if [ "$compiler" != "$recorded" ]; then
    echo "build.sh: built with $compiler, but the committed core was built with $recorded: bytes cannot be compared" >&2
    exit 3
  fi
  if ! cmp -s "$built" wireguard.wasm; then
    echo "build.sh: the committed core is not what these sources build: run wasm/build.sh and commit the result" >&2
    diff <(digest "$built") wireguard.wasm.sha256 >&2 || true
    exit 1
  fi
  echo "build.sh: the committed core is byte for byte what its sources build ($compiler)"
else
  cp "$built" wireguard.wasm
  digest wireguard.wasm > wireguard.wasm.sha256
  cat wireguard.wasm.sha256
fi
