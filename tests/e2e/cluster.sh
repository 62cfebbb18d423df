#!/usr/bin/env bash
# cluster.sh up|down|start NAME [FLAG…]|stop NAME|image NAME FOLDER CONFIG|second up|down: a control
# plane and one node, or two, as root. What is started is recorded by pid, and only that is ended;
# what the machine had is put back.
. "$(dirname "$0")/env.sh"
PIDS=$DIR/pids LOGS=$DIR/logs
export KUBECONFIG=$DIR/admin.kubeconfig

# A pid alone may have passed to another process: its start time tells.
started() { awk '{print $22}' "/proc/$1/stat" 2>/dev/null; }
alive() {
    local pid time
    read -r pid time 2>/dev/null < "$PIDS/$1" && [ "$(started "$pid")" = "$time" ]
}

run() { # name command…
    local name=$1; shift
    alive "$name" && return
    setsid "$@" >> "$LOGS/$name.log" 2>&1 < /dev/null &
    echo "$! $(started $!)" > "$PIDS/$name"
}

stop() {
    local pid
    if alive "$1"; then
        read -r pid _ < "$PIDS/$1"
        kill "$pid" 2>/dev/null || true
        for _ in $(seq 100); do alive "$1" || break; sleep 0.1; done
        if alive "$1"; then kill -9 "$pid"; fi
    fi
    rm -f "$PIDS/$1"
}

wait_for() { # seconds what command…
    local until=$((SECONDS + $1)) what=$2; shift 2
    until "$@" >/dev/null 2>&1; do
        if [ $SECONDS -ge $until ]; then echo "e2e: $what: not in time; see $LOGS" >&2; return 1; fi
        sleep 0.2
    done
}

start() { # name flag…
    local name=$1 pki=$DIR/pki etcd=http://127.0.0.1:22379 peer=http://127.0.0.1:22380; shift
    case $name in
    etcd)
        run etcd etcd --name=e2e --data-dir="$DIR/etcd" --unsafe-no-fsync --log-level=warn \
            --listen-client-urls=$etcd --advertise-client-urls=$etcd --listen-peer-urls=$peer \
            --initial-advertise-peer-urls=$peer --initial-cluster=e2e=$peer ;;
    kube-apiserver)
        run kube-apiserver kube-apiserver --etcd-servers=$etcd \
            --bind-address="${API%:*}" --secure-port="${API#*:}" --advertise-address="$BRIDGE_IP" \
            --endpoint-reconciler-type=none --service-cluster-ip-range=10.96.0.0/16 \
            --cert-dir="$pki" --tls-cert-file="$pki/apiserver.crt" \
            --tls-private-key-file="$pki/apiserver.key" --client-ca-file="$pki/ca.crt" \
            --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
            --service-account-issuer=https://kubernetes.default.svc \
            --service-account-key-file="$pki/sa.pub" \
            --service-account-signing-key-file="$pki/sa.key" \
            --requestheader-client-ca-file="$pki/ca.crt" \
            --requestheader-allowed-names=aggregator \
            --requestheader-username-headers=X-Remote-User \
            --requestheader-group-headers=X-Remote-Group \
            --requestheader-extra-headers-prefix=X-Remote-Extra- \
            --proxy-client-cert-file="$pki/aggregator.crt" \
            --proxy-client-key-file="$pki/aggregator.key" \
            --kubelet-client-certificate="$pki/admin.crt" \
            --kubelet-client-key="$pki/admin.key" \
            --kubelet-certificate-authority="$pki/ca.crt" \
            --kubelet-preferred-address-types=Hostname \
            --audit-policy-file="$HERE/conf/audit.yaml" --audit-log-path="$DIR/audit.log" ;;
    kube-controller-manager)
        run kube-controller-manager kube-controller-manager --kubeconfig="$KUBECONFIG" \
            --bind-address=127.0.0.1 --secure-port=20257 --leader-elect=false \
            --root-ca-file="$pki/ca.crt" \
            --service-account-private-key-file="$pki/sa.key" ;;
    kube-scheduler)
        run kube-scheduler kube-scheduler --kubeconfig="$KUBECONFIG" \
            --bind-address=127.0.0.1 --secure-port=20259 --leader-elect=false ;;
    containerd)
        run containerd containerd --config "$DIR/containerd.toml" ;;
    kubelet)
        rm -f "$DIR/kubelet/cpu_manager_state" # it holds the kubelet to the CPU policy that it had
        run kubelet kubelet --config="$DIR/kubelet.yaml" --kubeconfig="$DIR/node.kubeconfig" \
            --root-dir="$DIR/kubelet" --cert-dir="$pki" \
            --hostname-override="$NODE" --node-ip="$BRIDGE_IP" "$@" ;;
    metrics-server)
        run metrics-server metrics-server --kubeconfig="$KUBECONFIG" \
            --authentication-kubeconfig="$KUBECONFIG" --authorization-kubeconfig="$KUBECONFIG" \
            --bind-address=127.0.0.1 --secure-port=20443 --cert-dir="$DIR/metrics-pki" \
            --kubelet-preferred-address-types=Hostname \
            --kubelet-certificate-authority="$pki/ca.crt" \
            --kubelet-client-certificate="$pki/admin.crt" --kubelet-client-key="$pki/admin.key" \
            --metric-resolution=10s --kubelet-request-timeout=5s --kubelet-use-node-status-port ;;
    esac
}

