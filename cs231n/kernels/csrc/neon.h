/* NEON, which every 64-bit Arm processor has: 16-byte vectors and a fused multiply-add. */
#define VBYTES 16
#define VREGS 32
