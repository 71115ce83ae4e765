# shellcheck shell=bash disable=SC2154
# The parts of hack/cluster, which sets S (state folder), NS (network namespace), SOCK (containerd), SHIMS (the folder of
# their sockets) and MODE.

NODE_IP=10.99.0.1
SERVICES=10.96 # 10.96.0.0/16
PODS=10.244.0.0/24
DNS=10.96.0.10
DAEMONS="etcd kube-apiserver kube-controller-manager kube-scheduler containerd kubelet kube-proxy" # in the order of starting

# Not `ip netns exec`: that mounts /sys anew, which hides the control groups.
inside() { nsenter --net="/var/run/netns/$NS" "$@"; }

is_there() { [ "$MODE" = given ] || [ -e "$S/mode" ] || die "there is no cluster: hack/cluster up"; }

# `down` removes the whole folder, so it must be one that `up` made.
check_state_folder() {
  [ -e "$S/mode" ] || [ -z "$(ls -A "$S" 2>/dev/null)" ] || die "not the folder of a cluster: $S"
}

kc() {
  local kubectl=kubectl
  [ ! -x "$BIN/kubectl" ] || kubectl=$BIN/kubectl
  case $MODE in
    own) inside "$kubectl" --kubeconfig "$S/admin.kubeconfig" "$@" ;;
    kind) "$kubectl" --kubeconfig "$S/admin.kubeconfig" "$@" ;;
    given) "$kubectl" "$@" ;;
  esac
}

ctr() { "$BIN/ctr" -a "$SOCK" -n k8s.io "$@"; }

# ---- daemons

# A process that has ended keeps its /proc entry until it is reaped, but no command line; and the state folder's path
# in it tells our daemon from a stranger who was given its number.
alive() { # NAME
  local pid
  pid=$(cat "$S/run/$1.pid" 2>/dev/null) && grep -qsF "$S" "/proc/$pid/cmdline"
}
dead() { ! alive "$1"; }

start() { # NAME CMD...
  local name=$1
  shift
  if alive "$name"; then
    kill -CONT "$(cat "$S/run/$name.pid")" # it may have been paused
    say "$name runs already"
    return
  fi
  setsid nsenter --net="/var/run/netns/$NS" "$@" >>"$S/logs/$name.log" 2>&1 3>&- &
  echo $! >"$S/run/$name.pid"
  say "$name started, pid $!"
}

# Killed at once: its state goes too, and the API server alone would take over ten seconds to stop gracefully.
stop() { # NAME
  alive "$1" || return 0
  kill -9 "$(cat "$S/run/$1.pid")"
  until_ok 10 "$1 stopped" dead "$1"
}

is_daemon() { # NAME
  [[ -n $1 && " $DAEMONS " == *" $1 "* ]] || die "no such daemon: '$1'; there are: $DAEMONS"
}

signal() { # SIGNAL NAME
  is_daemon "$2"
  alive "$2" || die "$2 does not run"
  kill "-$1" "$(cat "$S/run/$2.pid")"
}

describe() { # NAME
  local pid
  alive "$1" || { printf '%-24s stopped\n' "$1"; return 1; }
  pid=$(cat "$S/run/$1.pid")
  printf '%-24s pid %-7s %4d MiB\n' "$1" "$pid" "$(($(awk '/VmRSS/ {print $2}' "/proc/$pid/status") / 1024))"
}

last_words() { # what the daemons that died said last
  local name
  for name in $DAEMONS; do
    if [ ! -e "$S/run/$name.pid" ] || alive "$name"; then continue; fi
    say "$name is dead; its log $S/logs/$name.log ends with:"
    tail -n 3 "$S/logs/$name.log" | cut -c1-400 >&2
  done
}

# ---- what `up` makes

make_network() {
  [ -e "/var/run/netns/$NS" ] || ip netns add "$NS"
  inside ip link set lo up
  # The node's address sits on a bridge without ports, for some kernels have no dummy interfaces.
  inside ip link show node0 >/dev/null 2>&1 || inside ip link add node0 type bridge
  inside ip addr replace "$NODE_IP/24" dev node0
  inside ip link set node0 up
  # Without a default route the address of a Service is unreachable before NAT gets to see it.
  inside ip route replace default dev node0
  echo 1 | inside tee /proc/sys/net/ipv4/ip_forward >/dev/null
}

