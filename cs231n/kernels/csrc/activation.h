/* What a unit may make of its input: ReLU, leaky ReLU, GELU and SiLU, a vector at a time.  NaN
 * passes. */

typedef struct {
    int kind; /* of the activations in kernels.h */
    T slope;  /* of a leaky ReLU */
} unit;

/* Call a function whose last argument is the kind, as a constant, so that the compiler makes one
 * copy of it for each. */
#define CASE_OF_UNIT(name, function, ...)                                                          \
    case name:                                                                                     \
        function(__VA_ARGS__, name);                                                               \
        break;
#define WITH_CONSTANT_UNIT(kind, ...)                                                              \
    switch (kind) {                                                                                \
        CASE_OF_UNIT(RELU, __VA_ARGS__)                                                            \
        CASE_OF_UNIT(LEAKY_RELU, __VA_ARGS__)                                                      \
        CASE_OF_UNIT(GELU, __VA_ARGS__)                                                            \
        CASE_OF_UNIT(GELU_TANH, __VA_ARGS__)                                                       \
        CASE_OF_UNIT(SILU, __VA_ARGS__)                                                            \
        CASE_OF_UNIT(NO_ACTIVATION, __VA_ARGS__)                                                   \
    }

#if VBYTES
/* exp of each lane: x = n*ln 2 + r, a Taylor series of r, and n into the exponent of the result.
 * Below the normal numbers it is zero. */
ALWAYS_INLINE vec exp_vec(vec x)
{
    enum { IS_FLOAT = sizeof(T) == sizeof(float), MANTISSA = IS_FLOAT ? 23 : 52,
           BIAS = IS_FLOAT ? 127 : 1023, DEGREE = IS_FLOAT ? 7 : 13 };
    static const T inverse_factorials[] = {
        (T)1, (T)1, (T)(1.0 / 2), (T)(1.0 / 6), (T)(1.0 / 24), (T)(1.0 / 120), (T)(1.0 / 720),
        (T)(1.0 / 5040), (T)(1.0 / 40320), (T)(1.0 / 362880), (T)(1.0 / 3628800),
        (T)(1.0 / 39916800), (T)(1.0 / 479001600), (T)(1.0 / 6227020800)};
    const T least = IS_FLOAT ? (T)-87 : (T)-708, most = IS_FLOAT ? (T)88 : (T)709;
    /* ln 2 in two parts, of which the first has so few digits that its products are exact */
    const T high = IS_FLOAT ? (T)0.693359375 : (T)6.93147180369123816490e-01;
    const T low = IS_FLOAT ? (T)-2.12194440054690583e-4 : (T)1.90821492927058770002e-10;
    /* added to a number it leaves the nearest integer in the last bits */
    const T rounder = IS_FLOAT ? (T)12582912 : (T)6755399441055744;
    const lanes vanishes = x < splat(least);
    x = choose(vanishes, splat(least), x);
    x = choose(x > splat(most), splat(most), x);
    vec shifted = x * (T)1.44269504088896340736 + rounder;
    ROUND(shifted);
    const vec n = shifted - rounder, r = (x - n * high) - n * low;
    vec sum = splat(inverse_factorials[DEGREE]);
    _Pragma("GCC unroll 16") for (int k = DEGREE - 1; k >= 0; k--)
        sum = sum * r + inverse_factorials[k];
    const vec power = (vec)(((lanes)shifted + BIAS) << MANTISSA);
    return (vec)((lanes)(sum * power) & ~vanishes);
}
#define first_lane(v) ((v)[0])
#else
#define exp_vec(x) (sizeof(T) == sizeof(float) ? (T)expf((float)(x)) : (T)exp(x))
#define first_lane(v) (v)
#endif

ALWAYS_INLINE vec magnitude_vec(vec x)
{
    return choose(x < splat((T)0), -x, x);
}

/* The part of the normal distribution below x, and exp(-x*x/2), to which its density is
 * proportional.  With u = |x|/sqrt(2) the part beyond |x| is erfc(u)/2, and (1 + 2u) exp(u*u) erfc(u)
 * is a polynomial in (u - 3.75)/(u + 3.75): Shepherd and Laframboise, Chebyshev Approximation of
 * (1 + 2x) exp(x^2) erfc x in 0 <= x < infinity, Mathematics of Computation 36, 1981.  The
 * coefficients, from x^0 on, are those of Chebyshev series of so many terms as a type has digits
 * for, computed with 60 digits. */
typedef struct {
    vec below, bell;
} normal_distribution;

ALWAYS_INLINE normal_distribution normal_vec(vec x)
{
    enum { IS_FLOAT = sizeof(T) == sizeof(float), DEGREE = IS_FLOAT ? 12 : 23 };
    static const T few[] = {
        (T)1.23751263, (T)-0.1402406583, (T)0.003585495314, (T)0.08227841998, (T)-0.1088052275,
        (T)0.09229076959, (T)-0.05868544049, (T)0.02840925236, (T)-0.009770087183,
        (T)0.001675912218, (T)0.0003301674563, (T)-0.0002241167467, (T)2.204671891e-5};
    static const T many[] = {
        (T)1.237512630837827529, (T)-0.1402405985855469624, (T)0.003585415485479025638,
        (T)0.08227673849014520768, (T)-0.1088039301424446127, (T)0.09230432116037747776,
        (T)-0.0586933985766493384, (T)0.02836227741895640429, (T)-0.009746579683265262231,
        (T)0.001755625852895295357, (T)0.0002937143780449580301, (T)-0.0002901540805408417103,
        (T)5.164652974177416076e-5, (T)2.238423915508222791e-5, (T)-1.14380480333468926e-5,
        (T)-9.735598967367715573e-7, (T)1.741982158622480438e-6, (T)-5.721823060322795645e-8,
        (T)-2.485712624801665604e-7, (T)2.326350870886189728e-8, (T)3.197926671666767555e-8,
        (T)-3.744210080963148163e-9, (T)-2.623107347133408967e-9, (T)3.11143338098191871e-10};
    const T *coefficients = IS_FLOAT ? few : many;
    vec u = magnitude_vec(x) * (T)0.70710678118654752440;
    u = choose(u > splat((T)40), splat((T)40), u); /* infinity, too */
    const vec t = (u - (T)3.75) / (u + (T)3.75);
    vec sum = splat(coefficients[DEGREE]);
    _Pragma("GCC unroll 24") for (int k = DEGREE - 1; k >= 0; k--) sum = sum * t + coefficients[k];
    const vec bell = exp_vec(x * x * (T)-0.5), beyond = bell * sum / (u * 4 + 2);
    return (normal_distribution){choose(x < splat((T)0), beyond, 1 - beyond), bell};
}

