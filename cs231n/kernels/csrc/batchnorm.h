/* Batch norm: every channel is normalised over the images and pixels, with the statistics of the
 * batch in train mode and with given ones else.  A task is a channel of images, or a strip of columns
 * where each row has one number a channel; so no sum crosses threads. */

typedef struct {
    const norm_shape *s;
    const T *x, *dout, *gamma, *beta;
    T *out, *mean, *var, *running_mean, *running_var, *dgamma, *dbeta;
    T eps;
} batchnorm_job;

/* ---- images ----
 *
 * A channel of all images is read up to three times, but only the first time from memory: it fits
 * the second-level cache, or else its end does, where the next pass begins and goes back. */

/* What is taken from a channel's numbers before they are summed: near their mean the sum is small.
 * Infinity is not to be taken from itself. */
ALWAYS_INLINE T origin_of(const T *x)
{
    return isfinite(*x) ? *x : 0;
}

/* Mean and biased variance of channel c. */
static void channel_statistics(const batchnorm_job *job, ptrdiff_t c)
{
    const ptrdiff_t D = job->s->D, step = job->s->C * D, N = job->s->N;
    const ptrdiff_t ahead = fetch_step(job->s->C, D);
    const T *x = job->x + c * D, origin = origin_of(x), count = (T)(N * D);
    vec sum = splat((T)0), squares = splat((T)0);
    for (ptrdiff_t n = 0; n < N; n++)
        sum += sum_plane(x + n * step, origin, D, ahead);
    const T mean = origin + add_lanes(sum) / count;
    for (ptrdiff_t n = N - 1; n >= 0; n--)
        squares += sum_squares(x + n * step, mean, D);
    job->mean[c] = mean;
    job->var[c] = add_lanes(squares) / count;
}

ALWAYS_INLINE void normalise_channel(const batchnorm_job *job, ptrdiff_t c, const int kind)
{
    const unit u = {kind, (T)job->s->slope};
    const ptrdiff_t D = job->s->D, step = job->s->C * D, ahead = fetch_step(job->s->C, D);
    const T mean = job->mean[c], scale = job->gamma[c] / root(job->var[c] + job->eps);
    for (ptrdiff_t n = 0; n < job->s->N; n++)
        scale_plane(job->x + c * D + n * step, job->out + c * D + n * step, mean, scale,
                    job->beta[c], u, D, ahead);
}

static void channel_forward_task(const void *arg, ptrdiff_t c, int thread)
{
    (void)thread;
    const batchnorm_job *job = arg;
    if (job->s->train)
        channel_statistics(job, c);
    if (job->s->part == SUMS_ONLY)
        return;
    WITH_CONSTANT_UNIT(job->s->activation, normalise_channel, job, c)
}

/* The sums of a channel; what comes back through the units goes to `through`, unless that is NULL. */
ALWAYS_INLINE void sum_channel_gradients(const batchnorm_job *job, ptrdiff_t c, const unit u,
                                         T *through)
{
    const ptrdiff_t D = job->s->D, step = job->s->C * D, N = job->s->N;
    const ptrdiff_t ahead = fetch_step(job->s->C, D);
    const T mean = job->mean[c], std = root(job->var[c] + job->eps);
    const T scale = job->gamma[c] / std, beta = job->beta[c];
    gradient_sums sums = {splat((T)0), splat((T)0)};
    for (ptrdiff_t n = 0; n < N; n++) {
        const ptrdiff_t at = c * D + n * step;
        add_gradients(&sums, job->x + at, job->dout + at, through ? through + at : NULL, mean, scale,
                      beta, u, D, ahead);
    }
    job->dbeta[c] = add_lanes(sums.sum);
    job->dgamma[c] = add_lanes(sums.product) / std;
}

/* dx = gamma/std * (g - mean(g) - x_hat*mean(g*x_hat)), where g is what comes back from the units;
 * the means are those that flow through the statistics of the batch. */
