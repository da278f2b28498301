// liburing as Debian ships it (2.3). Its helpers are `static inline` and import as they are.
#ifndef ASHLAR_CURING_SHIM_H
#define ASHLAR_CURING_SHIM_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <liburing.h>
#endif