NODE_DIR=$DIR # of the node that is spoken of
CTR() { ctr --address "$NODE_DIR/containerd.sock" --namespace k8s.io "$@"; }

image() { # name folder config
    python3 "$HERE/image.py" "$@" > "$DIR/image.tar"
    CTR images import "$DIR/image.tar" >/dev/null
    rm "$DIR/image.tar"
}

images_of_the_suite() {
    image e2e.local/load:1 "$DIR/load" '{"Entrypoint": ["/load"], "Env": ["PATH=/"]}'
    image e2e.local/pause:1 "$DIR/load" '{"Entrypoint": ["/load", "pause"], "Env": ["PATH=/"]}'
}

node_is_ready() { # name
    local ready='jsonpath={.status.conditions[?(@.type=="Ready")].status}'
    [ "$(kubectl get node "$1" -o "$ready")" = True ]
}

configure() { # certificate address root-of-cgroups
    for file in kubelet.yaml containerd.toml; do
        sed "s#@DIR@#$DIR#g; s#@NODE_DIR@#$NODE_DIR#g; s#@CERT@#$1#g; s#@ADDRESS@#$2#g
            s#@CGROUPS@#$3#g" "$HERE/conf/$file.in" > "$NODE_DIR/$file"
    done
}

end_containers() { # containerd
    alive "$1" || return 0
    for pod in $(CTR tasks ls -q); do CTR tasks kill -s KILL "$pod" 2>/dev/null || true; done
    for _ in $(seq 50); do CTR tasks ls | grep -q RUNNING || break; sleep 0.1; done
    for pod in $(CTR tasks ls -q); do CTR tasks rm -f "$pod" >/dev/null 2>&1 || true; done
    for pod in $(CTR containers ls -q); do
        CTR containers rm "$pod" >/dev/null 2>&1 || true
    done
}

