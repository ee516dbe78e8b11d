# shellcheck shell=bash
# Sourced by `cluster`: how parts are started and stopped, and the control plane's.

alive() { [ -f "$STATE/$1.pid" ] && lives "$(cat "$STATE/$1.pid")"; }
lives() { # lives PID: and is no zombie that nobody has reaped yet. One whose other threads still end has its ports
  local state; state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null) && [ -n "$state" ] || return 1
  [ "$state" != Z ] || [ "$(find "/proc/$1/task" -mindepth 1 -maxdepth 1 2>/dev/null | wc -l)" -gt 1 ]
}
without_locks() { # closes what was inherited: a part that outlives its caller must not hold the caller's locks
  local fd
  for fd in "/proc/$BASHPID/fd"/*; do
    fd=${fd##*/}
    [ "$fd" -le 2 ] || eval "exec $fd>&-"
  done
}
run() { # run NAME command...: in the background, with a pid file and a log
  local name=$1; shift
  alive "$name" && return 0
  printf '%q ' "$@" >"$STATE/$name.cmd"
  (without_locks; exec setsid "$@") >>"$STATE/$name.log" 2>&1 </dev/null &
  echo $! >"$STATE/$name.pid"
}
halt() { # halt NAME [SIGNAL]
  local pid
  if alive "$1"; then
    pid=$(cat "$STATE/$1.pid"); kill "-${2:-TERM}" "$pid" 2>/dev/null || true
    for _ in $(seq 200); do lives "$pid" || break; sleep 0.05; done
    kill -KILL "$pid" 2>/dev/null || true
  fi
  rm -f "$STATE/$1.pid"
}
wait_for() { # wait_for SECONDS WHAT command...
  local deadline=$((SECONDS + $1)) what=$2; shift 2
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $deadline ] || die "$what did not come up in time; cluster logs PART says more"
    sleep 0.2
  done
}
kc() { kubectl --kubeconfig "$KUBECONFIG" "$@"; }

# The cluster's machine: a network and mounts of its own, with one cable to the real one and no way
# further, so that what cannot be reached fails at once.
in_machine() { nsenter -t "$(cat "$STATE/machine.pid")" -m -n -- "$@"; }
machine() {
  run machine unshare --mount --net --propagation private sleep infinity
  wait_for 60 "the cluster's namespaces" sh -c "[ \$(readlink /proc/$(cat "$STATE/machine.pid")/ns/net) != \$(readlink /proc/self/ns/net) ]"
  ip link add "$NAME" type veth peer name "$NAME-api" netns "$(cat "$STATE/machine.pid")"
  ip addr add "$HOST/24" dev "$NAME"; ip link set "$NAME" up
  in_machine sh -ec "ip link set lo up; ip addr add $API/24 dev $NAME-api; ip link set $NAME-api up
    ip route add $SERVICES dev $NAME-api # for kube-proxy's rules: the API server calls webhooks
    echo 1 >/proc/sys/net/ipv4/ip_forward"
  ip route replace "$NET.0.0/16" via "$API" dev "$NAME"
}

cert() { # cert FILE SUBJECT [SAN], in the pki folder
  openssl req -newkey rsa:2048 -nodes -subj "$2" -keyout "$1.key" -out "$1.csr" 2>/dev/null
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -out "$1.crt" \
    -extfile <(echo "subjectAltName=${3:-DNS:localhost}") 2>/dev/null
}
pki() {
  mkdir -p "$STATE/pki"; pushd "$STATE/pki" >/dev/null
  openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=test-ca -keyout ca.key -out ca.crt 2>/dev/null
  openssl genrsa -out sa.key 2048 2>/dev/null; openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null
  cert apiserver /CN=kube-apiserver "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:$API,IP:$SERVICE"
  cert admin /O=system:masters/CN=admin
  cert kcm /CN=system:kube-controller-manager
  cert scheduler /CN=system:kube-scheduler
  cert proxy /CN=system:kube-proxy
  popd >/dev/null
}
conf() { # conf FILE CERT: a kubeconfig
  cat >"$1" <<Y
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://$API:6443", certificate-authority-data: $(base64 -w0 <"$STATE/pki/ca.crt")}}]
users: [{name: u, user: {client-certificate-data: $(base64 -w0 <"$STATE/pki/$2.crt"), client-key-data: $(base64 -w0 <"$STATE/pki/$2.key")}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
current-context: c
Y
}
configs() {
  conf "$KUBECONFIG" admin; conf "$STATE/kcm.conf" kcm; conf "$STATE/scheduler.conf" scheduler; conf "$STATE/proxy.conf" proxy
  cat >"$STATE/proxy.yaml" <<Y
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clientConnection: {kubeconfig: $STATE/proxy.conf}
clusterCIDR: $NET.0.0/16
conntrack: {maxPerCore: 0}
metricsBindAddress: 127.0.0.1:10249
healthzBindAddress: ""
hostnameOverride: node1
Y
}

inside() { local name=$1; shift; run "$name" nsenter -t "$(cat "$STATE/machine.pid")" -m -n -- "$@"; }
part() { # part NAME: start one part
  case $1 in
    containerd* | kubelet*) "part_${1%%[0-9]*}" "${1##*[a-z]}" ;;
    etcd | apiserver | controller-manager | scheduler | proxy | registry) "part_$1" ;;
    *) die "there is no part $1" ;;
  esac
}
part_etcd() {
  inside etcd etcd --data-dir "$STATE/etcd" --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 --initial-cluster default=http://127.0.0.1:2380 --unsafe-no-fsync
}
part_apiserver() {
  inside apiserver "$BIN/kube-apiserver" --etcd-servers http://127.0.0.1:2379 --bind-address 0.0.0.0 --secure-port 6443 \
    --advertise-address "$API" --service-cluster-ip-range "$SERVICES" --authorization-mode Node,RBAC --allow-privileged=true \
    --client-ca-file "$STATE/pki/ca.crt" --tls-cert-file "$STATE/pki/apiserver.crt" --tls-private-key-file "$STATE/pki/apiserver.key" \
    --service-account-issuer https://kubernetes.default.svc --service-account-key-file "$STATE/pki/sa.pub" --service-account-signing-key-file "$STATE/pki/sa.key" \
    --kubelet-client-certificate "$STATE/pki/admin.crt" --kubelet-client-key "$STATE/pki/admin.key" --kubelet-certificate-authority "$STATE/pki/ca.crt" \
    --kubelet-preferred-address-types InternalIP --enable-aggregator-routing=false ${ADMISSION:+--enable-admission-plugins "$ADMISSION"}
}
part_controller-manager() {
  inside controller-manager "$BIN/kube-controller-manager" --kubeconfig "$STATE/kcm.conf" --service-account-private-key-file "$STATE/pki/sa.key" \
    --root-ca-file "$STATE/pki/ca.crt" --use-service-account-credentials=true --leader-elect=false \
    --cluster-signing-cert-file "$STATE/pki/ca.crt" --cluster-signing-key-file "$STATE/pki/ca.key"
}
part_scheduler() { inside scheduler "$BIN/kube-scheduler" --kubeconfig "$STATE/scheduler.conf" --leader-elect=false; }
part_proxy() { inside proxy "$BIN/kube-proxy" --config "$STATE/proxy.yaml"; }
part_registry() { inside registry python3 "$HERE/registry" "$STATE/images" "$API" 5000; }
