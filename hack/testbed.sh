# shellcheck shell=bash
# What planes, install, demo and test share: which cluster they speak to, how one comes up with everything on it, and
# phases that are announced, timed and listed.

# shellcheck disable=SC2034 # for the scripts that source this
ROOT=$(dirname "$HERE")
MADE=no # whether cluster_up made the cluster
STATE=$(realpath -m "${BELLWETHER_STATE:-$CACHE/state}")

kc() { "$HERE/cluster" kubectl "$@"; }
inside() { "$HERE/cluster" exec "$@"; }

is_users_cluster() { [ -n "${KUBECONFIG:-}" ] && [ "$KUBECONFIG" != "$STATE/admin.kubeconfig" ]; }

# The network of the cluster that is built here can be entered; that of any other is out of reach from this machine.
needs_own_cluster() {
  require_root "it makes a cluster of network namespaces, mounts and control groups"
  ! is_users_cluster || die "needs the cluster that is built here: unset KUBECONFIG"
  [ ! -e "$STATE/mode" ] || [ "$(cat "$STATE/mode")" = own ] ||
    die "needs the cluster that is built here, and $STATE is one of kind: name another folder with BELLWETHER_STATE"
  export BELLWETHER_CLUSTER=own
}

# All of it first and one after the other: two that install packages at a time would wait for a lock, or fail at it.
require_for_testbed() {
  require_rust
  require_for_build
  require_for_cluster
}

# The folder of a cluster outlives its daemons, when a machine restarts or they are killed: with all objects in it.
cluster_up() {
  if [ -e "$STATE/mode" ] && ! kc get --raw /readyz >/dev/null 2>&1; then
    say "what is left of a stopped cluster is cleared away"
    "$HERE/cluster" down
  fi
  [ -e "$STATE/mode" ] || MADE=yes
  "$HERE/cluster" up
}

planes() {
  "$HERE/planes"
  "$HERE/cluster" image localhost/bw-app:1 /bw-app "$BIN/bw-app"
}

installation() { "$HERE/install" --skip-build; }

PHASES=() PHASE=""

phase() { # NAME CMD...
  local start=$SECONDS
  PHASE=$1
  shift
  printf '\n== %s\n' "$PHASE" >&2
  "$@"
  PHASES+=("$(clock $((SECONDS - start)))  $PHASE")
  PHASE=""
}

clock() { printf '%4d:%02d' $(($1 / 60)) $(($1 % 60)); } # SECONDS

list_phases() {
  printf '\nHow long it took (minutes:seconds):\n'
  printf '%s\n' "${PHASES[@]}" "$(clock "$SECONDS")  in all${PHASE:+, and it did not get through: $PHASE}"
}