remove_cgroups() { # name
    for folder in "/sys/fs/cgroup/$1" /sys/fs/cgroup/*/"$1"; do
        find "$folder" -depth -type d -exec rmdir {} + 2>/dev/null || true
    done
}

# Another node on the same machine, with a container runtime and cgroups of its own: two kubelets
# would end each other's pods.
second() {
    NODE_DIR=$DIR/second
    case $1 in
    up)
        mkdir -p "$NODE_DIR"
        configure second "$SECOND" "/$SECOND_CGROUPS"
        for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*; do
            [ -e "$hierarchy/cgroup.procs" ] || continue
            mkdir -p "$hierarchy/$SECOND_CGROUPS"
            for file in cpuset.mems cpuset.cpus; do
                [ -e "$hierarchy/cpuset.cpu_exclusive" ] || continue # of the first version only
                cat "$hierarchy/$file" > "$hierarchy/$SECOND_CGROUPS/$file"
            done
        done
        run containerd-second containerd --config "$NODE_DIR/containerd.toml"
        wait_for 60 "containerd of the second node" CTR version
        images_of_the_suite
        run kubelet-second kubelet --config="$NODE_DIR/kubelet.yaml" \
            --kubeconfig="$DIR/second.kubeconfig" --root-dir="$NODE_DIR/kubelet" \
            --cert-dir="$DIR/pki" --hostname-override="$SECOND" --node-ip="$BRIDGE_IP"
        wait_for 120 "the second node" node_is_ready "$SECOND"
        xargs -n1 sysctl -qw < "$DIR/sysctl"
        ;;
    down)
        [ -d "$NODE_DIR" ] || return 0
        stop kubelet-second
        end_containers containerd-second
        stop containerd-second
        unmount "$NODE_DIR/"
        remove_cgroups "$SECOND_CGROUPS"
        rm -rf "$NODE_DIR"
        ;;
    esac
}
SECOND_CGROUPS=dqn-scaler-e2e-second

unmount() { # folder
    awk -v dir="$1" 'index($2, dir) == 1 {print $2}' /proc/mounts | sort -r | xargs -r -n1 umount -l
}

up() {
    down # what a run that was killed has left
    if compgen -G "/sys/fs/cgroup/*/kubepods" >/dev/null || [ -e /sys/fs/cgroup/kubepods ]; then
        echo "e2e: another kubelet runs on this machine" >&2
        return 1
    fi
    mkdir -p "$PIDS" "$LOGS" "$DIR/cni"
    "$HERE/certs.sh"
    configure node 127.0.0.1 /
    sed "s#@DIR@#$DIR#g; s#@BRIDGE@#$BRIDGE#g" \
        "$HERE/conf/cni.conflist.in" > "$DIR/cni/e2e.conflist"
    # What the kubelet sets for the whole machine when it starts.
    for key in vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops \
        kernel.keys.root_maxkeys kernel.keys.root_maxbytes net.ipv4.ip_forward; do
        echo "$key=$(sysctl -n "$key")"
    done > "$DIR/sysctl"
    for folder in "${FOLDERS[@]}"; do [ -e "$folder" ] || echo "$folder"; done > "$DIR/folders"
    ls /run/netns > "$DIR/netns" 2>/dev/null || true
    # The suite's own bridge: a CNI plugin that were the gateway itself would turn forwarding on.
    ip link add "$BRIDGE" type bridge
    ip addr add "$BRIDGE_IP/24" dev "$BRIDGE"
    ip link set "$BRIDGE" up

    start etcd
    start containerd
    wait_for 60 etcd curl -sf http://127.0.0.1:22379/health
    start kube-apiserver
    wait_for 60 containerd CTR version
    mkdir -p "$DIR/load"
    cp "$TOOLS/bin/load" "$DIR/load/"
    images_of_the_suite
    wait_for 120 kube-apiserver kubectl get --raw /readyz
    start kube-controller-manager
    start kube-scheduler
    start kubelet
    start metrics-server
    wait_for 60 "the kube-system namespace" kubectl get namespace kube-system
    kubectl apply -f "$HERE/conf/metrics-server.yaml" >/dev/null
    wait_for 120 "the node" node_is_ready "$NODE"
    xargs -n1 sysctl -qw < "$DIR/sysctl"
    wait_for 60 "the default service account" kubectl get serviceaccount default
    echo "$RELEASE" > "$DIR/kubernetes"
}

# Where the node's programs leave things outside of $DIR.
FOLDERS=(/var/lib/kubelet /var/lib/containerd /var/lib/cni /var/log/containers /run/containerd
    /run/mount /run/netns /etc/cni /opt/cni /opt/containerd)

down() {
    [ -d "$DIR" ] || return 0
    (second down)
    for name in metrics-server kubelet kube-scheduler kube-controller-manager; do stop "$name"; done
    end_containers containerd
    for name in containerd kube-apiserver etcd; do stop "$name"; done
    unmount "$DIR/"
    for namespace in /run/netns/cni-*; do
        namespace=$(basename "$namespace")
        grep -qxF "$namespace" "$DIR/netns" 2>/dev/null ||
            ip netns delete "$namespace" 2>/dev/null || true
    done
    if ip link show "$BRIDGE" >/dev/null 2>&1; then ip link delete "$BRIDGE"; fi
    remove_cgroups kubepods
    if [ -f "$DIR/sysctl" ]; then xargs -n1 sysctl -qw < "$DIR/sysctl"; fi
    if [ -f "$DIR/folders" ]; then xargs -r rm -rf < "$DIR/folders"; fi
    find /var/log/containers -type l -lname "$DIR/*" -delete 2>/dev/null || true
    rm -rf "$DIR"
}

case ${1:-} in
up) up ;;
down) down ;;
start | stop | image | second) "$@" ;;
*)
    echo "usage: cluster.sh up|down|start NAME [FLAG…]|stop NAME|image NAME FOLDER CONFIG|second" \
        "up|down" >&2
    exit 2
    ;;
esac
