#!/usr/bin/env bash
# Says before `make run` builds how long that takes, if there is something to be built. The minutes
# are estimates for two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}/release

if ! compgen -G "$target/deps/libtch-*.rlib" >/dev/null; then
    size=$(scripts/libtorch.sh --size 2>/dev/null || true)
    echo "run: the first build${size:+ fetches $size MB of libtorch and some 40 MB of crates and}" \
        "takes about 10 minutes on two cores; afterwards it is a matter of seconds"
elif [ ! -x "$target/dqn-scaler" ] || [ -n "$(find build.rs Cargo.toml Cargo.lock src models \
    -newer "$target/dqn-scaler" -print -quit)" ]; then
    echo "run: building what has changed takes up to 3 minutes on two cores"
fi
