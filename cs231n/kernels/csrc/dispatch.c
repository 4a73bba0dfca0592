#include "dispatch.h"
#include <string.h>

typedef struct {
    const char *name;
    const kernels_f32 *f32;
    const kernels_f64 *f64;
} instruction_set;

#define DECLARE(isa)                                                                               \
    extern const kernels_f32 kernels_f32_##isa;                                                    \
    extern const kernels_f64 kernels_f64_##isa;
#define ENTRY(isa) {#isa, &kernels_f32_##isa, &kernels_f64_##isa}

DECLARE(baseline)
#if defined(__x86_64__) && defined(__GNUC__)
DECLARE(avx2)
DECLARE(avx512)
static const instruction_set sets[] = {ENTRY(avx512), ENTRY(avx2), ENTRY(baseline)};
#else
static const instruction_set sets[] = {ENTRY(baseline)};
#endif

enum { SETS = sizeof sets / sizeof *sets };

const kernels_f32 *selected_f32 = &kernels_f32_baseline;
const kernels_f64 *selected_f64 = &kernels_f64_baseline;

/* Whether this processor, and the operating system, can run a set of `sets`. */
static int runs(const instruction_set *set)
{
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    if (!strcmp(set->name, "avx512"))
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("fma");
    if (!strcmp(set->name, "avx2"))
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    return 1;
}

const char *instruction_set_name(int index)
{
    for (int i = 0; i < SETS; i++)
        if (runs(&sets[i]) && index-- == 0)
            return sets[i].name;
    return NULL;
}

int select_kernels(const char *name)
{
    for (int i = 0; i < SETS; i++)
        if (runs(&sets[i]) && !strcmp(sets[i].name, name)) {
            selected_f32 = sets[i].f32;
            selected_f64 = sets[i].f64;
            return 1;
        }
    return 0;
}
