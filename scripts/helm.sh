#!/usr/bin/env bash
# helm.sh [ARGUMENTS…]: Helm of the version in scripts/helm/go.mod, built once into .tools. Go 1.26
# or later is needed for that. Without arguments it says where the program is.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
version=$(sed -n 's#^require helm.sh/helm/v4 v##p' "$here/helm/go.mod")
helm=$here/../.tools/helm@$version/helm
export PATH=$PATH:/usr/local/go/bin
if [ ! -x "$helm" ]; then
    command -v go >/dev/null || { echo "helm: Go 1.26 or later is needed" >&2; exit 1; }
    echo "helm: building Helm $version into .tools (the first time takes minutes)" >&2
    cd "$here/helm"
    CGO_ENABLED=0 GOFLAGS="-mod=readonly -buildvcs=false -trimpath" \
        go build -ldflags "-s -w" -o "$helm" helm.sh/helm/v4/cmd/helm
    cd - >/dev/null
fi
if [ $# -eq 0 ]; then
    realpath "$helm"
else
    exec "$helm" "$@"
fi
