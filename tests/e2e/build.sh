#!/usr/bin/env bash
# Builds the programs of the suite into .tools/e2e-VERSION, unless those that are there were built
# from the same sources.
. "$(dirname "$0")/env.sh"

missing=()
while read -r program package; do
    command -v "$program" >/dev/null || missing+=("$package")
done <<'PROGRAMS'
containerd containerd
runc runc
/usr/lib/cni/bridge containernetworking-plugins
ip iproute2
sysctl procps
openssl openssl
curl curl
PROGRAMS
if [ ${#missing[@]} -gt 0 ]; then
    echo "e2e: installing ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

mkdir -p "$TOOLS/bin"
helm=$("$ROOT/scripts/helm.sh")
ln -sf "$helm" "$TOOLS/bin/helm"

cd "$HERE/programs"
stamp=$(sha256sum "$MODULES" "${MODULES%.mod}.sum" ./*/*.go | sha256sum)
if [ "$(cat "$TOOLS/stamp" 2>/dev/null)" = "$stamp" ]; then
    exit 0
fi
command -v go >/dev/null || { echo "e2e: Go 1.26 or later is needed" >&2; exit 1; }
echo "e2e: building Kubernetes $RELEASE (the first time takes minutes, then Go's cache has it)"
export CGO_ENABLED=0 GOFLAGS="-mod=readonly -modfile=$MODULES -buildvcs=false -trimpath"
version=k8s.io/component-base/version major=${KUBERNETES%.*} minor=${KUBERNETES#*.}
go build -o "$TOOLS/bin/kubernetes" -ldflags "-s -w -X $version.gitVersion=v$RELEASE \
    -X $version.gitMajor=$major -X $version.gitMinor=$minor" ./kubernetes
go build -ldflags "-s -w" -o "$TOOLS/bin/load" ./load
for program in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kubectl \
    metrics-server; do
    ln -sf kubernetes "$TOOLS/bin/$program"
done
echo "$stamp" > "$TOOLS/stamp"
