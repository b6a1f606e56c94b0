#!/usr/bin/env bash
# Prints the path of a Python >= 3.11, after installing the distribution's newest where there is none.
set -eu

first_suitable() {
  local name path
  for name in python3 python3.14 python3.13 python3.12 python3.11; do
    path=$(command -v "$name") || continue
    if "$path" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      printf '%s\n' "$path"
      return
    fi
  done
  return 1
}

newest_package() {
  apt-cache search --names-only '^python3\.(1[1-9]|[2-9][0-9])$' 2>/dev/null | cut -d' ' -f1 | sort -V | tail -n 1
}

first_suitable && exit
package=$(newest_package)
"$(dirname "$0")/system_packages.sh" "${package:-python3.11}" >&2
first_suitable || {
  printf 'edged: Python 3.11 or newer is needed and this distribution has none. Install one as "python3.11" and run this again.\n' >&2
  exit 1
}
