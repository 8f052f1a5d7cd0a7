#!/usr/bin/env bash
# Builds limn and runs all of its tests; the last lines are ctest's own summary.
#
#   launch/test.sh [CTEST_ARGUMENT...]        for example: launch/test.sh -R communicator
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

launch/setup.sh --with-tests
cmake --preset release -D BUILD_TESTING=ON
# Every header also compiles alone.
cmake --build --preset release --target all all_verify_interface_header_sets

# Open MPI starts nothing for root without being told twice.
if [ "$(id -u)" -eq 0 ]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
export CTEST_PARALLEL_LEVEL=${CTEST_PARALLEL_LEVEL:-$(nproc)}
exec ctest --preset release "$@"
