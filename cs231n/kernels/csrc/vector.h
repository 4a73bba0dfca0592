/* Vectors of LANES elements of T; what the unit has defined: T (the type), TBYTES (its size), TINT (an
 * integer as wide), VBYTES (bytes per vector; 0 without vector extensions) and VREGS (vector
 * registers). */
#if VBYTES
#define LANES (VBYTES / TBYTES)
typedef T vec __attribute__((vector_size(VBYTES)));
/* The same vector at any address that suits one element. */
typedef T uvec __attribute__((vector_size(VBYTES), aligned(sizeof(T)), may_alias));
#define load(p) ((vec) * (const uvec *)(p))
#define store(p, v) (*(uvec *)(p) = (v))
#define splat(s) ((vec){0} + (s))

/* What a comparison of vectors gives: -1 or 0 per lane. */
typedef __typeof__((vec){0} < (vec){0}) lanes;
#define choose(mask, a, b) ((vec)(((lanes)(a) & (mask)) | ((lanes)(b) & ~(mask))))

#if defined(__clang__) || __GNUC__ >= 12
#define shuffle(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define shuffle(a, b, ...) __builtin_shuffle(a, b, (lanes){__VA_ARGS__})
#endif

/* The numbers of the lanes; of two vectors side by side, the even and the odd lanes, and the lanes
 * taken in turns from the first halves and from the second halves. */
#if LANES == 2
#define NUMBERS 0, 1
#define EVEN 0, 2
#define ODD 1, 3
#define LOW 0, 2
#define HIGH 1, 3
#elif LANES == 4
#define NUMBERS 0, 1, 2, 3
#define EVEN 0, 2, 4, 6
#define ODD 1, 3, 5, 7
#define LOW 0, 4, 1, 5
#define HIGH 2, 6, 3, 7
#elif LANES == 8
#define NUMBERS 0, 1, 2, 3, 4, 5, 6, 7
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14
#define ODD 1, 3, 5, 7, 9, 11, 13, 15
#define LOW 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
#define NUMBERS 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define ODD 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#define LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#endif
#else
#define LANES 1
#define NUMBERS 0
typedef T vec;
typedef TINT lanes;
#define load(p) (*(p))
#define store(p, v) (*(p) = (v))
#define splat(s) (s)
#define choose(mask, a, b) ((mask) ? (a) : (b))
#endif

/* The last of n elements are seldom a vector's.  They are read, and written, together with those
 * before them, for the second time: what is read must not have been written over in between.  Fewer
 * elements than a vector has are copied aside. */
ALWAYS_INLINE vec load_end(const T *p, ptrdiff_t n)
{
    if (n >= LANES)
        return load(p + n - LANES);
    T some[LANES] = {0};
    for (ptrdiff_t i = 0; i < n; i++)
        some[i] = p[i];
    return load(some);
}

ALWAYS_INLINE void store_end(T *p, vec v, ptrdiff_t n)
{
    if (n >= LANES) {
        store(p + n - LANES, v);
        return;
    }
    T some[LANES];
    store(some, v);
    for (ptrdiff_t i = 0; i < n; i++)
        p[i] = some[i];
}

/* What a vector made by load_end has of the elements from `first` on, and zeros in its other lanes. */
ALWAYS_INLINE vec end_from(vec v, ptrdiff_t first, ptrdiff_t n)
{
    static const TINT numbers[] = {NUMBERS};
    lanes number;
    memcpy(&number, numbers, sizeof(number));
    const TINT lane = (TINT)(first - MAX(n - LANES, 0)), count = (TINT)MIN(n, LANES);
    return choose((number >= lane) & (number < count), v, splat((T)0));
}

static inline T root(T x)
{
    return sizeof(T) == sizeof(float) ? (T)sqrtf((float)x) : (T)sqrt((double)x);
}

ALWAYS_INLINE vec relu_vec(vec v)
{
#if VBYTES
    return (vec)((lanes)v & ~(v < splat((T)0))); /* keeps NaN */
#else
    return v < 0 ? 0 : v;
#endif
}

/* The upstream gradient where the output y of a ReLU is positive, zero elsewhere. */
ALWAYS_INLINE vec relu_gradient_vec(vec y, vec dout)
{
#if VBYTES
    return (vec)((lanes)dout & (y > splat((T)0)));
#else
    return y > 0 ? dout : 0;
#endif
}
