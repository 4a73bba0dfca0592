/* Rectified linear units; NaN passes.  The backward pass takes x or the output, which have the same
 * zeros. */

enum { RELU_TASK = 32768 };

typedef struct {
    ptrdiff_t n;
    const T *x, *dout;
    T *out;
} relu_job;

static void relu_forward_task(const void *arg, ptrdiff_t index, int thread)
{
    (void)thread;
    const relu_job *job = arg;
    const ptrdiff_t end = MIN((index + 1) * RELU_TASK, job->n);
    const T *x = job->x;
    T *out = job->out;
    _Pragma("GCC ivdep") for (ptrdiff_t i = index * RELU_TASK; i < end; i++)
        out[i] = x[i] < 0 ? 0 : x[i];
}

static void relu_backward_task(const void *arg, ptrdiff_t index, int thread)
{
    (void)thread;
    const relu_job *job = arg;
    const ptrdiff_t end = MIN((index + 1) * RELU_TASK, job->n);
    const T *x = job->x, *dout = job->dout;
    T *dx = job->out;
    _Pragma("GCC ivdep") for (ptrdiff_t i = index * RELU_TASK; i < end; i++)
        dx[i] = x[i] > 0 ? dout[i] : 0;
}

static void relu_forward(ptrdiff_t n, const void *x, void *out, int threads)
{
    relu_job job = {.n = n, .x = x, .out = out};
    parallel_run(relu_forward_task, &job, ceil_div(n, RELU_TASK), threads);
}

static void relu_backward(ptrdiff_t n, const void *dout, const void *x, void *dx, int threads)
{
    relu_job job = {.n = n, .x = x, .dout = dout, .out = dx};
    parallel_run(relu_backward_task, &job, ceil_div(n, RELU_TASK), threads);
}

