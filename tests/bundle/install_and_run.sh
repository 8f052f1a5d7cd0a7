#!/usr/bin/env bash
# Installs limn as a bundle, checks its size and what it names, and runs it where no library is but the C and C++
# ones and PyTorch's: under a root of its own. Exits with 77 where no root can be made.
#
#   install_and_run.sh SOURCE BUILD TORCH CMAKE        leaves its files in the current folder's bundle_test, if it fails
set -euo pipefail
source_dir=$1 build=$2 torch=$3 cmake=$4
here=$source_dir/tests/bundle
work=$PWD/bundle_test

fail() {
  printf 'bundle_test: %s\n' "$1" >&2
  exit 1
}

for tool in patchelf busybox h5diff; do
  command -v $tool >/dev/null || { echo "skipped: $tool is missing; run launch/setup.sh --with-tests"; exit 77; }
done

rm -rf "$work"
mkdir -p "$work"/{bundle,output}
"$cmake" --install "$build" --prefix "$work/bundle" >"$work/install.log"

size=$(find "$work/bundle" -type f -printf '%s\n' | awk '{ s += $1 } END { print s }')
[ "$size" -lt $((60 * 1024 * 1024)) ] || fail "the bundle has 60 MiB or more; look for what is new: $size bytes"

# The launcher refuses what it cannot use, and says what.
expect_refusal() {
  local text=$1 code=0
  shift
  env "$@" "$work/bundle/bin/limn" --version >"$work/refusal" 2>&1 || code=$?
  [ "$code" -eq 69 ] || fail "expected exit code 69 with $*: $code"
  grep -qF -- "$text" "$work/refusal" || fail "expected '$text' with $*: $(cat "$work/refusal")"
}
expect_refusal "not the folder torch" LIMN_TORCH="$work"
mkdir -p "$work/other/torch/lib"
touch "$work/other/torch/lib/libtorch_cpu.so"
echo "__version__ = '2.10.0+cu130'" >"$work/other/torch/version.py"
expect_refusal "2.10.0" LIMN_TORCH="$work/other/torch"
sed 's/2.10.0/'"$(sed -n "s/^__version__ = '\([0-9.]*\).*/\1/p" "$torch/version.py")"'/' -i "$work/other/torch/version.py"
expect_refusal "CUDA" LIMN_TORCH="$work/other/torch"
expect_refusal "libmpi.so.40" LIMN_TORCH="$torch" LIMN_MPI="$work"

# An Open MPI of the machine takes the place of the bundle's.
machine_mpi=$(ldd "$build/limn" | awk '$1 == "libmpi.so.40" { print $3 }')
LIMN_TORCH=$torch LIMN_MPI=$(dirname "$machine_mpi") LD_DEBUG=libs "$work/bundle/bin/limn" --version >"$work/mpi.log" 2>&1
grep -qF "calling init: $machine_mpi" "$work/mpi.log" || fail "LIMN_MPI was not used"

# The data of ICU that the bundle keeps do as the whole.
for test in units_test tokenizer_test; do
  LD_LIBRARY_PATH=$work/bundle/lib "$build/tests/$test" >"$work/$test.log" ||
    { cat "$work/$test.log"; fail "$test fails with the bundle's libraries"; }
done

"$cmake" --install "$build" --prefix "$work/bundle" --component tests >>"$work/install.log"

# No file may look for libraries where they were on this machine.
while IFS= read -r file; do
  paths=$(readelf -d "$file" 2>/dev/null | sed -n 's/.*(\(RPATH\|RUNPATH\)).*\[\(.*\)\]/\2/p' | tr ':' '\n')
  if grep -v '^[$]ORIGIN/' <<<"$paths" | grep -q .; then
    fail "a run path does not begin with \$ORIGIN: $file: $paths"
  fi
done < <(find "$work/bundle/lib" "$work/bundle/libexec" -type f)

if [ "$(id -u)" -eq 0 ]; then namespaces=(unshare --mount); else namespaces=(unshare --mount --map-root-user); fi
if ! "${namespaces[@]}" true 2>"$work/unshare.log"; then
  echo "skipped: the bundle was made and checked, but not run: no mount namespace here: $(cat "$work/unshare.log")"
  exit 77
fi
"${namespaces[@]}" "$here/make_bare_root.sh" "$source_dir" "$work" "$torch" "$build/limn" ||
  fail "the bundle does not run under $work/root"

# What came out is what the build gives.
cd "$source_dir"
rm -rf "$work/expected"
OMP_NUM_THREADS=1 "$build/limn" run launch/examples/stories260K/job.toml --output.path "$work/expected" --data.limit 4
for object in /units /tokens /targets /relevance; do
  h5diff "$work/expected/relevance.h5" "$work/output/one/relevance.h5" $object $object >"$work/h5diff.log" ||
    { cat "$work/h5diff.log"; fail "the bundle computes something else: $object"; }
done

rm -rf "$work"
