// libsystemd: socket activation and readiness notification.
#ifndef ASHLAR_CSYSTEMD_SHIM_H
#define ASHLAR_CSYSTEMD_SHIM_H
// As in CUring: C modules that share system headers must agree on what those show.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <systemd/sd-daemon.h>
#endif
