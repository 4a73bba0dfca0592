/* Kernels of double. */
#define T double
#define TINT int64_t /* as wide as T */
#define TBYTES 8
