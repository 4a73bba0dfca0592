/* A padded copy of images in which neighbouring outputs read neighbouring elements.
 *
 * [C][maps][phases][rows][width]: element row r0 + y*step + i of the source is row y + i/phases of
 * phase i%phases, and column c0 + x*step + j is column x + j/maps of map j%maps.  With maps == step
 * that is the image itself, split by the step.  With maps == WW every tap column has a copy of its
 * own whose rows are exactly as wide as the output; all outputs are then contiguous.
 */

typedef struct {
    ptrdiff_t C, H, W;      /* source image */
    ptrdiff_t r0, c0, step; /* source position of output (0, 0), tap (0, 0); step */
    ptrdiff_t maps, phases, rows, width;
    ptrdiff_t plane, image; /* elements per channel and per image */
    int banded;             /* whether it holds different rows of an image in turn */
} layout;

/* Lay out for OH x OW outputs and HH x WW taps. */
static void set_layout(layout *p, ptrdiff_t OH, ptrdiff_t OW, ptrdiff_t HH, ptrdiff_t WW,
                       ptrdiff_t maps)
{
    p->maps = maps;
    p->phases = MIN(p->step, HH);
    p->rows = OH + (HH - 1) / p->phases;
    p->width = OW + (WW - 1) / maps;
    p->plane = p->maps * p->phases * p->rows * p->width;
    p->image = p->C * p->plane;
}

/* Copy n elements in two overlapping pieces of a fixed size where there are so many. */
#define COPY_PIECES(bytes)                                                                         \
    if (n * (ptrdiff_t)sizeof(T) >= (bytes)) {                                                     \
        memcpy(dst, src, (bytes));                                                                 \
        memcpy(dst + n - (bytes) / sizeof(T), src + n - (bytes) / sizeof(T), (bytes));             \
        return;                                                                                    \
    }

/* Copy n elements, `step` apart in the source: short rows, so a call of memcpy would cost most. */
ALWAYS_INLINE void copy_row(T *restrict dst, const T *restrict src, ptrdiff_t n, ptrdiff_t step)
{
    if (step == 1) {
        for (; n > 2 * LANES; n -= LANES, src += LANES, dst += LANES)
            store(dst, load(src));
        COPY_PIECES(64)
        COPY_PIECES(32)
        COPY_PIECES(16)
    }
    for (ptrdiff_t i = 0; i < n; i++)
        dst[i] = src[i * step];
}

/* Copy the rows of one channel that outputs y0, y0 + 1, ... need, into one map.  Columns outside
 * the source are left alone, for they were zeroed once; so are rows, unless the bands differ. */
static void pack_map(const layout *p, T *dst, const T *src, ptrdiff_t map, ptrdiff_t y0)
{
    ptrdiff_t first = p->c0 + map; /* source column of packed column 0 */
    ptrdiff_t lo = first < 0 ? ceil_div(-first, p->step) : 0;
    ptrdiff_t hi = p->W > first ? ceil_div(p->W - first, p->step) : 0;
    hi = MIN(hi, p->width);
    if (lo >= hi)
        return;
    for (ptrdiff_t f = 0; f < p->phases; f++)
        for (ptrdiff_t q = 0; q < p->rows; q++, dst += p->width) {
            ptrdiff_t r = p->r0 + f + (y0 + q) * p->step;
            if (r >= 0 && r < p->H)
                copy_row(dst + lo, src + r * p->W + first + lo * p->step, hi - lo, p->step);
            else if (p->banded)
                memset(dst, 0, (size_t)p->width * sizeof(T));
        }
}

static void pack_image(const layout *p, T *dst, const T *src, ptrdiff_t y0)
{
    for (ptrdiff_t c = 0; c < p->C; c++)
        for (ptrdiff_t m = 0; m < p->maps; m++)
            pack_map(p, dst + c * p->plane + m * p->phases * p->rows * p->width,
                     src + c * p->H * p->W, m, y0);
}

/* Transpose LANES pixels of up to LANES filters; absent filters become zeros. */
static void transpose_scalar(T *dst, ptrdiff_t width, const T *src, ptrdiff_t plane,
                             ptrdiff_t pixels, ptrdiff_t filters)
{
    for (ptrdiff_t i = 0; i < pixels; i++)
        for (ptrdiff_t f = 0; f < LANES; f++)
            dst[i * width + f] = f < filters ? src[f * plane + i] : 0;
}

#if VBYTES
/* Transpose in registers: each round moves the top bit of the row number to the bottom of the lane
 * number. */
ALWAYS_INLINE void transpose_rows(vec row[LANES])
{
    vec next[LANES];
    _Pragma("GCC unroll 4") for (int round = 1; round < LANES; round *= 2) {
        _Pragma("GCC unroll 8") for (int f = 0; f < LANES / 2; f++) {
            next[2 * f] = shuffle(row[f], row[f + LANES / 2], LOW);
            next[2 * f + 1] = shuffle(row[f], row[f + LANES / 2], HIGH);
        }
        _Pragma("GCC unroll 16") for (int f = 0; f < LANES; f++)
            row[f] = next[f];
    }
}
#endif

/* The same for LANES pixels, in registers. */
static void transpose(T *dst, ptrdiff_t width, const T *src, ptrdiff_t plane, ptrdiff_t filters)
{
#if VBYTES
    vec row[LANES];
    _Pragma("GCC unroll 16") for (int f = 0; f < LANES; f++)
        row[f] = f < filters ? load(src + f * plane) : splat((T)0);
    transpose_rows(row);
    _Pragma("GCC unroll 16") for (int f = 0; f < LANES; f++)
        store(dst + f * width, row[f]);
#else
    transpose_scalar(dst, width, src, plane, LANES, filters);
#endif
}
