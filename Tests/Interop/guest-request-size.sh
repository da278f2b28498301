#!/bin/bash
# Runs in a guest: "ashlar attach" with the kernel's NBD client, against nbdkit, which takes down every
# request. SHARED is a folder with request-sizes.sh.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=request-sizes.sh
. "$SHARED/request-sizes.sh"
export ASHLAR_RUNTIME_DIR=/run/ashlar ASHLAR_STATE_DIR=/run/state
mkdir -p /run/ashlar /run/state /run/mnt
modprobe nbd max_part=0
for limit in 65536 1048576; do
  log=/run/requests.$limit
  nbdkit -f -U /run/kit.$limit --filter=log memory 192M logfile=$log & kit=$!
  uri="nbd+unix:///?socket=/run/kit.$limit"
  for _ in {1..100}; do nbdinfo --size "$uri" >/dev/null 2>&1 && break; sleep 0.1; done
  more=()
  [[ $limit == 65536 ]] || more=(--max-request "$limit")
  [[ $("$ASHLAR" attach "$uri" "${more[@]}") == /dev/nbd0 ]] || { echo "attach did not take /dev/nbd0"; exit 1; }
  echo "max_sectors_kb $(cat /sys/block/nbd0/queue/max_sectors_kb)"
  drive /dev/nbd0 /run/mnt
  "$ASHLAR" detach "$uri"
  kill "$kit"; wait "$kit" || true
  judge $log $limit
done
echo "sizes done"
