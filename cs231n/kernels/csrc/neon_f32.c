#include "common.h"
#if ARM_64
#include "neon.h"
#include "f32.h"
#define TABLE neon_f32
#include "all.h"
#endif
