#include "common.h" /* before the target: system headers are not to be built for it */
#if X86_64
#include "avx2.h"
#include "f32.h"
#define TABLE avx2_f32
#include "all.h"
#endif
