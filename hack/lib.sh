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
  local log
  if [ -e /etc/debian_version ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing $1"
    log=$(mktemp)
    { [ -n "$(find /var/lib/apt/lists -name '*_Packages*' -mtime -7 -print -quit 2>/dev/null)" ] || apt-get update -qq
      DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1"; } >"$log" 2>&1 || {
      tail -n 5 "$log" >&2
      rm "$log"
      die "cannot install $1, which has $2; above is what apt-get said last"
    }
    rm "$log"
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

require_root() { # WHAT FOR
  [ "$(id -u)" = 0 ] || die "needs root: $1"
}

require_version() { # PROGRAM VERSION LEAST ADVICE
  [ "$(printf '%s\n' "$3" "$2" | sort -V | head -n 1)" = "$3" ] || die "$1 $3 or newer is needed, and this is ${2:-none}: $4"
}

require_go() { # in every module, for a newer Go fetches by itself the one that a module asks for, if it may
  local module
  require go
  for module in "$HERE"/tools/*/go.mod "$HERE/../e2e/app/go.mod"; do
    require_version Go "$(cd "$(dirname "$module")" && go env GOVERSION | sed 's/^go//; s/[^0-9.].*//')" \
      "$(sed -n 's/^go //p' "$module")" "install it from go.dev/dl"
  done
}

require_rust() {
  command -v cargo >/dev/null || die "cargo is missing: install Rust with rustup first"
  require_version Rust "$(rustc --version 2>/dev/null | cut -d' ' -f2)" \
    "$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$HERE/../Cargo.toml")" "rustup update stable"
}

require_python() {
  require python3:python3
  require_version Python "$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')" 3.10 "put a newer python3 first in PATH"
}

require_pip() {
  python3 -m pip --version >/dev/null 2>&1 || install_or_say python3-pip "python3 -m pip"
  python3 -m pip --version >/dev/null 2>&1 || die "$(command -v python3) has no pip: install it, or put another python3 first in PATH"
}

# What hack/build and hack/mkimage need; asked for before anything is built.
require_for_build() {
  require_go
  require_python
  require_pip
  require gcc:gcc pkg-config:pkg-config
  require_file /usr/include/unistd.h libc6-dev
  require_file /usr/include/seccomp.h libseccomp-dev
}

# What hack/cluster needs beside that.
require_for_cluster() {
  require_root "network namespaces, mounts and control groups are made"
  require ip:iproute2 nft:nftables nsenter:util-linux openssl:openssl
}