# A root of our own in every control group hierarchy: two clusters on a machine never take each other's pods for
# orphans, and every process of a container can be found by it.
make_cgroups() {
  local dir file
  for dir in /sys/fs/cgroup /sys/fs/cgroup/*/; do
    is_cgroup_root "$dir" || continue
    mkdir -p "$dir/$NS"
    for file in cpuset.cpus cpuset.mems; do
      [ ! -e "$dir/tasks" ] || [ ! -e "$dir/$file" ] || cat "$dir/$file" >"$dir/$NS/$file" # v1 starts with none
    done
  done
}

is_cgroup_root() { # DIR: a hierarchy of version 1, or the one of version 2 where it is the only one
  [ -e "$1/tasks" ] || { [ -e "$1/cgroup.controllers" ] && [ "$1" = /sys/fs/cgroup ]; }
}

cgroup_dirs() {
  local dir
  for dir in "/sys/fs/cgroup/$NS" /sys/fs/cgroup/*/"$NS"; do
    [ ! -d "$dir" ] || echo "$dir"
  done
}

# Elliptic curves, for RSA keys take seconds each on a busy machine.
CURVE=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1)

make_certificates() (
  cd "$S/pki" || exit 1
  openssl req -x509 "${CURVE[@]}" -nodes -keyout ca.key -out ca.crt -days 3650 -subj /CN=bellwether-ca 2>/dev/null
  openssl ecparam -name prime256v1 -genkey -noout -out sa.key
  certificate apiserver /CN=kube-apiserver \
    "DNS:kubernetes.default.svc,DNS:kubernetes.default,DNS:kubernetes,DNS:localhost,IP:127.0.0.1,IP:$SERVICES.0.1,IP:$NODE_IP"
  certificate admin /O=system:masters/CN=admin DNS:admin
  certificate kube-controller-manager /CN=system:kube-controller-manager DNS:kube-controller-manager
  certificate kube-scheduler /CN=system:kube-scheduler DNS:kube-scheduler
  certificate kubelet /O=system:nodes/CN=system:node:node1 "DNS:node1,IP:$NODE_IP" # `kubectl logs` checks the address
  certificate kube-proxy /CN=system:kube-proxy DNS:kube-proxy
  certificate front-proxy /CN=front-proxy DNS:front-proxy
  touch complete
  say "certificates made"
)

certificate() { # NAME SUBJECT ALTERNATIVE-NAMES
  openssl req "${CURVE[@]}" -nodes -keyout "$1.key" -out "$1.csr" -subj "$2" 2>/dev/null
  printf 'keyUsage=digitalSignature,keyEncipherment\nextendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=%s\n' "$3" >"$1.ext"
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -out "$1.crt" -days 3650 -extfile "$1.ext" 2>/dev/null
}

make_configs() {
  local name
  for name in admin kube-controller-manager kube-scheduler kubelet kube-proxy; do kubeconfig "$name"; done
  audit_policy >"$S/audit-policy.yaml"
  cni_config >"$S/cni/10-bellwether.conflist"
  containerd_config >"$S/containerd.toml"
  kubelet_config >"$S/kubelet.yaml"
  # kube-proxy exits when its configuration is touched, so it is written only once.
  [ -e "$S/kube-proxy.yaml" ] || proxy_config >"$S/kube-proxy.yaml"
  echo "nameserver 127.0.0.1" >"$S/resolv.conf" # of pods that ask for the node's DNS: there is none
  printf 'nameserver %s\nsearch svc.cluster.local cluster.local\noptions ndots:3\n' "$DNS" >"$S/resolv-inside.conf"
}

kubeconfig() { # NAME
  cat >"$S/$1.kubeconfig" <<X
apiVersion: v1
kind: Config
clusters: [{name: bellwether, cluster: {server: "https://$NODE_IP:6443", certificate-authority: $S/pki/ca.crt}}]
users: [{name: $1, user: {client-certificate: $S/pki/$1.crt, client-key: $S/pki/$1.key}}]
contexts: [{name: bellwether, context: {cluster: bellwether, user: $1}}]
current-context: bellwether
X
}

audit_policy() { # who wrote what and when; reads would only bury that, and reviews are reads that are spelt `create`
  cat <<X
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, resources: [{group: authentication.k8s.io}, {group: authorization.k8s.io}]}
- {level: Metadata, verbs: [create, update, patch, delete, deletecollection]}
- {level: None}
X
}

# Pods hang on point-to-point links, not on a bridge: every packet is routed, so that the answer of a Service comes back
# through NAT without br_netfilter.
cni_config() {
  cat <<X
{"cniVersion": "1.0.0", "name": "bellwether", "plugins": [{"type": "ptp", "ipam": {"type": "host-local",
 "ranges": [[{"subnet": "$PODS"}]], "routes": [{"dst": "0.0.0.0/0"}], "dataDir": "$S/cni-ipam"}}]}
X
}

