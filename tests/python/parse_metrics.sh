#!/bin/sh
# Has limn explain the example's first samples, in a folder with a name that labels must escape, and
# parses what it tells programs. Exits with 77 when the environment of the Python tests is missing.
#
#   parse_metrics.sh LIMN PYTHON
set -eu
limn=$1 python=$2

if [ ! -x "$python" ]; then
  echo "skipped: no Python with prometheus_client; run launch/setup.sh --with-tests: $python"
  exit 77
fi
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
run="$folder/a \"run\" \\ {x} 1"
"$limn" run launch/examples/stories260K/job.toml --data.limit 3 --output.path "$run"
"$python" "$(dirname "$0")/parse_metrics.py" "$run" 3
