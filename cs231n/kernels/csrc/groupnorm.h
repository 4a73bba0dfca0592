/* Layer and group norm, x (N, G, C/G, D): a task is one group of one image. */

typedef struct {
    const norm_shape *s;
    const T *x, *dout, *gamma, *beta;
    T *out, *mean, *var, *dgamma, *dbeta;
    T *parts; /* [2][N][C]: what each image adds to dgamma and dbeta */
    T eps;
} group_job;

/* out = (x - mean)*gamma/std + beta.  With D == 1 the channel is the pixel. */
static void group_forward_task(const void *arg, ptrdiff_t index, int thread)
{
    (void)thread;
    const group_job *job = arg;
    const ptrdiff_t channels = job->s->C / job->s->G, size = channels * job->s->D;
    const ptrdiff_t c0 = index % job->s->G * channels;
    const T *x = job->x + index * size, *gamma = job->gamma + c0, *beta = job->beta + c0;
    T *out = job->out + index * size;
    const T origin = *x, mean = origin + add_lanes(sum_plane(x, origin, size, 0)) / (T)size;
    const T var = add_lanes(sum_squares(x, mean, size)) / (T)size;
    const T inverse = 1 / root(var + job->eps);
    job->mean[index] = mean;
    job->var[index] = var;
    if (job->s->D == 1)
        for (ptrdiff_t i = 0; i < size; i++)
            out[i] = (x[i] - mean) * inverse * gamma[i] + beta[i];
    else
        for (ptrdiff_t c = 0; c < channels; c++)
            scale_plane(x + c * job->s->D, out + c * job->s->D, mean, inverse * gamma[c], beta[c],
                        (unit){NO_ACTIVATION, 0}, job->s->D, 0);
}

/* Sums over the pixels of each channel of dout and of dout*x_hat. */
static void group_parts(const group_job *job, const T *x, const T *dout, T mean, T inverse,
                        T *dgamma, T *dbeta, ptrdiff_t channels)
{
    if (job->s->D == 1)
        for (ptrdiff_t c = 0; c < channels; c++) {
            dgamma[c] = dout[c] * (x[c] - mean) * inverse;
            dbeta[c] = dout[c];
        }
    else
        for (ptrdiff_t c = 0; c < channels; c++) {
            gradient_sums sums = {splat((T)0), splat((T)0)};
            add_gradients(&sums, x + c * job->s->D, dout + c * job->s->D, NULL, mean, 0, 0,
                          (unit){NO_ACTIVATION, 0}, job->s->D, 0);
            dbeta[c] = add_lanes(sums.sum);
            dgamma[c] = add_lanes(sums.product) * inverse;
        }
}

/* dx = (g - sum - (x - mean)*product)*inverse with g = dout*gamma, for n numbers; each has a gamma of
 * its own, or all have one.  Where all g are equal they are their mean, and no trace must be left. */
ALWAYS_INLINE void group_gradient(const T *x, const T *dout, const T *gamma, const int own, T *dx,
                                  T mean, T inverse, T sum, T product, ptrdiff_t n)
{
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vec g = load(dout + i) * (own ? load(gamma + i) : splat(*gamma));
        ROUND(g);
        store(dx + i, (g - sum - (load(x + i) - mean) * product) * inverse);
    }
    for (; i < n; i++) {
        T g = dout[i] * gamma[own ? i : 0];
        ROUND(g);
        dx[i] = (g - sum - (x[i] - mean) * product) * inverse;
    }
}

/* dx = (g - mean(g) - x_hat*mean(g*x_hat))/std with g = dout*gamma */
static void group_backward_task(const void *arg, ptrdiff_t index, int thread)
{
    (void)thread;
    const group_job *job = arg;
    const norm_shape *s = job->s;
    const ptrdiff_t channels = s->C / s->G, D = s->D, size = channels * D;
    const ptrdiff_t c0 = index % s->G * channels, at = index / s->G * s->C + c0;
    const T *x = job->x + index * size, *dout = job->dout + index * size;
    const T *gamma = job->gamma + c0;
    const T mean = job->mean[index], inverse = 1 / root(job->var[index] + job->eps);
    T *dgamma = job->parts + at, *dbeta = dgamma + s->N * s->C, *dx = job->out + index * size;
    T sum = 0, product = 0;
    group_parts(job, x, dout, mean, inverse, dgamma, dbeta, channels);
    for (ptrdiff_t c = 0; c < channels; c++) {
        sum += dbeta[c] * gamma[c];
        product += dgamma[c] * gamma[c];
    }
    sum /= (T)size;
    product *= inverse / (T)size;
    if (D == 1)
        group_gradient(x, dout, gamma, 1, dx, mean, inverse, sum, product, size);
    else
        for (ptrdiff_t c = 0; c < channels; c++)
            group_gradient(x + c * D, dout + c * D, gamma + c, 0, dx + c * D, mean, inverse, sum,
                           product, D);
}

/* Sum the images' parts of some channels, in order. */
enum { SUM_CHANNELS = 64 };

static void group_sum_task(const void *arg, ptrdiff_t index, int thread)
{
    (void)thread;
    const group_job *job = arg;
    ptrdiff_t c0 = index * SUM_CHANNELS, c1 = MIN(c0 + SUM_CHANNELS, job->s->C);
    for (ptrdiff_t c = c0; c < c1; c++)
        job->dgamma[c] = job->dbeta[c] = 0;
    for (ptrdiff_t n = 0; n < job->s->N; n++) {
        const T *part = job->parts + n * job->s->C;
        for (ptrdiff_t c = c0; c < c1; c++) {
            job->dgamma[c] += part[c];
            job->dbeta[c] += part[c + job->s->N * job->s->C];
        }
    }
}

static ptrdiff_t groupnorm_bytes(const norm_shape *s)
{
    return 2 * s->N * s->C * (ptrdiff_t)sizeof(T);
}

static void groupnorm_forward(const norm_shape *s, const void *x, const void *gamma,
                               const void *beta, void *out, void *mean, void *var, int threads)
{
    const group_job job = {.s = s, .x = x, .gamma = gamma, .beta = beta, .out = out, .mean = mean,
                           .var = var, .eps = (T)s->eps};
    parallel_run(group_forward_task, &job, s->N * s->G, threads);
}

static void groupnorm_backward(const norm_shape *s, const void *dout, const void *x,
                                const void *gamma, const void *mean, const void *var, void *dx,
                                void *dgamma, void *dbeta, void *ws, int threads)
{
    const group_job job = {.s = s, .dout = dout, .x = x, .gamma = gamma, .mean = (T *)mean,
                           .var = (T *)var, .out = dx, .dgamma = dgamma, .dbeta = dbeta,
                           .parts = ws, .eps = (T)s->eps};
    parallel_run(group_backward_task, &job, s->N * s->G, threads);
    parallel_run(group_sum_task, &job, ceil_div(s->C, SUM_CHANNELS), threads);
}
