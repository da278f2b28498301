// libsystemd: socket activation and readiness notification.
#ifndef ASHLAR_CSYSTEMD_SHIM_H
#define ASHLAR_CSYSTEMD_SHIM_H
#include <systemd/sd-daemon.h>
#endif
