# shellcheck shell=bash
# What the scripts of the suite share. Everything listens on loopback, the API server on a bridge of
# its own; the ports are not Kubernetes' own, so that a cluster of the user's may run beside it.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
release_in() { sed -n 's#^\tk8s.io/kubernetes v##p' "$1"; }
NEWEST=$(release_in "$HERE/programs/go.mod")
KUBERNETES=${KUBERNETES:-${NEWEST%.*}} # which Kubernetes: the newest, or one with a .mod of its own
case $KUBERNETES in
"${NEWEST%.*}") MODULES=go.mod ;;
*) MODULES=kubernetes-$KUBERNETES.mod ;;
esac
if [ ! -f "$HERE/programs/$MODULES" ]; then
    echo "e2e: no programs of Kubernetes $KUBERNETES: tests/e2e/programs/$MODULES is missing" >&2
    exit 2
fi
RELEASE=$(release_in "$HERE/programs/$MODULES")
TOOLS=${E2E_TOOLS:-$ROOT/.tools/e2e}-$KUBERNETES # built once, kept
DIR=${E2E_DIR:-/tmp/dqn-scaler-e2e} # this run's: certificates, data, logs, pids
NODE=localhost                      # a name that resolves to loopback everywhere
SECOND=127.0.0.2                    # the node that some tests take beside it, for a while
BRIDGE=e2e0 BRIDGE_IP=10.244.0.1    # leads to the pods and nowhere else: the node's address
API=$BRIDGE_IP:16443                # there, so that the scaler finds it from its pod
NAMESPACE=dqn-scaler-e2e            # of the pods of the suite, which touches no others
export NAMESPACE HERE ROOT TOOLS DIR KUBERNETES MODULES RELEASE NODE SECOND BRIDGE BRIDGE_IP API
export PATH=$TOOLS/bin:/usr/local/go/bin:$PATH:/usr/sbin:/sbin
