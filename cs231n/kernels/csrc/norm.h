/* Passes over a plane of pixels, of which batch norm, group norm and sums of channels are made. */

#define SUMS 4 /* independent vector sums: hides the latency of the additions */

ALWAYS_INLINE T add_lanes(vec v)
{
    T lane[LANES], total = 0;
    store(lane, v);
    for (int i = 0; i < LANES; i++)
        total += lane[i];
    return total;
}

ALWAYS_INLINE vec add_sums(const vec *sum)
{
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* Elements from a plane of D pixels of C channels to that of a later image, which is fetched while the
 * first is worked on: the processor's own prefetching stops at the end of a page.  Small planes are
 * done sooner than memory answers, so that it is not that of the next image.  For the last images
 * something useless is fetched, which is harmless. */
static ptrdiff_t fetch_step(ptrdiff_t C, ptrdiff_t D)
{
    return C * D * MAX(1, 256 / D);
}

/* Sum of x - origin over one plane, still in lanes: those are added when all planes are.  What lies
 * `ahead` elements on is fetched.  A mean is measured from the first number as the origin: that of
 * equal numbers is then exact, and their variance zero. */
static vec sum_plane(const T *x, T origin, ptrdiff_t n, ptrdiff_t ahead)
{
    vec sum[SUMS] = {0};
    ptrdiff_t i = 0;
    for (; i + SUMS * LANES <= n; i += SUMS * LANES)
        _Pragma("GCC unroll 4") for (int k = 0; k < SUMS; k++)
        {
            sum[k] += load(x + i + k * LANES) - origin;
            FETCH(x + i + k * LANES + ahead);
        }
    for (; i + LANES <= n; i += LANES) {
        sum[0] += load(x + i) - origin;
        FETCH(x + i + ahead);
    }
    if (i < n) {
        sum[1] += end_from(load_end(x, n) - origin, i, n);
        FETCH(x + n - 1 + ahead);
    }
    return add_sums(sum);
}

/* Sum of the squares of x - mean over one plane, which is in the cache from the sum before. */
static vec sum_squares(const T *x, T mean, ptrdiff_t n)
{
    vec sum[SUMS] = {0};
    ptrdiff_t i = 0;
    for (; i + SUMS * LANES <= n; i += SUMS * LANES)
        _Pragma("GCC unroll 4") for (int k = 0; k < SUMS; k++)
        {
            vec d = load(x + i + k * LANES) - mean;
            sum[k] += d * d;
        }
    for (; i + LANES <= n; i += LANES) {
        vec d = load(x + i) - mean;
        sum[0] += d * d;
    }
    if (i < n) {
        vec d = end_from(load_end(x, n) - mean, i, n);
        sum[1] += d * d;
    }
    return add_sums(sum);
}

/* One expression for both passes: with other roundings the backward pass might take a unit for
 * switched on that was off. */
#define NORMALISED(x) (((x) - mean) * scale + beta)

ALWAYS_INLINE void scale_plane(const T *x, T *out, T mean, T scale, T beta, const unit u,
                               ptrdiff_t n, ptrdiff_t ahead)
{
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vec y = NORMALISED(load(x + i));
        store(out + i, activate(y, u));
        FETCH_TO_WRITE(out + i + ahead);
    }
    if (i < n) {
        vec y = NORMALISED(load_end(x, n));
        store_end(out, activate(y, u), n);
        FETCH_TO_WRITE(out + n - 1 + ahead);
    }
}

typedef struct {
    vec sum, product; /* of dout, and of dout*(x - mean) */
} gradient_sums;

/* What comes back through the units is written to `through`, too, unless that is NULL; it may not be
 * dout. */
ALWAYS_INLINE void add_gradients(gradient_sums *sums, const T *x, const T *dout, T *through, T mean,
                                 T scale, T beta, const unit u, ptrdiff_t n, ptrdiff_t ahead)
{
    vec sum[SUMS] = {0}, product[SUMS] = {0};
    ptrdiff_t i = 0;
    for (; i + SUMS * LANES <= n; i += SUMS * LANES)
        _Pragma("GCC unroll 4") for (int k = 0; k < SUMS; k++)
        {
            const ptrdiff_t at = i + k * LANES;
            vec xv = load(x + at), d = through_unit(NORMALISED(xv), load(dout + at), u);
            sum[k] += d;
            product[k] += d * (xv - mean);
            if (through)
                store(through + at, d);
            FETCH(x + at + ahead);
            FETCH(dout + at + ahead);
        }
    for (; i + LANES <= n; i += LANES) {
        vec xv = load(x + i), d = through_unit(NORMALISED(xv), load(dout + i), u);
        sum[0] += d;
        product[0] += d * (xv - mean);
        if (through)
            store(through + i, d);
        FETCH(x + i + ahead);
        FETCH(dout + i + ahead);
    }
    if (i < n) {
        vec xv = load_end(x, n), d = through_unit(NORMALISED(xv), load_end(dout, n), u);
        sum[1] += end_from(d, i, n);
        product[1] += end_from(d * (xv - mean), i, n);
        if (through)
            store_end(through, d, n);
        FETCH(x + n - 1 + ahead);
        FETCH(dout + n - 1 + ahead);
    }
    sums->sum += add_sums(sum);
    sums->product += add_sums(product);
}

/* dout may be dx itself, as in denormalise_channel: its end is read before it is written. */
ALWAYS_INLINE void unscale_plane(const T *x, const T *dout, T *dx, T mean, T scale, T beta,
                                 const unit u, T shift, T slope, ptrdiff_t n, ptrdiff_t ahead)
{
    const vec end = n % LANES ? load_end(dout, n) : splat((T)0);
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vec xv = load(x + i), d = through_unit(NORMALISED(xv), load(dout + i), u);
        store(dx + i, (d - shift - (xv - mean) * slope) * scale);
        FETCH_TO_WRITE(dx + i + ahead);
    }
    if (i < n) {
        vec xv = load_end(x, n), d = through_unit(NORMALISED(xv), end, u);
        store_end(dx, (d - shift - (xv - mean) * slope) * scale, n);
        FETCH_TO_WRITE(dx + n - 1 + ahead);
    }
}

/* The same with statistics that are constants: x has no part in it but by the unit, and may be
 * infinite or no number. */
ALWAYS_INLINE void rescale_plane(const T *x, const T *dout, T *dx, T mean, T scale, T beta,
                                 const unit u, ptrdiff_t n, ptrdiff_t ahead)
{
    const vec end = n % LANES ? load_end(dout, n) : splat((T)0);
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vec xv = load(x + i);
        store(dx + i, through_unit(NORMALISED(xv), load(dout + i), u) * scale);
        FETCH_TO_WRITE(dx + i + ahead);
    }
    if (i < n) {
        vec xv = load_end(x, n);
        store_end(dx, through_unit(NORMALISED(xv), end, u) * scale, n);
        FETCH_TO_WRITE(dx + n - 1 + ahead);
    }
}
