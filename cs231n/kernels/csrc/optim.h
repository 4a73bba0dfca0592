/* Update rules, one pass over memory.  `out` may be w itself.  L2 is folded in: the gradient is
 * dw + reg*w. */

typedef struct {
    T *out;
    const T *w, *dw;
    T *m, *v;      /* state; what they hold is the rule's affair */
    ptrdiff_t n;
    T lr, reg, a, b, c, eps;
} update;

/* First element of a task.  Task 0 is what precedes the first address divisible by 64, so that the
 * vectors of the others don't cross cache lines (NumPy aligns to 16 bytes only). */
static ptrdiff_t update_start(const update *job, ptrdiff_t index)
{
    const ptrdiff_t task = 16384, head = (ptrdiff_t)(-(uintptr_t)job->out % 64 / sizeof(T));
    return index == 0 ? 0 : MIN(head + (index - 1) * task, job->n);
}

#define UPDATE_LOOP(job, index)                                                                    \
    const ptrdiff_t end_ = update_start(job, index + 1);                                           \
    const T *const w = job->w, *const dw = job->dw;                                                \
    T *const out = job->out, *const m = job->m, *const v = job->v;                                 \
    const T lr = job->lr, reg = job->reg, a = job->a, b = job->b, c = job->c, eps = job->eps;      \
    (void)m, (void)v, (void)a, (void)b, (void)c, (void)eps;                                        \
    _Pragma("GCC ivdep") for (ptrdiff_t i = update_start(job, index); i < end_; i++)

/* Each rule is one task function; out may equal w, and nothing else overlaps. */
#define RULE(name, ...)                                                                            \
    static void name##_task(const void *arg, ptrdiff_t index, int thread)                          \
    {                                                                                              \
        (void)thread;                                                                              \
        const update *job = arg;                                                                   \
        UPDATE_LOOP(job, index)                                                                    \
        {                                                                                          \
            const T g = dw[i] + reg * w[i];                                                        \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }

RULE(sgd, out[i] = w[i] - lr * g;)

RULE(momentum, v[i] = a * v[i] - lr * g; out[i] = w[i] + v[i];)

RULE(nesterov, const T old = v[i]; v[i] = a * old - lr * g;
     out[i] = w[i] - a * old + (1 + a) * v[i];)

RULE(rmsprop, v[i] = a * v[i] + (1 - a) * (g * g);
     out[i] = w[i] - lr * g / (root(v[i]) + eps);)

/* lr and c hold the corrections of the bias: lr/(1 - beta1**t) and 1/sqrt(1 - beta2**t) */
RULE(adam, m[i] = a * m[i] + (1 - a) * g; v[i] = b * v[i] + (1 - b) * (g * g);
     out[i] = w[i] - lr * m[i] / (root(v[i]) * c + eps);)

static void run_update(task_fn task, const update *job, int threads)
{
    parallel_run(task, job, ceil_div(job->n, 16384) + 1, threads);
}

static void sgd(ptrdiff_t n, const void *w, const void *dw, void *out, double lr, double reg,
                int threads)
{
    update job = {.out = out, .w = w, .dw = dw, .n = n, .lr = (T)lr, .reg = (T)reg};
    run_update(sgd_task, &job, threads);
}

static void momentum(ptrdiff_t n, const void *w, const void *dw, void *out, void *velocity, double lr,
                     double mu, int nesterov, double reg, int threads)
{
    update job = {.out = out, .w = w, .dw = dw, .v = velocity, .n = n,
                  .lr = (T)lr, .reg = (T)reg, .a = (T)mu};
    run_update(nesterov ? nesterov_task : momentum_task, &job, threads);
}

static void rmsprop(ptrdiff_t n, const void *w, const void *dw, void *out, void *cache, double lr,
                    double decay, double eps, double reg, int threads)
{
    update job = {.out = out, .w = w, .dw = dw, .v = cache, .n = n,
                  .lr = (T)lr, .reg = (T)reg, .a = (T)decay, .eps = (T)eps};
    run_update(rmsprop_task, &job, threads);
}

static void adam(ptrdiff_t n, const void *w, const void *dw, void *out, void *m, void *v, double lr,
                 double beta1, double beta2, double eps, double t, double reg, int threads)
{
    update job = {.out = out, .w = w, .dw = dw, .m = m, .v = v, .n = n,
                  .lr = (T)(lr / (1 - pow(beta1, t))), .reg = (T)reg,
                  .a = (T)beta1, .b = (T)beta2,
                  .c = (T)(1 / sqrt(1 - pow(beta2, t))), .eps = (T)eps};
    run_update(adam_task, &job, threads);
}