containerd_config() {
  cat <<X
version = 3
root = "$S/containerd/root"
state = "$S/containerd/state"
[grpc]
  address = "$SOCK"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true # root has not CAP_SYS_RESOURCE everywhere
  disable_apparmor = true
  netns_mounts_under_state_dir = true # else they land in /var/run/netns, where nobody knows whose they are
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["$BIN"]
    conf_dir = "$S/cni"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
      BinaryName = "$BIN/runc"
      Root = "$S/runc" # else every containerd of the machine shares /run/containerd/runc
[plugins."io.containerd.shim.v1.manager"]
  socket_dir = "$SHIMS"
[plugins."io.containerd.internal.v1.opt"]
  path = "$S/containerd/opt"
[plugins."io.containerd.nri.v1.nri"]
  disable = true # else they share /var/run/nri/nri.sock
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "localhost/pause:1"
X
}

kubelet_config() { # no eviction and no log rotation: a test must not fail because the disk is full of something else
  cat <<X
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, x509: {clientCAFile: $S/pki/ca.crt}, webhook: {enabled: true}}
authorization: {mode: Webhook}
tlsCertFile: $S/pki/kubelet.crt
tlsPrivateKeyFile: $S/pki/kubelet.key
cgroupDriver: cgroupfs
cgroupRoot: /$NS
failCgroupV1: false
failSwapOn: false
containerRuntimeEndpoint: unix://$SOCK
clusterDNS: [$DNS]
clusterDomain: cluster.local
resolvConf: $S/resolv.conf
podLogsDir: $S/podlogs
volumePluginDir: $S/kubelet/volume-plugins
containerLogMaxSize: 2Gi
maxPods: 200
evictionHard: {}
imageGCHighThresholdPercent: 100
X
}

proxy_config() {
  cat <<X
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $S/kube-proxy.kubeconfig}
hostnameOverride: node1
clusterCIDR: $PODS
mode: nftables
conntrack: {maxPerCore: 0}
X
}

# ---- what `up` starts

start_control_plane() {
  start etcd "$BIN/etcd" --data-dir "$S/etcd" --listen-client-urls http://127.0.0.1:2379 \
    --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380 --unsafe-no-fsync
  start kube-apiserver "$BIN/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 --bind-address=0.0.0.0 \
    --advertise-address="$NODE_IP" --secure-port=6443 --service-cluster-ip-range="$SERVICES.0.0/16" \
    --tls-cert-file="$S/pki/apiserver.crt" --tls-private-key-file="$S/pki/apiserver.key" --client-ca-file="$S/pki/ca.crt" \
    --service-account-key-file="$S/pki/sa.key" --service-account-signing-key-file="$S/pki/sa.key" \
    --service-account-issuer=https://kubernetes.default.svc \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true \
    --kubelet-client-certificate="$S/pki/admin.crt" --kubelet-client-key="$S/pki/admin.key" \
    --kubelet-certificate-authority="$S/pki/ca.crt" --kubelet-preferred-address-types=InternalIP \
    --requestheader-client-ca-file="$S/pki/ca.crt" --requestheader-allowed-names=front-proxy \
    --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
    --requestheader-extra-headers-prefix=X-Remote-Extra- \
    --proxy-client-cert-file="$S/pki/front-proxy.crt" --proxy-client-key-file="$S/pki/front-proxy.key" \
    --audit-policy-file="$S/audit-policy.yaml" --audit-log-path="$S/logs/audit.log" --audit-log-maxsize=4096
  until_ok 120 "API server ready" kc get --raw /readyz
  start_client kube-controller-manager --use-service-account-credentials \
    --service-account-private-key-file="$S/pki/sa.key" --root-ca-file="$S/pki/ca.crt" \
    --flex-volume-plugin-dir="$S/kubelet/volume-plugins"
  start_client kube-scheduler
}

start_client() { # NAME ARGS...: alone there is no leader to elect, and the default of 20 requests a second crawls
  local config=$S/$1.kubeconfig
  start "$1" "$BIN/$1" --kubeconfig="$config" --authentication-kubeconfig="$config" --authorization-kubeconfig="$config" \
    --leader-elect=false --kube-api-qps=300 --kube-api-burst=500 "${@:2}"
}

