#include "common.h" /* before the target: system headers are not to be built for it */
#if X86_64
#include "avx512.h"
#include "f64.h"
#define TABLE avx512_f64
#include "all.h"
#endif
