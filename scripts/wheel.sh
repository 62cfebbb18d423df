#!/usr/bin/env bash
# wheel.sh NAME@VERSION: installs a package of the Python package index into .tools/NAME@VERSION, by
# its wheel alone: nothing is built or fetched from elsewhere.
set -euo pipefail
cd "$(dirname "$0")/.."
target=.tools/$1

echo "tools: installing $1 into $target" >&2
rm -rf "$target.part"
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps \
    --only-binary :all: --target "$target.part" "${1/@/==}"
mv "$target.part" "$target"
