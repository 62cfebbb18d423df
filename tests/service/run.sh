#!/usr/bin/env bash
# run.sh [PYTEST ARGUMENTS…]: the service as its users meet it: a browser, Prometheus, a client made
# from the OpenAPI document. It wants target/release/dqn-scaler, installs what else it needs (as
# root or with sudo), and says so.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
PACKAGES=$ROOT/.tools/service

wanted=()
command -v chromium >/dev/null || wanted+=(chromium)
command -v promtool >/dev/null || wanted+=(prometheus)
if [ ${#wanted[@]} -gt 0 ]; then
    echo "service tests: installing ${wanted[*]} from the Debian archive"
    sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends \
        "${wanted[@]}" >/dev/null
fi
if ! cmp -s "$HERE/requirements.txt" "$PACKAGES/requirements.txt"; then
    echo "service tests: installing $(tr '\n' ' ' <"$HERE/requirements.txt")into .tools/service"
    rm -rf "$PACKAGES"
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
        --target "$PACKAGES" --requirement "$HERE/requirements.txt"
    cp "$HERE/requirements.txt" "$PACKAGES/requirements.txt"
fi

export DQN_SCALER=${DQN_SCALER:-${CARGO_TARGET_DIR:-$ROOT/target}/release/dqn-scaler}
export LD_LIBRARY_PATH=${LIBTORCH:-$ROOT/.libtorch}/lib
export PYTHONPATH=$PACKAGES PYTHONDONTWRITEBYTECODE=1
exec python3 -m pytest -p no:cacheprovider --rootdir "$HERE" "${@:-$HERE}"
