#!/bin/sh
# Builds libFuzzer's programs in build/fuzz and runs each for a number of seconds, two at a time. Exits with 77 when Clang is missing.
#
#   build_and_run.sh SOURCE SECONDS CMAKE CTEST
set -eu
source_dir=$1 seconds=$2 cmake=$3 ctest=$4

if ! command -v clang++-14 >/dev/null; then
  echo "skipped: clang++-14 is missing; run launch/setup.sh --with-tests"
  exit 77
fi
cd "$source_dir"
"$cmake" --preset fuzz -D LIMN_FUZZ_SECONDS="$seconds"
"$cmake" --build --preset fuzz --parallel 2
"$ctest" --preset fuzz --parallel 2
