#!/bin/sh
# Runs a program of libFuzzer's for a number of seconds, from a corpus that is made of the other tests' data and grows with what
# is found; what crashes it stays in FOLDER. The seed is new each time: libFuzzer prints it.
#
#   run_fuzzer.sh PROGRAM FOLDER SECONDS PYTHON
set -eu
program=$1 folder=$2 seconds=$3 python=$4
name=$(basename "$program")
here=$(cd "$(dirname "$0")" && pwd)

mkdir -p "$folder/corpus"
"$python" "$here/make_corpus.py" "$name" "$folder/corpus"
dictionary=
if [ -e "$here/$name.dict" ]; then dictionary=-dict=$here/$name.dict; fi
cd "$folder"
exec "$program" -max_total_time="$seconds" -max_len=20000 -timeout=20 -rss_limit_mb=3000 -print_final_stats=1 \
  $dictionary "$folder/corpus"