/* 1/(1 + exp(-x)); exp is taken of what is not positive, and cannot overflow. */
ALWAYS_INLINE vec sigmoid_vec(vec x)
{
    const vec e = exp_vec(-magnitude_vec(x));
    return choose(x < splat((T)0), e, splat((T)1)) / (e + 1);
}

/* In its tanh form GELU is x*sigmoid(2a) with a = sqrt(2/pi)*(x + 0.044715*x^3). */
#define GELU_TANH_2A(x) ((x) * ((x) * (x) * (T)0.07135481627260025 + (T)1.5957691216057308))
#define GELU_TANH_2A_SLOPE(x) ((x) * (x) * (T)0.21406444881780076 + (T)1.5957691216057308)

ALWAYS_INLINE vec activate(vec x, const unit u)
{
    switch (u.kind) {
    case RELU:
        return relu_vec(x);
    case LEAKY_RELU:
        return choose(x > splat((T)0), x, x * u.slope);
    case GELU:
        return x * normal_vec(x).below;
    case GELU_TANH:
        return x * sigmoid_vec(GELU_TANH_2A(x));
    case SILU:
        return x * sigmoid_vec(x);
    default:
        return x;
    }
}

/* What comes back through a unit of input x: dout times the slope at x. */
ALWAYS_INLINE vec through_unit(vec x, vec dout, const unit u)
{
    if (u.kind == RELU)
        return relu_gradient_vec(x, dout);
    if (u.kind == LEAKY_RELU)
        return choose(x > splat((T)0), dout, dout * u.slope);
    if (u.kind == GELU) {
        const normal_distribution normal = normal_vec(x);
        return dout * (normal.below + x * normal.bell * (T)0.39894228040143267794);
    }
    if (u.kind == GELU_TANH) {
        const vec s = sigmoid_vec(GELU_TANH_2A(x));
        return dout * (s + x * s * (1 - s) * GELU_TANH_2A_SLOPE(x));
    }
    if (u.kind == SILU) {
        const vec s = sigmoid_vec(x);
        return dout * (s + x * s * (1 - s));
    }
    return dout;
}

/* ---- a layer of units ---- */

enum { ACTIVATION_TASK = 32768 };

typedef struct {
    ptrdiff_t n;
    const T *x, *dout;
    T *out, slope;
    int kind;
} activation_job;

ALWAYS_INLINE void activate_task(const activation_job *job, ptrdiff_t index, const int kind)
{
    const unit u = {kind, job->slope};
    const ptrdiff_t end = MIN((index + 1) * ACTIVATION_TASK, job->n);
    ptrdiff_t i = index * ACTIVATION_TASK;
    for (; i + LANES <= end; i += LANES)
        store(job->out + i, activate(load(job->x + i), u));
    for (; i < end; i++)
        job->out[i] = first_lane(activate(splat(job->x[i]), u));
}

ALWAYS_INLINE void through_task(const activation_job *job, ptrdiff_t index, const int kind)
{
    const unit u = {kind, job->slope};
    const ptrdiff_t end = MIN((index + 1) * ACTIVATION_TASK, job->n);
    ptrdiff_t i = index * ACTIVATION_TASK;
    for (; i + LANES <= end; i += LANES)
        store(job->out + i, through_unit(load(job->x + i), load(job->dout + i), u));
    for (; i < end; i++)
        job->out[i] = first_lane(through_unit(splat(job->x[i]), splat(job->dout[i]), u));
}

static void activation_forward_task(const void *arg, ptrdiff_t index, int thread)
{
    (void)thread;
    const activation_job *job = arg;
    WITH_CONSTANT_UNIT(job->kind, activate_task, job, index)
}

static void activation_backward_task(const void *arg, ptrdiff_t index, int thread)
{
    (void)thread;
    const activation_job *job = arg;
    WITH_CONSTANT_UNIT(job->kind, through_task, job, index)
}

static void activation_forward(int kind, double slope, ptrdiff_t n, const void *x, void *out,
                               int threads)
{
    activation_job job = {.kind = kind, .slope = (T)slope, .n = n, .x = x, .out = out};
    parallel_run(activation_forward_task, &job, ceil_div(n, ACTIVATION_TASK), threads);
}

static void activation_backward(int kind, double slope, ptrdiff_t n, const void *dout,
                                const void *x, void *dx, int threads)
{
    activation_job job = {.kind = kind, .slope = (T)slope, .n = n, .x = x, .dout = dout, .out = dx};
    parallel_run(activation_backward_task, &job, ceil_div(n, ACTIVATION_TASK), threads);
}
