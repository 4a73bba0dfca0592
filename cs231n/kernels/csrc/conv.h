/* Convolution: forward and dx as correlations (corr.h), dw and db (dw.h), each of them by
 * Winograd's filtering where that is shorter. */

/* The shortest way for a shape: Winograd's filtering or the direct sum. */
static ptrdiff_t run_bytes(corr *p, int threads)
{
#if VBYTES
    if (winograd_suits(p)) {
        winograd_plan w = {0};
        plan_winograd(&w, p);
        choose_layout(p, threads);
        return MAX(winograd_memory(&w, NULL, threads), corr_memory(p, NULL, threads));
    }
#endif
    choose_layout(p, threads);
    return corr_memory(p, NULL, threads);
}

static void run(corr *p, void *ws, int threads)
{
#if VBYTES
    if (winograd_suits(p) && winograd_run(p, ws, threads))
        return;
#endif
    corr_run(p, ws, threads);
}

static corr forward_problem(const window_shape *s)
{
    return (corr){
        .N = s->N,
        .in = {.C = s->C, .H = s->H, .W = s->W, .r0 = -s->pad, .c0 = -s->pad, .step = s->stride},
        .K = s->F, .HH = s->HH, .WW = s->WW, .OH = s->OH, .OW = s->OW,
        .wk = s->C * s->HH * s->WW, .wc = s->HH * s->WW, .wi = s->WW, .wj = 1,
        .dimage = s->F * s->OH * s->OW, .dplane = s->OH * s->OW, .drow = s->OW, .dcol = 1,
        .path = s->path,
    };
}

static ptrdiff_t conv_forward_bytes(const window_shape *s, int threads)
{
    corr p = forward_problem(s);
    return run_bytes(&p, threads);
}

static void conv_forward(const window_shape *s, const void *x, const void *w, const void *b, void *out,
                         int relu, void *ws, int threads)
{
    corr p = forward_problem(s);
    p.src = x;
    p.weights = w;
    p.bias = b;
    p.out = out;
    p.relu = relu;
    run(&p, ws, threads);
}

/* Padded input row stride*q + a meets filter rows a, a + stride, ...: for each of the stride*stride
 * phases (a, b), dx is a correlation of dout with a flipped subset of the taps.  Returns 0 where a
 * phase, of those with taps, has no pixels. */
static int dx_problem(const window_shape *s, ptrdiff_t a, ptrdiff_t b, corr *p)
{
    ptrdiff_t st = s->stride;
    ptrdiff_t HH = ceil_div(s->HH - a, st), WW = ceil_div(s->WW - b, st);
    ptrdiff_t q0 = s->pad > a ? ceil_div(s->pad - a, st) : 0, row = q0 * st + a - s->pad;
    ptrdiff_t p0 = s->pad > b ? ceil_div(s->pad - b, st) : 0, col = p0 * st + b - s->pad;
    if (row >= s->H || col >= s->W)
        return 0;
    *p = (corr){
        .N = s->N,
        .in = {.C = s->F, .H = s->OH, .W = s->OW,
               .r0 = q0 - (HH - 1), .c0 = p0 - (WW - 1), .step = 1},
        .K = s->C, .HH = HH, .WW = WW,
        .OH = ceil_div(s->H - row, st), .OW = ceil_div(s->W - col, st),
        .wk = s->HH * s->WW, .wc = s->C * s->HH * s->WW, .wi = -st * s->WW, .wj = -st,
        .dimage = s->C * s->H * s->W, .dplane = s->H * s->W, .drow = st * s->W, .dcol = st,
        .path = s->path,
    };
    return 1;
}

/* Phases along an axis that have taps; the others may be many more than there are pixels. */
static ptrdiff_t phases_with_taps(const window_shape *s, ptrdiff_t taps)
{
    return MIN(s->stride, taps);
}

static ptrdiff_t conv_dx_bytes(const window_shape *s, int threads)
{
    corr p;
    ptrdiff_t most = 0;
    for (ptrdiff_t a = 0; a < phases_with_taps(s, s->HH); a++)
        for (ptrdiff_t b = 0; b < phases_with_taps(s, s->WW); b++)
            if (dx_problem(s, a, b, &p)) {
                ptrdiff_t bytes = run_bytes(&p, threads);
                most = MAX(most, bytes);
            }
    return most;
}

