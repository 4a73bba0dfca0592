/* Run independent tasks on a few threads. */
#ifndef CS231N_PARALLEL_H
#define CS231N_PARALLEL_H

#include <stddef.h>

/* task(arg, index, thread): thread is in [0, threads) and no two tasks share it at a time. */
typedef void (*task_fn)(const void *arg, ptrdiff_t index, int thread);

void parallel_run(task_fn task, const void *arg, ptrdiff_t tasks, int threads);

#endif
