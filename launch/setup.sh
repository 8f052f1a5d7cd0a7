#!/usr/bin/env bash
# Prepares a machine to build and run limn: Debian's packages, and PyTorch's libraries from PyPI.
#
#   launch/setup.sh [--with-tests]
#
# Installs what is missing, says so, and is quiet when nothing is. PyTorch comes into a Python environment
# of its own outside the tree, so that all checkouts share it; --with-tests adds a second, small one with
# what the Python tests and the checks of the code use (tests/python/requirements.txt).
#
# LIMN_TORCH=/path/to/torch names an installed PyTorch to use instead; one that `python3` imports is used,
# too, if its release is right. XDG_DATA_HOME moves the environments.
#
# Exit codes: 0 everything is there, 64 usage, 69 something is missing and cannot be installed.
set -euo pipefail

source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
environments=${XDG_DATA_HOME:-$HOME/.local/share}/limn
torch_release=$(sed -n 's/^set(LIMN_TORCH_RELEASE \(.*\))$/\1/p' "$source_dir/launch/torch.cmake")
test_requirements=$source_dir/tests/python/requirements.txt

packages=(
  ca-certificates g++ ccache cmake git ninja-build pkg-config python3 python3-venv
  libcli11-dev libgmock-dev libgtest-dev libhdf5-dev libicu-dev libopenmpi-dev libpcre2-dev
  libsentencepiece-dev libspdlog-dev libtomlplusplus-dev libxxhash-dev libzstd-dev nlohmann-json3-dev openmpi-bin zlib1g-dev
)
# The version of clang-format is part of the style: others format differently.
# Slurm and munge are for tests/slurm, which starts their daemons itself.
test_packages=(clang-format-14 clang-14 libclang-rt-14-dev hdf5-tools patchelf busybox-static
  munge slurm-client slurm-wlm-basic-plugins slurmctld slurmd)

say() { printf 'setup: %s\n' "$*"; }

fail() {
  printf 'setup: %s\n' "$1" >&2
  exit "${2:-69}"
}

# as_root COMMAND... runs it by itself, or by a sudo that asks for no password; 69 if neither is possible.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif sudo -n true 2>/dev/null; then
    sudo -n "$@"
  else
    return 69
  fi
}

# Lets a long command print only when it fails.
quietly() {
  local log status=0
  log=$(mktemp)
  "$@" >"$log" 2>&1 || status=$?
  [ "$status" -eq 0 ] || cat "$log" >&2
  rm -f "$log"
  return "$status"
}

missing_packages() {
  local installed
  installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${packages[@]}" 2>/dev/null || true)
  local package
  for package in "${packages[@]}"; do
    grep -qx "installed $package" <<<"$installed" || printf '%s\n' "$package"
  done
}

install_packages() {
  if ! command -v dpkg-query >/dev/null; then
    say "not a Debian machine; nothing is installed here. limn needs g++ 12, CMake 3.25, Ninja," \
      "pkg-config, Python 3 with venv, Open MPI, HDF5, spdlog, nlohmann/json, toml++, CLI11, ICU, PCRE2," \
      "SentencePiece, xxHash, zlib, zstd and GoogleTest, where CMake can find them"
    return
  fi
  local missing
  mapfile -t missing < <(missing_packages)
  [ ${#missing[@]} -gt 0 ] || return 0

  as_root true ||
    fail "packages are missing and you may not install them; run: sudo apt-get install ${missing[*]}"
  say "installing Debian packages: ${missing[*]}"
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600)
  quietly as_root "${apt[@]}" update ||
    say "apt-get update failed; going on with the package lists that are there"
  quietly as_root "${apt[@]}" install -y --no-install-recommends "${missing[@]}" ||
    fail "apt-get install failed"
}

# The Python that environments are made of. Debian's own first: it is the one that python3-venv belongs to,
# and it does not go away as those of version managers do.
base_python() {
  if [ -x /usr/bin/python3 ]; then echo /usr/bin/python3; else command -v python3; fi
}

# make_environment FOLDER IS_READY PIP_ARGUMENT...
# Makes FOLDER a virtual environment with what `pip install` is told, unless IS_READY says that it is one.
# It is made under another name and renamed when whole, so that an interrupted run leaves nothing that looks
# finished; the next one starts afresh. Several runs at once wait for each other.
make_environment() (
  local folder=$1 is_ready=$2 partial=$1.partial
  shift 2
  mkdir -p "$environments" || fail "cannot make the folder of the environments: $environments"
  # pip inherits the lock: if it outlives a killed setup.sh, nobody deletes the folder under its hands.
  exec 9>"$environments/setup.lock"
  flock -n 9 || { say "waiting for another setup.sh"; flock 9; }
  if "$is_ready"; then exit; fi

  say "installing into $folder"
  rm -rf "$partial"
  "$(base_python)" -m venv "$partial" ||
    fail "no Python environment can be made; is python3-venv installed?"
  mkdir "$partial/download"
  # Nothing is kept in pip's cache, and downloads do not fill a small /tmp.
  TMPDIR=$partial/download "$partial/bin/python" -m pip install \
    --no-cache-dir --no-input --disable-pip-version-check --progress-bar off "$@" |
    { grep --line-buffered -E '^ +Downloading .*\([0-9.]+ [MG]B\)|^Installing' || true; } |
    sed -u -E 's/-(py|cp)[0-9][^ ]*\.whl//; s/^ */setup:   /; s/^(.{100}).*/\1 .../' || fail "pip could not install $*"
  rm -rf "$partial/download"
  # The scripts of an environment name its folder.
  { grep -rlIF "$partial" "$partial/bin" "$partial/pyvenv.cfg" || true; } |
    while IFS= read -r script; do sed -i "s|$partial|$folder|g" "$script"; done
  rm -rf "$folder"
  mv "$partial" "$folder"
)

find_torch() { cmake -P "$source_dir/launch/torch.cmake" >/dev/null 2>&1; }

install_torch() {
  if find_torch; then return; fi
  [ -z "${LIMN_TORCH:-}" ] ||
    fail "LIMN_TORCH is not the folder torch of PyTorch $torch_release: $LIMN_TORCH"
  say "PyTorch $torch_release with its CUDA libraries: a download of about 3 GB, 5 GB on disk"
  make_environment "$environments/torch-$torch_release" find_torch "torch==$torch_release"
  find_torch || fail "PyTorch was installed, but CMake does not find it; see cmake -P launch/torch.cmake"
}

test_environment=$environments/test-$(sha256sum "$test_requirements" | cut -c 1-12)

test_environment_is_ready() { [ -x "$test_environment/bin/python" ]; }

install_test_environment() {
  if test_environment_is_ready; then return; fi
  make_environment "$test_environment" test_environment_is_ready -r "$test_requirements"
}

with_tests=false
for argument in "$@"; do
  case $argument in
    --with-tests) with_tests=true ;;
    *) fail "unknown argument; usage: launch/setup.sh [--with-tests]: $argument" 64 ;;
  esac
done

if $with_tests; then packages+=("${test_packages[@]}"); fi
install_packages
command -v cmake >/dev/null || fail "cmake is missing"
install_torch
if $with_tests; then install_test_environment; fi