/* dx of one phase. */
static void run_phase(const window_shape *s, ptrdiff_t a, ptrdiff_t b, const T *dout, const T *w,
                      T *dx, void *ws, int threads)
{
    corr p;
    if (!dx_problem(s, a, b, &p))
        return;
    p.src = dout;
    p.weights = w + (a + (p.HH - 1) * s->stride) * s->WW + b + (p.WW - 1) * s->stride;
    p.out = dx;
    p.out += (ceil_div(MAX(s->pad - a, 0), s->stride) * s->stride + a - s->pad) * s->W;
    p.out += ceil_div(MAX(s->pad - b, 0), s->stride) * s->stride + b - s->pad;
    run(&p, ws, threads);
}

typedef struct {
    const window_shape *s;
    const T *dout, *w;
    T *dx;
} exact_dx_job;

/* Add what one tap of one filter gives to a plane of dx. */
static void add_tap(const window_shape *s, const T *dout, T w, T *dx, ptrdiff_t i, ptrdiff_t j)
{
    const ptrdiff_t left = j - s->pad, begin = left < 0 ? ceil_div(-left, s->stride) : 0;
    const ptrdiff_t last = left < s->W ? (s->W - 1 - left) / s->stride + 1 : 0;
    const ptrdiff_t end = MIN(last, s->OW);
    for (ptrdiff_t y = 0; y < s->OH; y++) {
        const ptrdiff_t r = y * s->stride + i - s->pad;
        if (r >= 0 && r < s->H)
            for (ptrdiff_t x = begin; x < end; x++)
                dx[r * s->W + left + x * s->stride] += w * dout[y * s->OW + x];
    }
}

static void exact_dx_task(const void *arg, ptrdiff_t index, int thread)
{
    (void)thread;
    const exact_dx_job *job = arg;
    const window_shape *s = job->s;
    const ptrdiff_t n = index / s->C, c = index % s->C;
    T *dx = job->dx + index * s->H * s->W;
    memset(dx, 0, (size_t)(s->H * s->W) * sizeof(T));
    for (ptrdiff_t f = 0; f < s->F; f++)
        for (ptrdiff_t i = 0; i < s->HH; i++)
            for (ptrdiff_t j = 0; j < s->WW; j++)
                add_tap(s, job->dout + (n * s->F + f) * s->OH * s->OW,
                        job->w[((f * s->C + c) * s->HH + i) * s->WW + j], dx, i, j);
}

static int all_finite(const T *p, ptrdiff_t n)
{
    int bad = 0;
    for (ptrdiff_t i = 0; i < n; i++)
        bad |= p[i] - p[i] != 0;
    return !bad;
}

static void conv_dx(const window_shape *s, const void *dout, const void *w, void *dx, void *ws,
                    int threads)
{
    /* The phases multiply weights with padding, which must not make NaN out of an infinite one. */
    if (!all_finite(w, s->F * s->C * s->HH * s->WW)) {
        const exact_dx_job job = {s, dout, w, dx};
        parallel_run(exact_dx_task, &job, s->N * s->C, threads);
        return;
    }
    if (s->stride > MIN(s->HH, s->WW)) /* pixels that no window touches */
        memset(dx, 0, (size_t)(s->N * s->C * s->H * s->W) * sizeof(T));
    for (ptrdiff_t a = 0; a < phases_with_taps(s, s->HH); a++)
        for (ptrdiff_t b = 0; b < phases_with_taps(s, s->WW); b++)
            run_phase(s, a, b, dout, w, dx, ws, threads);
}

static ptrdiff_t conv_dw_bytes(const window_shape *s, int threads)
{
    dw_plan direct = make_dw_plan(s);
    ptrdiff_t bytes = dw_memory(&direct, NULL, threads);
#if VBYTES
    if (winograd_dw_suits(s)) {
        winograd_dw shorter = make_winograd_dw(&direct, threads);
        ptrdiff_t more = winograd_dw_memory(&shorter, NULL, threads);
        return MAX(bytes, more);
    }
#endif
    return bytes;
}

static void conv_dw(const window_shape *s, const void *x, const void *dout, void *dw, void *db, void *ws,
                    int threads)
{
    dw_plan direct = make_dw_plan(s);
    direct.x = x;
    direct.dout = dout;
    direct.dw = dw;
    direct.db = db;
#if VBYTES
    if (winograd_dw_suits(s)) {
        winograd_dw shorter = make_winograd_dw(&direct, threads);
        if (winograd_dw_run(&shorter, ws, threads))
            return;
    }
#endif
    dw_run(&direct, ws, threads);
}
