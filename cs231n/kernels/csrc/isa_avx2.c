#include "common.h" /* before the pragma: system headers are not to be built for this target */

#if defined(__x86_64__) && defined(__GNUC__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#define ISA avx2
#define VBYTES 32
#define VREGS 16
#include "both.inc"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
