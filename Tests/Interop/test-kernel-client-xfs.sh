#!/usr/bin/env bash
# The kernel's own NBD client, by nbd-client over TCP from a guest: it sees the write cache, FUA and
# TRIM, and an xfs file system survives detach and attach. Checklist 3, 41, 54, 55, 57, 63.
# slow
. "$(dirname "$0")/lib.sh"
. "$HERE/uml.sh"

kernel_client_cycle xfs
