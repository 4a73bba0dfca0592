/* Passes over a plane of pixels, of which batch norm, group norm and sums of channels are made. */

#define SUMS 4 /* independent vector sums: hides the latency of the additions */

ALWAYS_INLINE T add_lanes(const vec *sum)
{
    T lane[SUMS * LANES], total = 0;
    for (int i = 0; i < SUMS; i++)
        store(lane + i * LANES, sum[i]);
    for (int i = 0; i < SUMS * LANES; i++)
        total += lane[i];
    return total;
}

/* Sum of x - origin over one plane.  `step` elements on lies the next image's, which is fetched
 * meanwhile: a plane is often one page, where the processor's own prefetching stops.  After the last
 * image that fetches something useless, which is harmless.  A mean is measured from the first number
 * as the origin: that of equal numbers is then exact, and their variance zero. */
static T sum_plane(const T *x, T origin, ptrdiff_t n, ptrdiff_t step)
{
    vec sum[SUMS] = {0};
    ptrdiff_t i = 0;
    for (; i + SUMS * LANES <= n; i += SUMS * LANES)
        _Pragma("GCC unroll 4") for (int k = 0; k < SUMS; k++)
        {
            sum[k] += load(x + i + k * LANES) - origin;
            FETCH(x + i + k * LANES + step);
        }
    T total = add_lanes(sum);
    for (; i < n; i++)
        total += x[i] - origin;
    return total;
}

/* Sum of the squares of x - mean over one plane, which is in the cache from the sum before. */
static T sum_squares(const T *x, T mean, ptrdiff_t n)
{
    vec sum[SUMS] = {0};
    ptrdiff_t i = 0;
    for (; i + SUMS * LANES <= n; i += SUMS * LANES)
        _Pragma("GCC unroll 4") for (int k = 0; k < SUMS; k++)
        {
            vec d = load(x + i + k * LANES) - mean;
            sum[k] += d * d;
        }
    T total = add_lanes(sum);
    for (; i < n; i++)
        total += (x[i] - mean) * (x[i] - mean);
    return total;
}

/* One expression for both passes: with other roundings the backward pass might take a unit for
 * switched on that was off. */
#define NORMALISED(x) (((x) - mean) * scale + beta)

ALWAYS_INLINE void scale_plane(const T *x, T *out, T mean, T scale, T beta, const unit u,
                               ptrdiff_t n, ptrdiff_t step)
{
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vec y = NORMALISED(load(x + i));
        store(out + i, activate(y, u));
        FETCH_TO_WRITE(out + i + step);
    }
    for (; i < n; i++)
        out[i] = first_lane(activate(splat(NORMALISED(x[i])), u));
}

typedef struct {
    T sum, product; /* of dout, and of dout*(x - mean) */
} gradient_sums;

ALWAYS_INLINE void add_gradients(gradient_sums * sums, const T *x, const T *dout, T mean,
                                 T scale, T beta, const unit u, ptrdiff_t n, ptrdiff_t step)
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
            FETCH(x + at + step);
            FETCH(dout + at + step);
        }
    sums->sum += add_lanes(sum);
    sums->product += add_lanes(product);
    for (; i < n; i++) {
        const T d = first_lane(through_unit(splat(NORMALISED(x[i])), splat(dout[i]), u));
        sums->sum += d;
        sums->product += d * (x[i] - mean);
    }
}

ALWAYS_INLINE void unscale_plane(const T *x, const T *dout, T *dx, T mean, T scale, T beta,
                                 const unit u, T shift, T slope, ptrdiff_t n, ptrdiff_t step)
{
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vec xv = load(x + i), d = through_unit(NORMALISED(xv), load(dout + i), u);
        store(dx + i, (d - shift - (xv - mean) * slope) * scale);
        FETCH_TO_WRITE(dx + i + step);
    }
    for (; i < n; i++) {
        const T d = first_lane(through_unit(splat(NORMALISED(x[i])), splat(dout[i]), u));
        dx[i] = (d - shift - (x[i] - mean) * slope) * scale;
    }
}

/* The same with statistics that are constants: x has no part in it but by the unit, and may be
 * infinite or no number. */
ALWAYS_INLINE void rescale_plane(const T *x, const T *dout, T *dx, T mean, T scale, T beta,
                                 const unit u, ptrdiff_t n, ptrdiff_t step)
{
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vec xv = load(x + i);
        store(dx + i, through_unit(NORMALISED(xv), load(dout + i), u) * scale);
        FETCH_TO_WRITE(dx + i + step);
    }
    for (; i < n; i++)
        dx[i] = first_lane(through_unit(splat(NORMALISED(x[i])), splat(dout[i]), u)) * scale;
}
