/* Softmax loss, with labels smoothed if asked for: a task is one row. */

typedef struct {
    ptrdiff_t N, C;
    const T *x;
    const int64_t *y;
    T smoothing, *losses, *dx;
} softmax_job;

/* Turn the loss of a label, and its gradient, into those of a target that is shared by all classes
 * to the part s: -mean(log p) = -log p[y] + mean(x[y] - x).  Where p[y] is 0 the loss is infinite
 * already, and minus infinity is not to be taken from it. */
static T smoothed_loss(const softmax_job *job, const T *x, T *dx, int64_t y, T loss)
{
    const T s = job->smoothing, C = (T)job->C, N = (T)job->N;
    T sum = 0;
    for (ptrdiff_t c = 0; c < job->C; c++) {
        sum += x[y] - x[c];
        dx[c] -= s / (C * N);
    }
    dx[y] += s / N;
    return isinf(loss) ? loss : loss + s * (sum / C);
}

static void softmax_task(const void *arg, ptrdiff_t n, int thread)
{
    (void)thread;
    const softmax_job *job = arg;
    const T *x = job->x + n * job->C;
    const int64_t y = job->y[n];
    T *dx = job->dx + n * job->C, most = x[0], sum = 0;
    for (ptrdiff_t c = 1; c < job->C; c++)
        most = x[c] > most ? x[c] : most;
    for (ptrdiff_t c = 0; c < job->C; c++)
        sum += dx[c] = (T)exp(x[c] - most);
    for (ptrdiff_t c = 0; c < job->C; c++)
        dx[c] /= sum * (T)job->N;
    dx[y] -= 1 / (T)job->N;
    const T loss = (T)log(sum) - (x[y] - most);
    job->losses[n] = job->smoothing == 0 ? loss : smoothed_loss(job, x, dx, y, loss);
}

static double softmax_loss(ptrdiff_t N, ptrdiff_t C, const void *x, const int64_t *y,
                           double smoothing, void *losses, void *dx, int threads)
{
    const softmax_job job = {.N = N, .C = C, .x = x, .y = y, .smoothing = (T)smoothing,
                             .losses = losses, .dx = dx};
    /* a row of ten scores isn't worth a thread */
    parallel_run(softmax_task, &job, N, N * C > 10000 ? threads : 1);
    double sum = 0;
    for (ptrdiff_t n = 0; n < N; n++)
        sum += (double)job.losses[n];
    return sum / (double)N;
}
