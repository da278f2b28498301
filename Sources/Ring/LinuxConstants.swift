// What <fcntl.h> and <unistd.h> show to C only under _GNU_SOURCE, which Swift's Glibc lacks.

#if arch(arm64)
  let O_DIRECT: Int32 = 0o200000
#else
  let O_DIRECT: Int32 = 0o40000
#endif
let SEEK_DATA: Int32 = 3
let SEEK_HOLE: Int32 = 4
/// `STATX_DIOALIGN`: what direct I/O wants, since Linux 6.1.
let STATX_DIOALIGN: UInt32 = 0x2000
