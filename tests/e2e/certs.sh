#!/usr/bin/env bash
# One CA, and five certificates that last as long as a run may: the API server's, the
# administrator's (the control plane's own as well), those of the two nodes, and the aggregator's.
. "$(dirname "$0")/env.sh"
mkdir -p "$DIR/pki"
cd "$DIR/pki"
key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
openssl req -x509 "${key[@]}" -days 7 -keyout ca.key -out ca.crt -subj /CN=e2e-ca 2>/dev/null

leaf() { # name subject [alternative names]
    openssl req "${key[@]}" -keyout "$1.key" -out "$1.csr" -subj "$2" 2>/dev/null
    printf '%s\n' extendedKeyUsage=serverAuth,clientAuth ${3:+"subjectAltName=$3"} > "$1.ext"
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 7 \
        -extfile "$1.ext" -out "$1.crt" 2>/dev/null
    rm "$1.csr" "$1.ext"
}
leaf apiserver /CN=kube-apiserver "DNS:localhost,DNS:kubernetes.default.svc,IP:$BRIDGE_IP"
leaf admin /O=system:masters/CN=admin
leaf node "/O=system:nodes/CN=system:node:$NODE" "DNS:$NODE,IP:127.0.0.1"
leaf second "/O=system:nodes/CN=system:node:$SECOND" "IP:$SECOND"
leaf aggregator /CN=aggregator
openssl genrsa -out sa.key 2048 2>/dev/null
openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null

for user in admin node second; do
    kubectl config --kubeconfig="$DIR/$user.kubeconfig" set-cluster e2e --server="https://$API" \
        --certificate-authority=ca.crt --embed-certs >/dev/null
    kubectl config --kubeconfig="$DIR/$user.kubeconfig" set-credentials "$user" \
        --client-certificate="$user.crt" --client-key="$user.key" --embed-certs >/dev/null
    kubectl config --kubeconfig="$DIR/$user.kubeconfig" set-context e2e \
        --cluster=e2e --user="$user" >/dev/null
    kubectl config --kubeconfig="$DIR/$user.kubeconfig" use-context e2e >/dev/null
done
