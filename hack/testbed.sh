# shellcheck shell=bash
# What install, demo and test share: which cluster they speak to, and phases that are announced, timed and listed.

# shellcheck disable=SC2034 # for the scripts that source this
ROOT=$(dirname "$HERE")
STATE=$(realpath -m "${BELLWETHER_STATE:-$CACHE/state}")

kc() { "$HERE/cluster" kubectl "$@"; }
inside() { "$HERE/cluster" exec "$@"; }

is_users_cluster() { [ -n "${KUBECONFIG:-}" ] && [ "$KUBECONFIG" != "$STATE/admin.kubeconfig" ]; }

# The network of the cluster that is built here can be entered; that of any other is out of reach from this machine.
needs_own_cluster() {
  ! is_users_cluster || die "needs the cluster that is built here: unset KUBECONFIG"
  [ ! -e "$STATE/mode" ] || [ "$(cat "$STATE/mode")" = own ] ||
    die "needs the cluster that is built here, and $STATE is one of kind: name another folder with BELLWETHER_STATE"
}

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
