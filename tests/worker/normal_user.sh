#!/bin/bash
# Runs a worker as a user without rights who can write to one folder only: every file system is read-only for it, but for
# that folder. In a mount namespace of its own: normal_user.sh STAGE PYTHON FOLDER… -- ARGUMENTS…
# STAGE/cache is the folder. The FOLDERs are what the worker needs to read; they are shown at their places also where a
# folder above them (root's home) is closed to others.
set -euo pipefail
stage=$1 python=$2
shift 2
folders=()
while [ "$1" != -- ]; do
  folders+=("$(readlink -f "$1")")
  shift
done
shift

mount --make-rprivate /
mkdir -p "$stage/cache"
for index in "${!folders[@]}"; do
  mkdir -p "$stage/$index"
  mount --bind "${folders[index]}" "$stage/$index"
done
for index in "${!folders[@]}"; do
  part= closed=
  while read -r name; do
    part=$part/$name
    [ -n "$closed" ] || (( 0$(stat -c %a "$part") & 1 )) || closed=$part
  done < <(tr / '\n' <<< "${folders[index]#/}")
  if [ -n "$closed" ]; then
    mount -t tmpfs -o mode=755 closed "$closed"
  fi
  mkdir -p "${folders[index]}"
  mount --bind "$stage/$index" "${folders[index]}"
done
mount --bind "$stage/cache" "$stage/cache"
findmnt --raw --noheadings --output TARGET | sort -u | while read -r target; do
  case $target in
    "$stage/cache" | /proc* | /sys* | /dev) ;;
    *) mount -o remount,bind,ro "$target" ;;
  esac
done

cd "$stage/cache"
as_nobody=()
if [ "$(id -u)" = 0 ]; then
  chown 65534:65534 "$stage/cache"
  as_nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs)
fi
for elsewhere in "$stage" /tmp "$(dirname "$python")" "${folders[@]}"; do
  if "${as_nobody[@]}" touch "$elsewhere/headrace-was-here" 2> /dev/null; then
    echo "$elsewhere is not read-only" >&2
    exit 70
  fi
done
exec env -i "PATH=$PATH" "PYTHONPATH=$PYTHONPATH" "HF_HOME=$stage/cache/huggingface" "HEADRACE_CACHE=$stage/cache/headrace" \
  "HEADRACE_QUEUE_TOKEN_FILE=$stage/token" "${as_nobody[@]}" "$python" -m headrace_worker "$@"
