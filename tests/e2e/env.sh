# shellcheck shell=bash
# What the scripts of the suite share. Everything listens on loopback, the API server on a bridge of its own; the ports are
# not Kubernetes' own, so that a cluster of the user's may run beside this one.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
TOOLS=${E2E_TOOLS:-$ROOT/.tools/e2e}   # built once, kept
DIR=${E2E_DIR:-/tmp/dqn-scaler-e2e}    # this run's: certificates, data, logs, pids
KUBERNETES=1.36.2                      # as in programs/go.mod
NODE=localhost                         # a name that resolves to loopback everywhere
BRIDGE=e2e0 BRIDGE_IP=10.244.0.1       # a bridge that leads to the pods and nowhere else: the node's address
API=$BRIDGE_IP:16443                   # there, so that the scaler finds it from its pod
NAMESPACE=dqn-scaler-e2e               # of the pods of the suite, which touches no others
export NAMESPACE HERE ROOT TOOLS DIR KUBERNETES NODE BRIDGE BRIDGE_IP API
export PATH=$TOOLS/bin:/usr/local/go/bin:$PATH:/usr/sbin:/sbin
