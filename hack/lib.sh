# shellcheck shell=bash
# What the scripts of this folder share: words, waits, prerequisites, places.

CACHE=${BELLWETHER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/bellwether}
# shellcheck disable=SC2034 # for the scripts that source this
BIN=$CACHE/bin

say() { echo "[$(date +%T)] $*" >&2; }
die() {
  echo "$(basename "$0"): $*" >&2
  exit 1
}
usage() { awk 'NR > 1 && !/^#/ {exit} NR > 1 {sub(/^# ?/, ""); print}' "$1"; }

until_ok() { # SECONDS WHAT CMD...: waits for a condition
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || die "timed out: $what"
    sleep 0.2
  done
  say "$what"
}

# On Debian as root what is missing is installed; elsewhere one line says what to install.
install_or_say() { # PACKAGE WHAT
  if [ -e /etc/debian_version ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing $1"
    { [ -n "$(find /var/lib/apt/lists -name '*_Packages*' -mtime -7 -print -quit 2>/dev/null)" ] || apt-get update -qq
      DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1"; } >/dev/null 2>&1 || die "cannot install $1, which has $2"
  else
    die "$2 is missing: install $1"
  fi
}

require() { # COMMAND[:PACKAGE]...
  local item command
  for item; do
    command=${item%%:*}
    command -v "$command" >/dev/null && continue
    [ "$item" != "$command" ] || die "$command is missing: install it first"
    install_or_say "${item#*:}" "$command"
    command -v "$command" >/dev/null || die "$command is still missing after installing ${item#*:}"
  done
}

require_file() { # FILE PACKAGE
  [ -e "$1" ] || install_or_say "$2" "$1"
}