ALWAYS_INLINE void spread_channel_gradients(const batchnorm_job *job, ptrdiff_t c, const unit u,
                                            const T *dout)
{
    const ptrdiff_t D = job->s->D, step = job->s->C * D, ahead = -fetch_step(job->s->C, D);
    const T mean = job->mean[c], std = root(job->var[c] + job->eps), count = (T)job->s->count;
    const T scale = job->gamma[c] / std, beta = job->beta[c];
    const T shift = job->dbeta[c] / count, slope = job->dgamma[c] / (std * count);
    for (ptrdiff_t n = job->s->N - 1; n >= 0; n--) {
        const ptrdiff_t at = c * D + n * step;
        if (job->s->train)
            unscale_plane(job->x + at, dout + at, job->out + at, mean, scale, beta, u, shift, slope,
                          D, ahead);
        else
            rescale_plane(job->x + at, dout + at, job->out + at, mean, scale, beta, u, D, ahead);
    }
}

/* What comes back through units that take an exponential is kept in dx from the first pass for the
 * second. */
ALWAYS_INLINE void denormalise_channel(const batchnorm_job *job, ptrdiff_t c, const int kind)
{
    const unit u = {kind, (T)job->s->slope}, none = {NO_ACTIVATION, 0};
    const int costly = kind == GELU || kind == GELU_TANH || kind == SILU;
    T *through = costly && job->s->part == WHOLE ? job->out : NULL;
    if (job->s->part != REST)
        sum_channel_gradients(job, c, u, through);
    if (job->s->part == SUMS_ONLY)
        return;
    if (through)
        spread_channel_gradients(job, c, none, through);
    else
        spread_channel_gradients(job, c, u, job->dout);
}

static void channel_backward_task(const void *arg, ptrdiff_t c, int thread)
{
    (void)thread;
    const batchnorm_job *job = arg;
    WITH_CONSTANT_UNIT(job->s->activation, denormalise_channel, job, c)
}

/* ---- rows: a strip of columns is walked down row by row ---- */

enum { STRIP = 64 };

static void strip_statistics(const batchnorm_job *job, ptrdiff_t first, ptrdiff_t width)
{
    const ptrdiff_t C = job->s->C, N = job->s->N;
    const T *x = job->x + first, count = (T)N;
    T origin[STRIP], mean[STRIP] = {0}, var[STRIP] = {0};
    for (ptrdiff_t i = 0; i < width; i++)
        origin[i] = origin_of(x + i);
    for (ptrdiff_t n = 0; n < N; n++)
        for (ptrdiff_t i = 0; i < width; i++)
            mean[i] += x[n * C + i] - origin[i];
    for (ptrdiff_t i = 0; i < width; i++)
        mean[i] = origin[i] + mean[i] / count;
    for (ptrdiff_t n = 0; n < N; n++)
        for (ptrdiff_t i = 0; i < width; i++)
            var[i] += (x[n * C + i] - mean[i]) * (x[n * C + i] - mean[i]);
    for (ptrdiff_t i = 0; i < width; i++) {
        job->mean[first + i] = mean[i];
        job->var[first + i] = var[i] / count;
    }
}

static void strip_forward_task(const void *arg, ptrdiff_t index, int thread)
{
    (void)thread;
    const batchnorm_job *job = arg;
    const ptrdiff_t C = job->s->C, first = index * STRIP, width = MIN(STRIP, C - first);
    if (job->s->train)
        strip_statistics(job, first, width);
    if (job->s->part == SUMS_ONLY)
        return;
    const T *x = job->x + first, *beta = job->beta + first;
    T mean[STRIP], scale[STRIP];
    for (ptrdiff_t i = 0; i < width; i++) {
        mean[i] = job->mean[first + i];
        scale[i] = job->gamma[first + i] / root(job->var[first + i] + job->eps);
    }
    for (ptrdiff_t n = 0; n < job->s->N; n++)
        for (ptrdiff_t i = 0; i < width; i++)
            job->out[n * C + first + i] = (x[n * C + i] - mean[i]) * scale[i] + beta[i];
}

/* The columns of dx add up to zero, but for roundings that a bias in front of the layer would
 * gather: take them out.  `rest` holds the sums. */
ALWAYS_INLINE void centre_strip(T *dx, T *rest, ptrdiff_t N, ptrdiff_t C, ptrdiff_t width)
{
    for (ptrdiff_t i = 0; i < width; i++)
        rest[i] /= (T)N;
    for (ptrdiff_t n = 0; n < N; n++)
        _Pragma("GCC ivdep") for (ptrdiff_t i = 0; i < width; i++)
            dx[n * C + i] -= rest[i];
}

/* Inlined for a width that is known, where the loops over i are a few vectors; what they read is in
 * arrays of its own, for dx might be written over anything else of type T. */
