#!/usr/bin/env bash
# The end-to-end suite: run.sh [PATTERN…] runs the tests whose names hold a pattern, or all of them.
# KUBERNETES=1.33 runs them on that Kubernetes instead of the newest, DQN_SCALER names another
# binary than the one that was built. E2E_KEEP=1 leaves the cluster up for another run.
# E2E_USE_CURRENT=1 takes the cluster that KUBECONFIG names instead of starting one; E2E_IMAGE is
# then the name under which its nodes have the load's image.
. "$(dirname "$0")/env.sh"
export DQN_SCALER=${DQN_SCALER:-${CARGO_TARGET_DIR:-$ROOT/target}/release/dqn-scaler}
export LD_LIBRARY_PATH=${LIBTORCH:-$ROOT/.libtorch}/lib
export E2E_MODEL=$DIR/model.pth E2E_LOGS=$DIR/logs PYTHONDONTWRITEBYTECODE=1

# shellcheck disable=SC2329 # called by the trap
finish() {
    local code=$?
    if [ -n "${suite:-}" ]; then kill "$suite" && wait "$suite" || true; fi
    if [ "$code" -ne 0 ] && [ -d "$DIR/logs" ]; then
        mkdir -p "$TOOLS/logs"
        cp "$DIR"/logs/* "$DIR/audit.log" "$TOOLS/logs/" 2>/dev/null || true
        echo "e2e: the logs are in $TOOLS/logs" >&2
    fi
    if [ -n "${mine:-}" ]; then
        kubectl delete --ignore-not-found -k "$ROOT/deploy/overlays/cluster-wide-live" >/dev/null ||
            true
        kubectl delete --ignore-not-found namespace "$NAMESPACE" >/dev/null || true
        rm -rf "$DIR"
    elif [ -z "${E2E_KEEP:-}" ]; then
        "$HERE/cluster.sh" down
    fi
}
trap finish EXIT
trap 'exit 130' INT TERM

# The image that the Dockerfile describes, of the same files, for a cluster that can pull none.
scaler_image() {
    local dockerfile=$ROOT/Dockerfile
    said() { sed -n "s/^$1 //p" "$dockerfile" | tail -1; }
    rm -rf "$DIR/rootfs"
    "$ROOT/scripts/rootfs.sh" "$DIR/rootfs" "$DQN_SCALER"
    "$HERE/cluster.sh" image "$E2E_SCALER_IMAGE" "$DIR/rootfs" \
        "{\"Entrypoint\": $(said ENTRYPOINT), \"User\": \"$(said USER)\",
          \"WorkingDir\": \"$(said WORKDIR)\"}"
    rm -rf "$DIR/rootfs"
}

began=$SECONDS
"$HERE/build.sh"
echo "e2e: the programs are there after $((SECONDS - began)) s"
if [ -z "${E2E_USE_CURRENT:-}" ]; then
    export KUBECONFIG=$DIR/admin.kubeconfig E2E_AUDIT_LOG=$DIR/audit.log
    export E2E_SCALER_IMAGE=e2e.local/dqn-scaler:1
    if [ -z "${E2E_KEEP:-}" ] || [ "$(cat "$DIR/kubernetes" 2>/dev/null)" != "$RELEASE" ]; then
        "$HERE/cluster.sh" up
    fi
    scaler_image
    echo "e2e: Kubernetes $RELEASE is up after $((SECONDS - began)) s"
elif kubectl get namespace dqn-scaler >/dev/null 2>&1; then
    echo "e2e: this cluster has a namespace dqn-scaler already: remove it first" >&2
    exit 1
else
    mine=1
fi
mkdir -p "$E2E_LOGS"
python3 "$HERE/suite/model.py" "$E2E_MODEL"
# The rights are deploy/'s; the pod is for its own test, the others run the binary as a process
# beside the cluster.
kubectl create namespace "$NAMESPACE" --dry-run=client --output=yaml |
    kubectl apply -f - >/dev/null
kubectl apply -k "$ROOT/deploy/overlays/cluster-wide-live" >/dev/null
kubectl apply -f "$ROOT/deploy/components/kubelet-metrics/clusterrole.yaml" >/dev/null
kubectl --namespace=dqn-scaler scale deployment dqn-scaler --replicas=0 >/dev/null
# In the background, so that a signal is heeded at once.
python3 "$HERE/suite" "$@" &
suite=$!
wait "$suite" && code=0 || code=$?
suite=
echo "e2e: done after $((SECONDS - began)) s"
exit "$code"
