/* AVX-512: what follows in a unit is compiled for processors that have them; all.h ends that. */
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma,prefer-vector-width=512"))), apply_to = function)
#define TARGET_PUSHED
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,fma,prefer-vector-width=512")
#endif
#define VBYTES 64
#define VREGS 32
