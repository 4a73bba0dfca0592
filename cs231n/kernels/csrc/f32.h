/* Kernels of float. */
#define T float
#define TINT int32_t /* as wide as T */
#define TBYTES 4
