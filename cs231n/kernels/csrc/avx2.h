/* AVX2 and FMA: what follows in a unit is compiled for processors that have them; all.h ends that. */
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#define TARGET_PUSHED
#else
#pragma GCC target("avx2,fma")
#endif
#define VBYTES 32
#define VREGS 16
