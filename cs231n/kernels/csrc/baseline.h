/* What every processor of the architecture can run: 16-byte vectors on x86-64 and 64-bit Arm,
 * plain scalars on compilers without vector extensions. */
#if defined(__GNUC__)
#define VBYTES 16
#else
#define VBYTES 0
#endif
#if defined(__aarch64__)
#define VREGS 32
#else
#define VREGS 16
#endif
