/* Max pooling.  The gradient goes to the first maximum of a window; a NaN is the maximum, and the
 * first one wins, as in NumPy's argmax. */

typedef struct {
    const window_shape *s;
    const T *src; /* x, or dout on the way back */
    T *dst;       /* out, or dx */
    uint8_t *arg2;
    int32_t *arg;
    ptrdiff_t planes, per_task;
} pool_job;

/* `first` if a is the maximum of a and the later b, else `second`. */
#define FIRST_MAX(a, b, first, second) ((a) != (a) ? (first) : (b) <= (a) ? (first) : (second))

/* Tasks of some 64 kB of input. */
static pool_job make_pool_job(const window_shape *s)
{
    ptrdiff_t plane = MAX(s->H * s->W * (ptrdiff_t)sizeof(T), 1);
    return (pool_job){.s = s, .planes = s->N * s->C, .per_task = MAX(64 * 1024 / plane, 1)};
}

static void run_pool(const pool_job *job, task_fn task, int threads)
{
    parallel_run(task, job, ceil_div(job->planes, job->per_task), threads);
}

/* ---- windows of 2x2, stride 2 ----
 *
 * Rows are seldom a multiple of LANES windows and often shorter.  A vector may therefore run over
 * the end of its row, into what a later row writes: as far as `room`, the windows up to the end of
 * the task, and of the array that is read. */

#if VBYTES
typedef uint8_t bytes __attribute__((vector_size(LANES), aligned(1), may_alias));

/* Which lanes keep a, of a and the later b. */
#define KEEPS(a, b) (((b) <= (a)) | ((a) != (a)))

static void pool2_vec(const T *top, const T *bottom, T *out, uint8_t *arg)
{
    vec t0 = load(top), t1 = load(top + LANES), b0 = load(bottom), b1 = load(bottom + LANES);
    vec a = shuffle(t0, t1, EVEN), b = shuffle(t0, t1, ODD);
    vec c = shuffle(b0, b1, EVEN), d = shuffle(b0, b1, ODD);
    lanes keep_a = KEEPS(a, b), keep_c = KEEPS(c, d);
    vec upper = choose(keep_a, a, b), lower = choose(keep_c, c, d);
    lanes keep = KEEPS(upper, lower);
    store(out, choose(keep, upper, lower));
    lanes at = ((keep_a + 1) & keep) | ((keep_c + 3) & ~keep);
    *(bytes *)arg = __builtin_convertvector(at, bytes);
}

static void unpool2_vec(T *dx, const T *dout, const uint8_t *arg, int row)
{
    lanes g = (lanes)load(dout), at = __builtin_convertvector(*(const bytes *)arg, lanes);
    vec left = (vec)(g & (at == 2 * row)), right = (vec)(g & (at == 2 * row + 1));
    store(dx, shuffle(left, right, LOW));
    store(dx + LANES, shuffle(left, right, HIGH));
}
#endif

static void pool2_row(const T *top, const T *bottom, T *out, uint8_t *arg, ptrdiff_t OW,
                      ptrdiff_t room)
{
    ptrdiff_t i = 0;
    (void)room;
#if VBYTES
    for (; i < OW && i + LANES <= room; i += LANES)
        pool2_vec(top + 2 * i, bottom + 2 * i, out + i, arg + i);
#endif
    for (; i < OW; i++) {
        T a = top[2 * i], b = top[2 * i + 1], c = bottom[2 * i], d = bottom[2 * i + 1];
        T upper = FIRST_MAX(a, b, a, b), lower = FIRST_MAX(c, d, c, d);
        int at_upper = FIRST_MAX(a, b, 0, 1), at_lower = FIRST_MAX(c, d, 2, 3);
        out[i] = FIRST_MAX(upper, lower, upper, lower);
        arg[i] = (uint8_t)FIRST_MAX(upper, lower, at_upper, at_lower);
    }
}

/* Row `row` of the windows: every pixel of dx is written once, the gradient or zero. */
static void unpool2_row(T *dx, const T *dout, const uint8_t *arg, ptrdiff_t OW, ptrdiff_t room,
                        int row)
{
    ptrdiff_t i = 0;
    (void)room;
#if VBYTES
    for (; i < OW && i + LANES <= room; i += LANES)
        unpool2_vec(dx + 2 * i, dout + i, arg + i, row);
#endif
    for (; i < OW; i++) {
        dx[2 * i] = arg[i] == 2 * row ? dout[i] : 0;
        dx[2 * i + 1] = arg[i] == 2 * row + 1 ? dout[i] : 0;
    }
}

static void pool2_forward_task(const void *arg, ptrdiff_t index, int thread)
{
    (void)thread;
    const pool_job *job = arg;
    const window_shape *s = job->s;
    ptrdiff_t end = MIN((index + 1) * job->per_task, job->planes);
    for (ptrdiff_t plane = index * job->per_task; plane < end; plane++)
        for (ptrdiff_t y = 0; y < s->OH; y++) {
            ptrdiff_t top = (plane * s->H + 2 * y) * s->W, bottom = top + s->W;
            ptrdiff_t o = (plane * s->OH + y) * s->OW;
            ptrdiff_t room = MIN(end * s->OH * s->OW - o, (job->planes * s->H * s->W - bottom) / 2);
            pool2_row(job->src + top, job->src + bottom, job->dst + o, job->arg2 + o, s->OW, room);
        }
}

