// libblkid: what file system, partition table or array a disk holds.
#ifndef ASHLAR_CBLKID_SHIM_H
#define ASHLAR_CBLKID_SHIM_H
#include <blkid/blkid.h>
#include <sys/syscall.h>
#include <unistd.h>

// A file in memory, closed by exec; -1 with errno set when there is none.
static inline int ashlar_memory_file(void) {
  return (int)syscall(SYS_memfd_create, "ashlar-probe", 1u /* MFD_CLOEXEC */);
}

// The flags are combinations of macros.
static inline int ashlar_probe_all(blkid_probe probe) {
  return blkid_probe_enable_superblocks(probe, 1) == 0 &&
                 blkid_probe_set_superblocks_flags(
                     probe, BLKID_SUBLKS_LABEL | BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE |
                                BLKID_SUBLKS_MAGIC | BLKID_SUBLKS_BADCSUM) == 0 &&
                 blkid_probe_enable_partitions(probe, 1) == 0 &&
                 blkid_probe_set_partitions_flags(probe, BLKID_PARTS_MAGIC) == 0
             ? 0
             : -1;
}
#endif
