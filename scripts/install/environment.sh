# Sourced by the commands in scripts/. Sets $root; `prepare run` and `prepare test` make .venv/ ready.
#
# What is installed already costs a few short processes and no Python: a stamp in .venv/ says for which state of the
# world the installation was finished. Everything else is done by the Python package beside this file, by one
# process at a time: the root folder itself is the lock.

root=$(readlink -f "${BASH_SOURCE[0]%/*}/../..")

# What an installation depends on. The processor counts because llama.cpp is compiled for it, and a card or disk
# may be moved to another board; the place counts because the installation holds absolute paths.
fingerprint() { # PURPOSE
  local line
  printf '%s\n' "$root" "${EDGED_CUDA-}"
  type -P nvcc /usr/local/cuda/bin/nvcc || true
  readlink -f "$root/.venv/bin/python" || true
  while read -r line; do
    case $line in "model name"* | "CPU part"*) printf '%s\n' "$line"; break ;; esac
  done </proc/cpuinfo
  sha256sum "$root"/pyproject.toml "$root"/requirements/*.lock "$root"/scripts/install/*.*
  [ "$1" != test ] || sha256sum "$root"/tests/end_to_end/node/*.json
}

is_ready() { # PURPOSE
  [ -x "$root/.venv/bin/python" ] && [ -x "$root/.venv/bin/edged" ] && [ -r "$root/.venv/$1.stamp" ] &&
    [ "$(fingerprint "$1")" = "$(<"$root/.venv/$1.stamp")" ]
}

prepare() { # PURPOSE: run or test
  local python
  if is_ready "$1"; then return; fi

  exec 9<"$root"
  flock 9
  if ! is_ready "$1"; then # another run may have finished it while this one waited
    rm -f "$root/.venv/$1.stamp"
    python=$("$root/scripts/install/interpreter.sh")
    PYTHONPATH=$root/scripts "$python" -B -m install "$root" "$1"
    fingerprint "$1" >"$root/.venv/$1.stamp.new"
    mv "$root/.venv/$1.stamp.new" "$root/.venv/$1.stamp"
  fi
  exec 9<&-
}
