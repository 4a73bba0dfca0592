/* What every compiler and processor can do: 16-byte vectors (on x86-64 SSE2), plain scalars on
 * compilers without vector extensions, and on 64-bit Arm, whose vectors are in neon.h. */
#if defined(__GNUC__) && !ARM_64
#define VBYTES 16
#else
#define VBYTES 0
#endif
#define VREGS 16
