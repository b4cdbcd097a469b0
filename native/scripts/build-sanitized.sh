#!/bin/sh
# Builds the addon with AddressSanitizer and UndefinedBehaviorSanitizer beside the ordinary build, into
# build/sanitized/, and prints the environment that makes node load it. Arguments go to node-gyp (such as --nodedir).
set -eu
cd "$(dirname "$0")/.."
mkdir -p build/sanitized
for part in binding.gyp package.json src; do ln -sfn "../../$part" "build/sanitized/$part"; done
node "$(node -p "require.resolve('node-gyp/bin/node-gyp.js')")" rebuild -C build/sanitized "$@" -- -Dsanitize=true >&2
# Leaks are not looked for: node does not free what lives as long as the process.
echo "NODE_TUNTAP2_PREBUILD=$PWD/build/sanitized"
echo "LD_PRELOAD=$(c++ -print-file-name=libasan.so)"
echo "ASAN_OPTIONS=detect_leaks=0"
