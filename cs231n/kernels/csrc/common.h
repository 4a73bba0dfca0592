/* Helpers that depend neither on the element type nor on the instruction set. */
#ifndef CS231N_COMMON_H
#define CS231N_COMMON_H

#include "kernels.h"
#include "parallel.h"
#include <math.h>
#include <string.h>

#if defined(__GNUC__)
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define MAYBE_UNUSED __attribute__((unused))
#else
#define ALWAYS_INLINE static inline
#define MAYBE_UNUSED
#endif

#if defined(__GNUC__)
#define FETCH(p) __builtin_prefetch(p)
#define FETCH_TO_WRITE(p) __builtin_prefetch(p, 1)
#else
#define FETCH(p) ((void)0)
#define FETCH_TO_WRITE(p) ((void)0)
#endif

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

static inline ptrdiff_t ceil_div(ptrdiff_t a, ptrdiff_t b)
{
    return (a + b - 1) / b;
}

/* First index of part i when n things are split into `parts` parts that differ by at most one. */
static inline ptrdiff_t part_start(ptrdiff_t n, ptrdiff_t parts, ptrdiff_t i)
{
    return n / parts * i + MIN(i, n % parts);
}

/* A workspace being laid out; with base NULL it only counts the bytes. */
typedef struct {
    char *base;
    ptrdiff_t used;
} arena;

static inline void *arena_take(arena *a, ptrdiff_t bytes)
{
    void *p = a->base ? a->base + a->used : NULL;
    a->used += (bytes + 63) / 64 * 64;
    return p;
}

#endif