static void pool2_backward_task(const void *arg, ptrdiff_t index, int thread)
{
    (void)thread;
    const pool_job *job = arg;
    const window_shape *s = job->s;
    ptrdiff_t end = MIN((index + 1) * job->per_task, job->planes);
    for (ptrdiff_t plane = index * job->per_task; plane < end; plane++) {
        T *dx = job->dst + plane * s->H * s->W;
        const T *last = job->dst + end * s->H * s->W;
        for (ptrdiff_t y = 0; y < 2 * s->OH; y++, dx += s->W) {
            ptrdiff_t o = (plane * s->OH + y / 2) * s->OW;
            ptrdiff_t room = MIN((last - dx) / 2, job->planes * s->OH * s->OW - o);
            unpool2_row(dx, job->src + o, job->arg2 + o, s->OW, room, (int)(y & 1));
            if (s->W > 2 * s->OW)
                dx[s->W - 1] = 0;
        }
        if (s->H > 2 * s->OH)
            memset(dx, 0, (size_t)s->W * sizeof(T));
    }
}

static void max_pool2_forward(const window_shape *s, const void *x, void *out, uint8_t *arg,
                              int threads)
{
    pool_job job = make_pool_job(s);
    job.src = x;
    job.dst = out;
    job.arg2 = arg;
    run_pool(&job, pool2_forward_task, threads);
}

static void max_pool2_backward(const window_shape *s, const void *dout, const uint8_t *arg, void *dx,
                               int threads)
{
    pool_job job = make_pool_job(s);
    job.src = dout;
    job.dst = dx;
    job.arg2 = (uint8_t *)arg;
    run_pool(&job, pool2_backward_task, threads);
}

/* ---- any window, any stride ---- */

/* One tap of all windows of a row.  `at` is the tap's offset from the window's first pixel. */
ALWAYS_INLINE void pool_tap(const T *restrict x, T *restrict out, int32_t *restrict arg,
                            ptrdiff_t OW, ptrdiff_t stride, int32_t at)
{
    for (ptrdiff_t i = 0; i < OW; i++) {
        T a = out[i], b = x[i * stride];
        TINT from = arg[i];
        out[i] = FIRST_MAX(a, b, a, b);
        arg[i] = (int32_t)FIRST_MAX(a, b, from, (TINT)at);
    }
}

static void pool_row(const window_shape *s, const T *x, T *out, int32_t *arg)
{
    for (ptrdiff_t i = 0; i < s->OW; i++) {
        out[i] = x[i * s->stride];
        arg[i] = 0;
    }
    for (ptrdiff_t i = 0; i < s->HH; i++)
        for (ptrdiff_t j = 0; j < s->WW; j++) {
            ptrdiff_t at = i * s->W + j;
            if (s->stride == 1) /* a constant stride lets the compiler use vectors */
                pool_tap(x + at, out, arg, s->OW, 1, (int32_t)at);
            else if (s->stride == 2)
                pool_tap(x + at, out, arg, s->OW, 2, (int32_t)at);
            else
                pool_tap(x + at, out, arg, s->OW, s->stride, (int32_t)at);
        }
}

static void pool_forward_task(const void *arg, ptrdiff_t index, int thread)
{
    (void)thread;
    const pool_job *job = arg;
    const window_shape *s = job->s;
    ptrdiff_t end = MIN((index + 1) * job->per_task, job->planes);
    for (ptrdiff_t plane = index * job->per_task; plane < end; plane++)
        for (ptrdiff_t y = 0; y < s->OH; y++) {
            ptrdiff_t o = (plane * s->OH + y) * s->OW;
            pool_row(s, job->src + (plane * s->H + y * s->stride) * s->W, job->dst + o,
                     job->arg + o);
        }
}

static void pool_backward_task(const void *arg, ptrdiff_t index, int thread)
{
    (void)thread;
    const pool_job *job = arg;
    const window_shape *s = job->s;
    ptrdiff_t end = MIN((index + 1) * job->per_task, job->planes);
    for (ptrdiff_t plane = index * job->per_task; plane < end; plane++) {
        T *dx = job->dst + plane * s->H * s->W;
        const T *dout = job->src + plane * s->OH * s->OW;
        const int32_t *from = job->arg + plane * s->OH * s->OW;
        memset(dx, 0, (size_t)(s->H * s->W) * sizeof(T));
        for (ptrdiff_t y = 0; y < s->OH; y++)
            for (ptrdiff_t i = 0; i < s->OW; i++, dout++, from++)
                dx[(y * s->W + i) * s->stride + *from] += *dout;
    }
}

static void max_pool_forward(const window_shape *s, const void *x, void *out, int32_t *arg,
                             int threads)
{
    pool_job job = make_pool_job(s);
    job.src = x;
    job.dst = out;
    job.arg = arg;
    run_pool(&job, pool_forward_task, threads);
}

static void max_pool_backward(const window_shape *s, const void *dout, const int32_t *arg, void *dx,
                              int threads)
{
    pool_job job = make_pool_job(s);
    job.src = dout;
    job.dst = dx;
    job.arg = (int32_t *)arg;
    run_pool(&job, pool_backward_task, threads);
}
