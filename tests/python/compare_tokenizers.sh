#!/bin/sh
# Compares limn's tokens with Python's: of the tokenizers in SHARED, and of some trained on the spot. Exits with 77 when
# the environment of the Python tests or the texts are missing.
#
#   compare_tokenizers.sh ENCODE_LINES PYTHON SHARED
set -eu
encode_lines=$1 python=$2 texts=$3/data/xquad.en.json tokenizers=$3/tokenizers

if [ ! -x "$python" ]; then
  echo "skipped: no Python with tokenizers and sentencepiece; run launch/setup.sh --with-tests: $python"
  exit 77
fi
if [ ! -e "$texts" ]; then
  echo "skipped: not there: $texts"
  exit 77
fi
exec "$python" "$(dirname "$0")/compare_tokenizers.py" "$encode_lines" "$texts" "$tokenizers" --made 10
