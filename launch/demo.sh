#!/usr/bin/env bash
# Explains some short stories with a small Llama on two tensor-parallel ranks, and shows what came out.
#
#   launch/demo.sh [RUN_DIRECTORY]        default: build/demo; an earlier run there is replaced
set -euo pipefail

job=launch/examples/stories260K/job.toml
samples=(object-thrown object-eaten object-read)

run_directory=$(realpath -m "${1:-$(dirname "${BASH_SOURCE[0]}")/../build/demo}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ -e "$run_directory" ] && [ ! -e "$run_directory/manifest.json" ]; then
  echo "demo: this is there and no run of limn; name another folder: $run_directory" >&2
  exit 64
fi

launch/setup.sh
cmake --preset release
cmake --build --preset release --target limn

# A finished run would only say so.
rm -rf "$run_directory"
# Open MPI starts nothing for root without being told twice.
if [ "$(id -u)" -eq 0 ]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
# Oversubscribed, and on the CPU: a machine with one core or one GPU shows it, too.
mpirun --oversubscribe -n 2 build/release/limn run "$job" \
  --parallel.tensor_parallel 2 --parallel.device cpu --output.path "$run_directory"

build/release/limn show "$run_directory" "${samples[@]/#/--sample=}"
echo "The relevance of every sample is in $run_directory/relevance.h5"
