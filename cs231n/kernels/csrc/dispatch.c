#include "dispatch.h"
#include "common.h"

typedef struct {
    const char *name;
    const kernel_table *f32, *f64;
} instruction_set;

#define DECLARE(isa) extern const kernel_table isa##_f32, isa##_f64;
#define ENTRY(isa) {#isa, &isa##_f32, &isa##_f64}

DECLARE(baseline)
#if X86_64
DECLARE(avx2)
DECLARE(avx512)
static const instruction_set sets[] = {ENTRY(avx512), ENTRY(avx2), ENTRY(baseline)};
#elif ARM_64
DECLARE(neon)
static const instruction_set sets[] = {ENTRY(neon), ENTRY(baseline)};
#else
static const instruction_set sets[] = {ENTRY(baseline)};
#endif

enum { SETS = sizeof sets / sizeof *sets };

static const instruction_set *selected = &sets[SETS - 1];

/* Whether this processor, and the operating system, can run a set of `sets`. */
static int runs(const instruction_set *set)
{
    (void)set;
#if X86_64
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
            STORE_POINTER(selected, &sets[i]);
            return 1;
        }
    return 0;
}

const kernel_table *selected_kernels(size_t element_bytes)
{
    const instruction_set *set = LOAD_POINTER(selected);
    return element_bytes == sizeof(float) ? set->f32 : set->f64;
}
