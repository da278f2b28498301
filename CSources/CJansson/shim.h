// Jansson: JSON for the control socket and `--json`.
#ifndef ASHLAR_CJANSSON_SHIM_H
#define ASHLAR_CJANSSON_SHIM_H
#include <jansson.h>
#endif
