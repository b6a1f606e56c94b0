#!/usr/bin/env bash
# Installs packages of the distribution, as root or with a sudo that asks nothing:
#
#   system_packages.sh NAME...
#
# Where that is not possible, says what is missing and what to type. Never asks a question.
set -eu

refuse() { # WHY COMMAND
  printf 'edged: %s: %s. Type this, then run the same command again:\n  %s\n' "$1" "$packages" "$2" >&2
  exit 1
}

packages=$*
command -v apt-get >/dev/null ||
  refuse "packages are missing and this system has no apt-get to install them" "(your package manager's command for: $packages)"

if [ "$(id -u)" = 0 ]; then
  as_root=()
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
  as_root=(sudo -n)
else
  refuse "packages are missing and installing them needs root" "sudo apt-get update && sudo apt-get install -y $packages"
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# 300 s: on a fresh machine the system's own first update holds the lock for minutes.
apt() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l \
    apt-get -q -y -o DPkg::Lock::Timeout=300 "$@" >"$log" 2>&1 </dev/null
}

printf 'edged: installing system packages: %s\n' "$packages"
# A new machine has no package lists, an old one has stale lists: both are mended by an update.
apt install --no-install-recommends "$@" || { apt update && apt install --no-install-recommends "$@"; } || {
  grep -E '^(E|W|Err)' "$log" >&2 || tail -n 5 "$log" >&2
  refuse "packages could not be installed" "${as_root:+sudo }apt-get update && ${as_root:+sudo }apt-get install -y $packages"
}
