/* All kernels of one unit: for one element type (T, TBYTES, TINT) and one instruction set (VBYTES,
 * VREGS), in a table named TABLE.  Every other name is the unit's own, for all functions are static.
 */
#include "vector.h"

#include "activation.h"
#include "pack.h"
#include "corr.h"
#if VBYTES
#include "winograd_map.h"
#include "winograd.h"
#endif
#include "dw.h"
#if VBYTES
#include "winograd_dw.h"
#endif
#include "conv.h"
#include "pool.h"
#include "norm.h"
#include "batchnorm.h"
#include "groupnorm.h"
#include "relu.h"
#include "softmax.h"
#include "matmul.h"
#include "optim.h"

#define KERNEL_ENTRY(type, name, parameters) .name = name,

extern const kernel_table TABLE;
const kernel_table TABLE = {KERNELS(KERNEL_ENTRY)};

#ifdef TARGET_PUSHED
#pragma clang attribute pop
#endif
