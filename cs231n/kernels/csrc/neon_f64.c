#include "common.h"
#if ARM_64
#include "neon.h"
#include "f64.h"
#define TABLE neon_f64
#include "all.h"
#endif
