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
#define FETCH_FAR(p) __builtin_prefetch(p, 0, 2) /* into the second-level cache only */
#define FETCH_TO_WRITE(p) __builtin_prefetch(p, 1)
#else
#define FETCH(p) ((void)0)
#define FETCH_FAR(p) ((void)0)
#define FETCH_TO_WRITE(p) ((void)0)
#endif

/* A pointer that one thread may store while others load it. */
#if defined(__GNUC__)
#define LOAD_POINTER(p) __atomic_load_n(&(p), __ATOMIC_RELAXED)
#define STORE_POINTER(p, value) __atomic_store_n(&(p), (value), __ATOMIC_RELAXED)
#else
#define LOAD_POINTER(p) (p)
#define STORE_POINTER(p, value) ((p) = (value))
#endif

/* GCC for Windows does not align its stack for vectors of more than 16 bytes (its bug 54412). */
#if defined(__x86_64__) && defined(__GNUC__) && (defined(__clang__) || !defined(_WIN32))
#define X86_64 1
#else
#define X86_64 0
#endif

#if defined(__aarch64__) && defined(__GNUC__)
#define ARM_64 1
#else
#define ARM_64 0
#endif

/* Round v, a number or a vector, here: it may not become part of a fused multiply-add, which would
 * leave a trace where equal numbers are subtracted. */
#if defined(__x86_64__) && defined(__GNUC__)
#define ROUND(v) __asm__("" : "+x"(v))
#elif ARM_64
#define ROUND(v) __asm__("" : "+w"(v))
#else
#define ROUND(v) ((void)(v))
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
