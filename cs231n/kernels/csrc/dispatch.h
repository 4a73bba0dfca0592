/* The choice among the kernels of several instruction sets. */
#ifndef CS231N_DISPATCH_H
#define CS231N_DISPATCH_H

#include "kernels.h"

/* The kernels in use: those of the plainest instruction set until select_kernels is called. */
extern const kernels_f32 *selected_f32;
extern const kernels_f64 *selected_f64;

/* Name of the index-th best instruction set that the processor has; NULL past the last one. */
const char *instruction_set_name(int index);

/* Use the kernels of an instruction set that the processor has; 0 if it has none of this name. */
int select_kernels(const char *name);

#endif
