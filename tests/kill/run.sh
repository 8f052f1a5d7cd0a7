#!/bin/sh
# Runs the campaign of kills: campaign.py with the arguments behind PYTHON. Exits with 77 when the environment of the Python
# tests is missing.
#
#   run.sh PYTHON ARGUMENT...
set -eu
python=$1
shift

if [ ! -x "$python" ]; then
  echo "skipped: no Python with h5py and numpy; run launch/setup.sh --with-tests: $python"
  exit 77
fi
exec "$python" "$(dirname "$0")/campaign.py" "$@"
