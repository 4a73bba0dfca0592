/* The choice among the kernels of several instruction sets. */
#ifndef CS231N_DISPATCH_H
#define CS231N_DISPATCH_H

#include "kernels.h"

/* Name of the index-th best instruction set that the processor has; NULL past the last one. */
const char *instruction_set_name(int index);

/* Use the kernels of an instruction set that the processor has; 0 if it has none of this name. */
int select_kernels(const char *name);

/* The kernels in use, for elements of so many bytes: those of the plainest instruction set until
 * select_kernels is called.  A caller asks once and keeps the table until it is done, for another
 * thread may select others at any moment, whose scratch memory is another. */
const kernel_table *selected_kernels(size_t element_bytes);

#endif
