#!/usr/bin/env bash
# The service beside the recommender of the Vertical Pod Autoscaler, on the control plane of the
# end-to-end suite, as root: run.sh [PODS [MINUTES]]. RECOMMENDER names its binary, which is built
# there if it is not.
. "$(dirname "$0")/../../tests/e2e/env.sh"
MODULE=k8s.io/autoscaler/vertical-pod-autoscaler VERSION=1.8.1
export DQN_SCALER=${DQN_SCALER:-${CARGO_TARGET_DIR:-$ROOT/target}/release/dqn-scaler}
export LD_LIBRARY_PATH=${LIBTORCH:-$ROOT/.libtorch}/lib PYTHONDONTWRITEBYTECODE=1
export RECOMMENDER=${RECOMMENDER:-$ROOT/.tools/vpa@$VERSION/recommender}
export E2E_MODEL=$ROOT/models/final-models/dqn_model_room.pth
export KUBECONFIG=$DIR/admin.kubeconfig E2E_LOGS=$DIR/logs E2E_AUDIT_LOG=$DIR/audit.log

"$HERE/build.sh"
downloaded=$(cd / && go mod download -json "$MODULE@v$VERSION")
source=$(sed -n 's/^\t"Dir": "\(.*\)",$/\1/p' <<<"$downloaded")
export VPA_CRD=$source/deploy/vpa-v1-crd-gen.yaml
if [ ! -x "$RECOMMENDER" ]; then
    echo "peer: building the recommender $VERSION"
    copy=$(mktemp -d)
    trap 'rm -rf "$copy"' EXIT
    cp -r "$source/." "$copy"
    chmod -R u+w "$copy"
    mkdir -p "$(dirname "$RECOMMENDER")"
    (cd "$copy" && CGO_ENABLED=0 go build -buildvcs=false -ldflags "-s -w" -o "$RECOMMENDER" \
        ./pkg/recommender)
    rm -rf "$copy"
fi

trap '"$HERE/cluster.sh" down' EXIT
trap 'exit 130' INT TERM
"$HERE/cluster.sh" up
# Nobody shall find that the pods run nowhere, nor measure them but the benchmark.
for name in kubelet metrics-server kube-scheduler kube-controller-manager; do
    "$HERE/cluster.sh" stop "$name"
done
kubectl apply -k "$ROOT/deploy/overlays/cluster-wide-live" >/dev/null
kubectl apply -f "$VPA_CRD" >/dev/null
python3 "$ROOT/benches/peer/compare.py" --pods "${1:-5000}" --minutes "${2:-6}"
