# shellcheck shell=bash
# Sourced by `cluster`: a node is a containerd and a kubelet in a mount namespace of their own, so that
# /var/lib/kubelet, /run and /var/log/pods are that node's alone, as on a machine of its own.

node_dir() { echo "$STATE/node$1"; }
nodes() { local d; for d in "$STATE"/node[0-9]*; do [ ! -d "$d" ] || basename "$d" | tr -dc '0-9\n'; done; }
in_node() { local i=$1; shift; nsenter -t "$(cat "$STATE/mounts$i.pid")" -m -n -- "$@"; }
of_node() { # the processes in a node's mount namespace, all but the one that holds it
  local p own=$STATE/mounts$1.pid ns; ns=$(readlink "/proc/$(cat "$own")/ns/mnt")
  for p in /proc/[0-9]*; do
    [ "$(readlink "$p/ns/mnt" 2>/dev/null)" != "$ns" ] || [ "${p#/proc/}" = "$(cat "$own")" ] || echo "${p#/proc/}"
  done
}
of_cgroup() { # the processes of a node's pods
  local d
  for d in /sys/fs/cgroup/*/"$NAME-node$1" /sys/fs/cgroup/"$NAME-node$1"; do
    [ ! -d "$d" ] || find "$d" -name cgroup.procs -exec cat {} + 2>/dev/null || true
  done | sort -u
}
node_conf() {
  local i=$1 d c; d=$(node_dir "$i"); mkdir -p "$d"/{cni,lib/kubelet,run,pods-log}
  cat >"$d/cni/10-bridge.conflist" <<J
{"cniVersion":"0.4.0","name":"pods$i","plugins":[
 {"type":"bridge","bridge":"pods$i","isGateway":true,"ipMasq":false,"hairpinMode":true,
  "ipam":{"type":"host-local","dataDir":"$d/ipam","ranges":[[{"subnet":"$NET.$i.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}]}},
 {"type":"loopback"}]}
J
  # restrict_oom_score_adj: lowering it takes CAP_SYS_RESOURCE, which a sandboxed machine may lack.
  cat >"$d/containerd.toml" <<T
version = 2
root = "$d/containerd"
state = "$d/containerd-run"
[grpc]
  address = "$d/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/test/pause:1"
  restrict_oom_score_adj = true
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$d/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]
    endpoint = ["http://$API:5000"]
  [plugins."io.containerd.grpc.v1.cri".registry.mirrors."baton.dev"]
    endpoint = ["http://$API:5000"]
T
  cat >"$d/kubelet.yaml" <<Y
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $STATE/pki/ca.crt}}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
cgroupRoot: /$NAME-node$i
cgroupsPerQOS: true
enforceNodeAllocatable: []
failSwapOn: false
port: $((10240 + 10 * i))
healthzPort: $((10241 + 10 * i))
tlsCertFile: $STATE/pki/node$i.crt
tlsPrivateKeyFile: $STATE/pki/node$i.key
evictionHard: {memory.available: "100Mi", nodefs.available: "1%", imagefs.available: "1%"}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
resolvConf: $STATE/resolv.conf
clusterDNS: [$NET.128.10]
maxPods: ${CLUSTER_MAX_PODS:-250}
registryPullQPS: 0
Y
  echo "nameserver 127.0.0.1" >"$STATE/resolv.conf"
  (cd "$STATE/pki" && cert "node$i" "/O=system:nodes/CN=system:node:node$i" "DNS:node$i,IP:127.0.0.1,IP:$NET.$i.1")
  conf "$d/kubelet.conf" "node$i"
  # The node's own address is its pod bridge's: a kubelet takes no loopback address.
  in_machine sh -ec "ip link add pods$i type bridge; ip addr add $NET.$i.1/24 dev pods$i; ip link set pods$i up"
  for c in cpu cpuacct cpuset memory devices freezer blkio pids systemd; do [ ! -d /sys/fs/cgroup/$c ] || mkdir -p "/sys/fs/cgroup/$c/$NAME-node$i"; done
  for c in cpus mems; do [ ! -f "/sys/fs/cgroup/cpuset/cpuset.$c" ] || cat /sys/fs/cgroup/cpuset/cpuset.$c >"/sys/fs/cgroup/cpuset/$NAME-node$i/cpuset.$c"; done
}
node_mounts() { # what a node plugin's mounts must spread through is a shared mount
  local i=$1 d; d=$(node_dir "$i"); mkdir -p /var/log/pods
  # /var/lib is the node's own, with nothing of the machine's below it: a kubelet folder that is mounted
  # there already would be found first, and a mount ends when somebody removes the folder it is on.
  # shellcheck disable=SC2016
  inside "mounts$i" unshare --mount --propagation private sh -ec '
    while mountpoint -q /var/lib/kubelet; do umount -l /var/lib/kubelet; done
    mount --bind "$0/lib" /var/lib
    mount --bind /var/lib/kubelet /var/lib/kubelet && mount --make-rshared /var/lib/kubelet
    mount --bind "$0/run" /run; mount --bind "$0/pods-log" /var/log/pods
    touch "$0/ready"; exec sleep infinity' "$d"
  wait_for 60 "node$i's mounts" test -f "$d/ready"
}
part_containerd() { run "containerd$1" nsenter -t "$(cat "$STATE/mounts$1.pid")" -m -n -- containerd --config "$(node_dir "$1")/containerd.toml"; }
part_kubelet() {
  local i=$1 d; d=$(node_dir "$i")
  run "kubelet$i" nsenter -t "$(cat "$STATE/mounts$i.pid")" -m -n -- "$BIN/kubelet" --config "$d/kubelet.yaml" --kubeconfig "$d/kubelet.conf" \
    --root-dir /var/lib/kubelet --container-runtime=remote --container-runtime-endpoint "unix://$d/containerd.sock" \
    --hostname-override "node$i" --node-ip "$NET.$i.1" --register-node=true --v=2
}
node_up() {
  local i=$1 d archive; d=$(node_dir "$i")
  node_conf "$i"; node_mounts "$i"; part_containerd "$i"
  wait_for 30 "containerd of node$i" ctr -a "$d/containerd.sock" version
  for archive in "$STATE"/images/*.tar; do ctr -a "$d/containerd.sock" -n k8s.io images import "$archive" >/dev/null; done
  part_kubelet "$i"
}
