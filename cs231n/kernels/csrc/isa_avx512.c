#include "common.h" /* before the pragma: system headers are not to be built for this target */

#if defined(__x86_64__) && defined(__GNUC__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma,prefer-vector-width=512"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,fma,prefer-vector-width=512")
#endif
#define ISA avx512
#define VBYTES 64
#define VREGS 32
#include "both.inc"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
