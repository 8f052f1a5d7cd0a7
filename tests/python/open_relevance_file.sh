#!/bin/sh
# Has limn write a result, a part and a file without samples into the current folder, and opens each
# as Python's users do. Exits with 77 when the environment of the Python tests is missing.
#
#   open_relevance_file.sh WRITE_RELEVANCE_FILE PYTHON
set -eu
write=$1 python=$2

if [ ! -x "$python" ]; then
  echo "skipped: no Python with h5py and xarray; run launch/setup.sh --with-tests: $python"
  exit 77
fi
"$write" result.h5 300
"$write" part.h5 40 part
"$write" empty.h5 0
for file in result.h5 part.h5 empty.h5; do
  "$python" "$(dirname "$0")/open_relevance_file.py" "$file"
done
