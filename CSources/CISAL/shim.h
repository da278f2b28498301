// ISA-L: checksums now, parity with the array.
#ifndef ASHLAR_CISAL_SHIM_H
#define ASHLAR_CISAL_SHIM_H
#include <isa-l.h>
#endif
