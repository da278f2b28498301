// liburing as Debian ships it (2.3). Its helpers are `static inline` and import as they are.
#ifndef ASHLAR_CURING_SHIM_H
#define ASHLAR_CURING_SHIM_H
// liburing.h asks for the GNU names of the C library. By then the choice has been made, here, as
// Swift's own Glibc module makes it: types that both import (fd_set) must not differ.
#include <features.h>

#include <fcntl.h>
#include <liburing.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/stat.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

// What Swift cannot say: this is a waiting loop, let the sibling thread have the core.
static inline void ashlar_pause(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

// Variadic in the C library, and so out of Swift's reach.
static inline int ashlar_statx(int descriptor, unsigned mask, struct statx *result) {
  return (int)syscall(SYS_statx, descriptor, "", 0x1000 /* AT_EMPTY_PATH */, mask, result);
}
// The size as the kernel knows it. AT_STATX_DONT_SYNC: a network or FUSE file system answers from
// what it has, and does not wait for a server that may be stuck.
static inline int ashlar_known_size(int descriptor, struct statx *result) {
  return (int)syscall(SYS_statx, descriptor, "", 0x1000 | 0x4000, STATX_SIZE, result);
}
// RWF_NOWAIT: what the page cache has, or EAGAIN.
static inline ssize_t ashlar_read_cached(int descriptor, void *bytes, size_t count,
                                         long long offset) {
  struct iovec piece = {.iov_base = bytes, .iov_len = count};
  return syscall(SYS_preadv2, descriptor, &piece, 1UL, (long)offset, 0L, 8 /* RWF_NOWAIT */);
}
static inline int ashlar_block_device_size(int descriptor, unsigned long long *byte_count) {
  return ioctl(descriptor, BLKGETSIZE64, byte_count);
}
static inline int ashlar_block_device_sector_size(int descriptor, int *byte_count) {
  return ioctl(descriptor, BLKSSZGET, byte_count);
}
static inline int ashlar_block_device_is_rotational(int descriptor, unsigned short *answer) {
  return ioctl(descriptor, BLKROTATIONAL, answer);
}
// Of a socket: what was sent and is still in the kernel's hands.
static inline int ashlar_untaken_bytes(int descriptor) {
  int byte_count = 0;
  return ioctl(descriptor, TIOCOUTQ /* SIOCOUTQ */, &byte_count) == 0 ? byte_count : 0;
}
static inline int ashlar_signalfd(const sigset_t *signals) {
  return signalfd(-1, signals, SFD_CLOEXEC);
}
static inline int ashlar_pipe(int *ends) { return (int)syscall(SYS_pipe2, ends, O_CLOEXEC); }
static inline int ashlar_open(const char *path, int flags, unsigned mode) {
  return open(path, flags | O_CLOEXEC, mode);
}
static inline int ashlar_get_flags(int descriptor) { return fcntl(descriptor, F_GETFL); }
static inline int ashlar_set_flags(int descriptor, int flags) {
  return fcntl(descriptor, F_SETFL, flags);
}
#endif
