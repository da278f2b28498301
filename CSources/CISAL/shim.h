// ISA-L: checksums and parity.
#ifndef ASHLAR_CISAL_SHIM_H
#define ASHLAR_CISAL_SHIM_H
#include <isa-l.h>
#endif
