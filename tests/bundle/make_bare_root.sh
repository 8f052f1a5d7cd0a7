#!/usr/bin/env bash
# Makes WORK/root a root folder with WORK/bundle, PyTorch, busybox and no libraries but the C and C++ ones, and runs
# run_under_bare_root.sh there. In a mount namespace of its own, with which the mounts go.
#
#   make_bare_root.sh SOURCE WORK TORCH PROGRAM        PROGRAM: one that is linked with those libraries
set -euo pipefail
source_dir=$1 work=$2 torch=$3 program=$4
root=$work/root
mkdir -p "$root"
mount -t tmpfs tmpfs "$root"
mkdir -p "$root"/{bin,bundle,dev,etc,lib64,lib/x86_64-linux-gnu,limn,output,proc,python/bin,python/lib,site-packages,sys,tmp}

# The C and C++ libraries, where their loader looks without being told.
loader=$(ldd "$program" | awk '$1 ~ /ld-linux/ { print $1 }')
cp -L "$loader" "$root/lib64/"
c_library=$(ldd "$program" | awk '$1 == "libc.so.6" { print $3 }')
for name in libc.so.6 libm.so.6 libdl.so.2 librt.so.1 libpthread.so.0 libresolv.so.2 libutil.so.1; do
  cp -L "$(dirname "$c_library")/$name" "$root/lib/x86_64-linux-gnu/"
done
ldd "$program" | awk '$1 ~ /^lib(stdc\+\+|gcc_s)\.so/ { print $3 }' |
  while IFS= read -r library; do cp -L "$library" "$root/lib/x86_64-linux-gnu/"; done

cp "$(command -v busybox)" "$root/bin/busybox"
for command in sh awk cat env find grep head ln ls readlink sed rm; do ln -s busybox "$root/bin/$command"; done

# A Python whose libraries nobody else sees.
python=$(python3 -c "import os, sys; print(os.path.realpath(sys.executable))")
cp "$python" "$root/python/bin/python"
ldd "$python" | awk '$2 == "=>" { print $3 }' | while IFS= read -r library; do cp -L "$library" "$root/python/lib/"; done
modules=$("$python" -c "import sysconfig; print(sysconfig.get_path('stdlib'))")
mkdir -p "$root/python/lib/$(basename "$modules")"
mount --bind "$modules" "$root/python/lib/$(basename "$modules")"

mount --bind "$work/bundle" "$root/bundle"
mount --bind "$work/output" "$root/output"
mount --bind "$(dirname "$torch")" "$root/site-packages"
mount --bind "$source_dir" "$root/limn"
mount --rbind /dev "$root/dev"
mount --rbind /proc "$root/proc"
mount --rbind /sys "$root/sys"
PATH=$PATH:/usr/sbin:/sbin
exec chroot "$root" /bin/env -i PATH=/bin /bin/sh /limn/tests/bundle/run_under_bare_root.sh