start_node() {
  start containerd env PATH="$BIN:$PATH" "$BIN/containerd" -c "$S/containerd.toml"
  until_ok 30 "containerd ready" ctr version
  image localhost/pause:1 /pause "$(pause_binary):pause"
  image localhost/coredns:1 /coredns "$BIN/coredns:coredns"
  start kubelet "$BIN/kubelet" --config="$S/kubelet.yaml" --kubeconfig="$S/kubelet.kubeconfig" \
    --hostname-override=node1 --node-ip="$NODE_IP" --root-dir="$S/kubelet"
  until_ok 90 "node Ready" kc wait --for=condition=Ready node/node1 --timeout=1s
  # Only now, for kube-proxy exits when the node's address changes.
  start kube-proxy "$BIN/kube-proxy" --config="$S/kube-proxy.yaml"
  kc apply -f "$HERE/manifests/coredns.yaml" >/dev/null
  until_ok 90 "CoreDNS available" kc -n kube-system wait --for=condition=Available deploy/coredns --timeout=1s
}

pause_binary() { # the process that holds a pod's namespaces: it sleeps and reaps
  if [ ! -x "$BIN/pause" ]; then
    gcc -static -Os -x c -o "$BIN/pause" - <<'X'
#include <signal.h>
#include <unistd.h>
int main(void) {
  signal(SIGCHLD, SIG_IGN);
  signal(SIGTERM, _exit);
  signal(SIGINT, _exit);
  for (;;) pause();
}
X
  fi
  echo "$BIN/pause"
}

# ---- images

image() { # [OPTION...] NAME ENTRYPOINT FILE[:DEST]...: loaded again only when something of it changed
  local name key marker archive
  name=$(image_name "$@")
  key=$(image_key "$@")
  marker=$S/images/${name//\//_}
  [ "$MODE" != given ] || die "cannot load images into the cluster of KUBECONFIG: push what hack/mkimage makes where it looks for $name"
  [ "$(cat "$marker" 2>/dev/null)" != "$key" ] || { say "image $name is there"; return; }
  mkdir -p "$S/images"
  archive=$(mktemp "$S/images/tmp.XXXXXX")
  "$HERE/mkimage" "$@" >"$archive"
  case $MODE in
    own) ctr images import "$archive" >>"$S/logs/ctr.log" 2>&1 || die "cannot load $name, see $S/logs/ctr.log" ;;
    kind) kind load image-archive --name bellwether "$archive" >&2 ;;
  esac
  rm "$archive"
  echo "$key" >"$marker"
  say "image $name loaded"
}

image_name() {
  while [[ ${1:-} == --* ]]; do shift 2; done
  echo "${1:?image needs a NAME (see --help)}"
}

image_key() { # changes with every argument and with every file they name
  local item
  { printf '%s\n' "$@"
    for item; do [ ! -e "${item%%:*}" ] || stat -Lc '%n %s %Y' "${item%%:*}"; done; } | sha256sum | cut -c1-16
}

# ---- what `down` removes

container_pids() {
  cgroup_dirs | while read -r dir; do find "$dir" -name cgroup.procs -exec cat {} + 2>/dev/null || true; done | sort -u
}

shim_pids() {
  { grep -slF -- "$SOCK" /proc/[0-9]*/cmdline || true; } | cut -d/ -f3 | while read -r pid; do
    ! grep -qsF containerd-shim "/proc/$pid/comm" || echo "$pid"
  done
}

kill_containers() { container_pids | while read -r pid; do kill -9 "$pid" 2>/dev/null || true; done; }
kill_shims() { shim_pids | while read -r pid; do kill -9 "$pid" 2>/dev/null || true; done; }
no_containers() { [ -z "$(shim_pids; container_pids)" ]; }

unmount_all() { # mounts can hide each other, so more than one pass
  for _ in 1 2 3; do
    awk -v s="$S/" 'index($2, s) == 1 {print $2}' /proc/mounts | sort -r | xargs -r umount -l
  done
}

remove_cgroups() {
  cgroup_dirs | while read -r dir; do find "$dir" -depth -type d -exec rmdir {} + 2>/dev/null || true; done
}

# Places outside the state folder that cannot be set. Others may have things of their own there: only ours go, and the
# folders when they are empty. Which kubelet the socket belongs to nobody can tell, so it goes with the last one.
remove_strays() {
  rm -rf "$SHIMS"
  find /var/log/containers -lname "$S/*" -delete 2>/dev/null || true
  { grep -lsF "\"netns\":\"$S/" /var/lib/cni/results/* || true; } | xargs -r rm -f
  rmdir /var/lib/cni/results /var/lib/cni 2>/dev/null || true
  ! grep -qszE '(^|/)kubelet$' /proc/[0-9]*/cmdline || return 0
  rm -f /var/lib/kubelet/device-plugins/kubelet.sock
  rmdir /var/lib/kubelet/device-plugins /var/lib/kubelet /var/log/containers 2>/dev/null || true
}
