#include "common.h" /* before the target: system headers are not to be built for it */
#if X86_64
#include "avx512.h"
#include "f32.h"
#define TABLE avx512_f32
#include "all.h"
#endif
