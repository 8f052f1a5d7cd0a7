#!/bin/sh
# Runs a bundle under the root that make_bare_root.sh made.
set -eu
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1 HOME=/tmp
cd /limn
job=launch/examples/stories260K/job.toml

fail() {
  echo "under a bare root: $1" >&2
  exit 1
}

# Every library of the bundle finds what it loads.
torch=/site-packages/torch
export LD_LIBRARY_PATH=/bundle/lib/openmpi:$torch/lib:$torch/../nvidia/cu13/lib:$torch/../nvidia/nccl/lib
find /bundle/lib /bundle/libexec -type f | while IFS= read -r file; do
  /lib64/ld-linux-x86-64.so.2 --list "$file" >/tmp/list 2>&1 || fail "$file: $(cat /tmp/list)"
  ! grep 'not found' /tmp/list || fail "$file misses libraries"
done
unset LD_LIBRARY_PATH

# Without Python PyTorch must be named; with it, by a link to the program, too.
code=0
/bundle/bin/limn --version 2>/tmp/refusal || code=$?
if [ $code -ne 69 ] || ! grep -q LIMN_TORCH /tmp/refusal; then
  fail "without PyTorch: exit code $code: $(cat /tmp/refusal)"
fi
cat >/bin/python3 <<'PYTHON'
#!/bin/sh
PYTHONHOME=/python PYTHONPATH=/site-packages LD_LIBRARY_PATH=/python/lib exec /python/bin/python "$@"
PYTHON
busybox chmod +x /bin/python3
ln -s /bundle/bin/limn /bin/limn
limn --version | grep -q '^limn ' || fail "limn --version prints something else"

limn run $job --output.path /output/one --data.limit 4
limn show /output/one | head -n 3
export LIMN_TORCH=$torch
/bundle/bin/mpirun --oversubscribe -n 2 limn run $job --output.path /output/two --data.limit 4 --parallel.tensor_parallel 2
/bundle/bin/mpirun --oversubscribe -n 2 /bundle/bin/communicator_test
/bundle/bin/norm_test