ALWAYS_INLINE void strip_backward(const batchnorm_job *job, ptrdiff_t first, ptrdiff_t width)
{
    const ptrdiff_t C = job->s->C, N = job->s->N;
    const T *x = job->x + first, *dout = job->dout + first;
    T *dx = job->out + first, count = (T)job->s->count;
    T sum[STRIP] = {0}, slope[STRIP] = {0}, rest[STRIP] = {0}, scale[STRIP], mean[STRIP];
    memcpy(mean, job->mean + first, (size_t)width * sizeof(T));
    const int part = job->s->part;
    for (ptrdiff_t n = 0; n < N && part != REST; n++)
        for (ptrdiff_t i = 0; i < width; i++) {
            sum[i] += dout[n * C + i];
            slope[i] += dout[n * C + i] * (x[n * C + i] - mean[i]);
        }
    for (ptrdiff_t i = 0; i < width; i++) {
        const T inverse = 1 / root(job->var[first + i] + job->eps);
        if (part == REST) {
            sum[i] = job->dbeta[first + i];
            slope[i] = job->dgamma[first + i] / inverse;
        } else {
            job->dbeta[first + i] = sum[i];
            job->dgamma[first + i] = slope[i] * inverse;
        }
        sum[i] /= count;
        slope[i] *= inverse * inverse / count;
        scale[i] = job->gamma[first + i] * inverse;
    }
    if (part == SUMS_ONLY)
        return;
    if (!job->s->train) {
        for (ptrdiff_t n = 0; n < N; n++)
            for (ptrdiff_t i = 0; i < width; i++)
                dx[n * C + i] = dout[n * C + i] * scale[i];
        return;
    }
    for (ptrdiff_t n = 0; n < N; n++)
        _Pragma("GCC ivdep") for (ptrdiff_t i = 0; i < width; i++)
        {
            const T d = dout[n * C + i] - sum[i] - (x[n * C + i] - mean[i]) * slope[i];
            rest[i] += dx[n * C + i] = d * scale[i];
        }
    if (part == WHOLE)
        centre_strip(dx, rest, N, C, width);
}

static void strip_backward_task(const void *arg, ptrdiff_t index, int thread)
{
    (void)thread;
    const batchnorm_job *job = arg;
    const ptrdiff_t first = index * STRIP, width = MIN(STRIP, job->s->C - first);
    if (width == STRIP)
        strip_backward(job, first, STRIP);
    else
        strip_backward(job, first, width);
}

/* ---- the two passes ---- */

static void run_batchnorm(const batchnorm_job *job, task_fn channel, task_fn strip, int threads)
{
    if (job->s->D == 1 && job->s->activation == NO_ACTIVATION)
        parallel_run(strip, job, ceil_div(job->s->C, STRIP), threads);
    else
        parallel_run(channel, job, job->s->C, threads);
}

/* The running statistics follow those of a batch. */
static void follow(const batchnorm_job *job)
{
    const T kept = (T)job->s->momentum, taken = (T)(1 - job->s->momentum);
    for (ptrdiff_t c = 0; c < job->s->C; c++) {
        job->running_mean[c] = kept * job->running_mean[c] + taken * job->mean[c];
        job->running_var[c] = kept * job->running_var[c] + taken * job->var[c];
    }
}

static void batchnorm_forward(const norm_shape *s, const void *x, const void *gamma,
                               const void *beta, void *out, void *mean, void *var,
                               void *running_mean, void *running_var, int threads)
{
    const batchnorm_job job = {.s = s, .x = x, .gamma = gamma, .beta = beta, .out = out,
                                .mean = mean, .var = var, .running_mean = running_mean,
                                .running_var = running_var, .eps = (T)s->eps};
    run_batchnorm(&job, channel_forward_task, strip_forward_task, threads);
    if (s->train && running_mean)
        follow(&job);
}

static void batchnorm_backward(const norm_shape *s, const void *dout, const void *x,
                                const void *gamma, const void *beta, const void *mean,
                                const void *var, void *dx, void *dgamma, void *dbeta, int threads)
{
    const batchnorm_job job = {.s = s, .dout = dout, .x = x, .gamma = gamma, .beta = beta,
                                .mean = (T *)mean, .var = (T *)var, .out = dx, .dgamma = dgamma,
                                .dbeta = dbeta, .eps = (T)s->eps};
    run_batchnorm(&job, channel_backward_task, strip_backward_task, threads);
}
