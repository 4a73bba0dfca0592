/* The convolution's dw and db.
 *
 *     dw[f,c,i,j] = sum over n,y,x of
 *                       dout[n,f,y,x] * x[n,c, y*stride - pad + i, x*stride - pad + j]
 *
 * dout is transposed to [pixel][filter], so that one vector holds one pixel of LANES filters and a
 * sum over pixels needs no sum over lanes.  A tile of ROWS (channel, i) pairs by COLS neighbours
 * j by NF vectors of filters stays in registers while it runs over a block of pixels that fits the
 * first-level cache.  A task is a chunk of images and a block of filters and has a sum of its own;
 * the chunks are added in order, and their number depends on the shape alone.
 */

#define NF_MAX 2
#define DW_WIDTH (NF_MAX * LANES)
#define DW_ROWS_MAX 8
#define DW_COLS_MAX MIN(7, (VREGS - NF_MAX - 1) / NF_MAX)
#define DW_ROWS(COLS) MIN(DW_ROWS_MAX, (VREGS - NF_MAX - 1) / NF_MAX / (COLS))
#define DW_PIXELS 128 /* pixels of a block: 16 kB of dout with AVX-512 */

typedef struct {
    const window_shape *s;
    const T *x, *dout;
    T *dw, *db;
    layout in;                    /* padded x of one band of rows */
    ptrdiff_t down, across;           /* steps of the windows in the packed x */
    ptrdiff_t band, bands;            /* output rows per packed band */
    ptrdiff_t block, group;           /* output rows per pixel block; images per group */
    ptrdiff_t vectors, blocks;        /* vectors of filters, in blocks of NF_MAX */
    ptrdiff_t chunks;                 /* of images, or of pieces of winograd_map.h */
    ptrdiff_t taps;                   /* C*HH*WW */
    T *sums;                          /* [chunk][block][taps + 1][NF_MAX*LANES]; the last is db */
    T *packed_x, *packed_dout;        /* per thread */
    T *scratch;                       /* per thread: sums of rows past the last */
    ptrdiff_t *rows;                  /* per thread: where the rows of a pixel block start */
} dw_plan;

/* ---- the register tile ---- */

typedef struct {
    const T *x[DW_ROWS_MAX];  /* where the tile's (channel, i) rows start in the packed image */
    T *sum[DW_ROWS_MAX];
    const T *d;               /* [pixel][NF*LANES] */
    const ptrdiff_t *rows;    /* offset of each row of pixels */
    ptrdiff_t nrows, OW, stride; /* stride: from pixel to pixel in x */
} dw_args;

ALWAYS_INLINE void dw_tile(const dw_args *a, const int COLS, const int NF)
{
    enum { MOST = VREGS };
    const int ROWS = DW_ROWS(COLS);
    vec acc[MOST][NF_MAX];
    _Pragma("GCC unroll 16") for (int t = 0; t < ROWS * COLS; t++)
        _Pragma("GCC unroll 2") for (int v = 0; v < NF; v++)
            acc[t][v] = splat((T)0);
    /* the sums are read in one burst, later; have their lines ready */
    for (int r = 0; r < ROWS; r++)
        FETCH_TO_WRITE(a->sum[r]);
    const T *d = a->d;
    for (ptrdiff_t y = 0; y < a->nrows; y++) {
        const T *x[DW_ROWS_MAX];
        _Pragma("GCC unroll 8") for (int r = 0; r < ROWS; r++)
            x[r] = a->x[r] + a->rows[y];
        for (ptrdiff_t i = 0; i < a->OW; i++) {
            vec dv[NF_MAX];
            _Pragma("GCC unroll 2") for (int v = 0; v < NF; v++)
                dv[v] = load(d + v * LANES);
            _Pragma("GCC unroll 8") for (int r = 0; r < ROWS; r++)
                _Pragma("GCC unroll 8") for (int k = 0; k < COLS; k++)
                    _Pragma("GCC unroll 2") for (int v = 0; v < NF; v++)
                        acc[r * COLS + k][v] += x[r][i * a->stride + k] * dv[v];
            d += NF * LANES;
        }
    }
    _Pragma("GCC unroll 8") for (int r = 0; r < ROWS; r++)
        _Pragma("GCC unroll 8") for (int k = 0; k < COLS; k++)
            _Pragma("GCC unroll 2") for (int v = 0; v < NF; v++) {
                T *sum = a->sum[r] + k * DW_WIDTH + v * LANES;
                store(sum, load(sum) + acc[r * COLS + k][v]);
            }
}

#define DW_TILE(COLS)                                                                              \
    static void dw_tile_##COLS##_1(const dw_args *a)                                               \
    {                                                                                              \
        if (COLS <= DW_COLS_MAX)                                                                   \
            dw_tile(a, COLS, 1);                                                                   \
    }                                                                                              \
    static void dw_tile_##COLS##_2(const dw_args *a)                                               \
    {                                                                                              \
        if (COLS <= DW_COLS_MAX)                                                                   \
            dw_tile(a, COLS, 2);                                                                   \
    }
DW_TILE(1) DW_TILE(2) DW_TILE(3) DW_TILE(4) DW_TILE(5) DW_TILE(6) DW_TILE(7)

#define DW_TILE_ROW(COLS) {dw_tile_##COLS##_1, dw_tile_##COLS##_2}
static void (*const dw_tiles[7][NF_MAX])(const dw_args *) = {
    DW_TILE_ROW(1), DW_TILE_ROW(2), DW_TILE_ROW(3), DW_TILE_ROW(4),
    DW_TILE_ROW(5), DW_TILE_ROW(6), DW_TILE_ROW(7)};

/* ---- the plan ---- */

static void dw_blocking(dw_plan *p)
{
    const window_shape *s = p->s;
    const ptrdiff_t pixels = DW_PIXELS, most = 256 * 1024 / (ptrdiff_t)sizeof(T);
    ptrdiff_t x_row = s->C * ((s->OW - 1) * p->across + s->WW) * p->down;
    ptrdiff_t row = MAX(x_row, s->OW * DW_WIDTH);
    p->band = s->OH;
    if (row * s->OH > 2 * most)
        p->band = MIN(MAX(most / row, s->HH / p->down + 1), s->OH);
    p->bands = ceil_div(s->OH, p->band);
    p->block = ceil_div(p->band, ceil_div(p->band * s->OW, pixels));
    p->vectors = ceil_div(s->F, LANES);
    p->blocks = ceil_div(p->vectors, NF_MAX);
    p->chunks = MIN(ceil_div(16, p->blocks), s->N);
    p->group = 1;
    if (p->block == s->OH)
        p->group = MIN(ceil_div(pixels, s->OH * s->OW), ceil_div(s->N, p->chunks));
}

static dw_plan make_dw_plan(const window_shape *s)
{
    dw_plan p = {.s = s, .taps = s->C * s->HH * s->WW};
    /* A gap of one pixel costs less to copy than to leave out. */
    p.down = s->stride == 2 ? 2 : MIN(s->stride, s->HH);
    p.across = s->stride == 2 ? 2 : MIN(s->stride, s->WW);
    dw_blocking(&p);
    p.in = (layout){.C = s->C, .H = s->H, .W = s->W, .r0 = -s->pad, .c0 = -s->pad, .step = 1};
    p.in.banded = p.bands > 1;
    ptrdiff_t high = (p.band - 1) * p.down + s->HH, wide = (s->OW - 1) * p.across + s->WW;
    set_layout(&p.in, high, wide, 1, 1, 1);
    return p;
}

static ptrdiff_t dw_sum_size(const dw_plan *p)
{
    return (p->taps + 1) * DW_WIDTH;
}

/* Elements of packed dout and rows of pixels that one thread needs. */
static ptrdiff_t dw_dout_size(const dw_plan *p)
{
    return p->group * p->band * p->s->OW * DW_WIDTH;
}

static ptrdiff_t dw_x_size(const dw_plan *p)
{
    return p->group * p->in.image + LANES;
}

static ptrdiff_t dw_memory(dw_plan *p, void *base, int threads)
{
    arena a = {base, 0};
    const ptrdiff_t size = (ptrdiff_t)sizeof(T);
    p->sums = arena_take(&a, p->chunks * p->blocks * dw_sum_size(p) * size);
    p->packed_x = arena_take(&a, threads * dw_x_size(p) * size);
    p->packed_dout = arena_take(&a, threads * dw_dout_size(p) * size);
    p->scratch = arena_take(&a, threads * DW_COLS_MAX * DW_WIDTH * size);
    p->rows = arena_take(&a, threads * p->group * p->block * (ptrdiff_t)sizeof(ptrdiff_t));
    return a.used;
}

/* ---- running ---- */

/* Transpose a block of pixels to [pixel][filter]; `width` filters, of which `filters` exist. */
static void pack_dout(const dw_plan *p, T *dst, const T *src, ptrdiff_t pixels,
                      ptrdiff_t filters, ptrdiff_t width)
{
    const ptrdiff_t plane = p->s->OH * p->s->OW;
    for (ptrdiff_t f = 0; f < width; f += LANES) {
        const T *from = src + f * plane;
        if (pixels < LANES) {
            transpose_scalar(dst + f, width, from, plane, pixels, filters - f);
            continue;
        }
        for (ptrdiff_t i = 0; i < pixels; i += LANES) {
            ptrdiff_t k = MIN(i, pixels - LANES); /* the last block overlaps the one before */
            transpose(dst + k * width + f, width, from + k, plane, filters - f);
        }
    }
}

static void add_db(T *db, const T *d, ptrdiff_t pixels, ptrdiff_t vectors)
{
    for (ptrdiff_t v = 0; v < vectors; v++) {
        vec sum = splat((T)0); /* of these pixels, so that no error grows with all pixels */
        for (ptrdiff_t i = 0; i < pixels; i++)
            sum += load(d + (i * vectors + v) * LANES);
        store(db + v * LANES, load(db + v * LANES) + sum);
    }
}

/* All tiles of one block of pixels: every (channel, i) row, the columns j in pieces. */
static void dw_block(const dw_plan *p, dw_args *a, const T *x, T *sum, T *scratch,
                     ptrdiff_t NF)
{
    const window_shape *s = p->s;
    ptrdiff_t pieces = ceil_div(s->WW, DW_COLS_MAX), rows = s->C * s->HH;
    for (ptrdiff_t piece = 0; piece < pieces; piece++) {
        ptrdiff_t j = part_start(s->WW, pieces, piece);
        ptrdiff_t cols = part_start(s->WW, pieces, piece + 1) - j, step = DW_ROWS(cols);
        for (ptrdiff_t first = 0; first < rows; first += step) {
            for (ptrdiff_t r = 0; r < step; r++) {
                ptrdiff_t row = MIN(first + r, rows - 1);
                a->x[r] = x + row / s->HH * p->in.plane + row % s->HH * p->in.width + j;
                a->sum[r] = first + r < rows ? sum + (row * s->WW + j) * DW_WIDTH : scratch;
            }
            dw_tiles[cols - 1][NF - 1](a);
        }
    }
}

/* Copy what the windows see of a row, where they leave gaps. */
static void pack_seen_row(const dw_plan *p, T *dst, const T *src)
{
    const window_shape *s = p->s;
    for (ptrdiff_t j = 0; j < p->across; j++) {
        const ptrdiff_t left = j - s->pad, begin = left < 0 ? ceil_div(-left, s->stride) : 0;
        const ptrdiff_t last = left < s->W ? (s->W - 1 - left) / s->stride + 1 : 0;
        const ptrdiff_t end = MIN(last, ceil_div(p->in.width - j, p->across));
        for (ptrdiff_t x = begin; x < end; x++)
            dst[x * p->across + j] = src[left + x * s->stride];
    }
}

/* Copy what the windows of output rows y0, y0 + 1, ... see of an image: without the gaps, the memory
 * does not grow with the stride. */
static void pack_seen(const dw_plan *p, T *dst, const T *src, ptrdiff_t y0)
{
    const window_shape *s = p->s;
    for (ptrdiff_t c = 0; c < s->C; c++, src += s->H * s->W)
        for (ptrdiff_t q = 0; q < p->in.rows; q++, dst += p->in.width) {
            const ptrdiff_t r = (y0 + q / p->down) * s->stride + q % p->down - s->pad;
            if (r >= 0 && r < s->H)
                pack_seen_row(p, dst, src + r * s->W);
            else if (p->in.banded)
                memset(dst, 0, (size_t)p->in.width * sizeof(T));
        }
}

/* Pack the band of rows from y0 on of several images: x padded, dout transposed. */
static void dw_pack(const dw_plan *p, T *x, T *d, ptrdiff_t n, ptrdiff_t images,
                    ptrdiff_t y0, ptrdiff_t fblock, ptrdiff_t NF)
{
    const window_shape *s = p->s;
    const ptrdiff_t pixels = MIN(p->band, s->OH - y0) * s->OW, f0 = fblock * DW_WIDTH;
    const int gaps = s->stride > p->down || s->stride > p->across;
    for (ptrdiff_t g = 0; g < images; g++) {
        const T *image = p->x + (n + g) * s->C * s->H * s->W;
        if (gaps)
            pack_seen(p, x + g * p->in.image, image, y0);
        else
            pack_image(&p->in, x + g * p->in.image, image, y0 * s->stride);
        pack_dout(p, d + g * pixels * NF * LANES,
                  p->dout + (((n + g) * s->F + f0) * s->OH + y0) * s->OW, pixels, s->F - f0,
                  NF * LANES);
    }
}

/* Add what a packed band contributes, one block of pixels after the other. */
static void dw_band(const dw_plan *p, const T *x, const T *d, ptrdiff_t images,
                    ptrdiff_t high, ptrdiff_t NF, T *sum, int thread)
{
    const window_shape *s = p->s;
    ptrdiff_t *rows = p->rows + thread * p->group * p->block;
    add_db(sum + p->taps * DW_WIDTH, d, images * high * s->OW, NF);
    for (ptrdiff_t y = 0; y < high; y += p->block) {
        ptrdiff_t count = MIN(p->block, high - y);
        for (ptrdiff_t g = 0; g < images; g++)
            for (ptrdiff_t i = 0; i < count; i++)
                rows[g * count + i] = g * p->in.image + (y + i) * p->down * p->in.width;
        dw_args a = {.d = d + y * s->OW * NF * LANES, .rows = rows, .nrows = images * count,
                     .OW = s->OW, .stride = p->across};
        dw_block(p, &a, x, sum, p->scratch + thread * DW_COLS_MAX * DW_WIDTH, NF);
    }
}

static void dw_task(const void *arg, ptrdiff_t index, int thread)
{
    const dw_plan *p = arg;
    const window_shape *s = p->s;
    ptrdiff_t chunk = index / p->blocks, fblock = index % p->blocks;
    ptrdiff_t NF = MIN(NF_MAX, p->vectors - fblock * NF_MAX);
    ptrdiff_t end = part_start(s->N, p->chunks, chunk + 1);
    T *x = p->packed_x + thread * dw_x_size(p);
    T *d = p->packed_dout + thread * dw_dout_size(p);
    T *sum = p->sums + index * dw_sum_size(p);
    memset(sum, 0, (size_t)dw_sum_size(p) * sizeof(T));
    for (ptrdiff_t n = part_start(s->N, p->chunks, chunk); n < end; n += p->group) {
        ptrdiff_t images = MIN(p->group, end - n);
        for (ptrdiff_t y = 0; y < s->OH; y += p->band) {
            dw_pack(p, x, d, n, images, y, fblock, NF);
            dw_band(p, x, d, images, MIN(p->band, s->OH - y), NF, sum, thread);
        }
    }
}

/* Add the chunks of row t of a block's sums, in order. */
static void dw_total(const dw_plan *p, ptrdiff_t fblock, ptrdiff_t t, T total[DW_WIDTH])
{
    memset(total, 0, DW_WIDTH * sizeof(T));
    for (ptrdiff_t chunk = 0; chunk < p->chunks; chunk++) {
        const T *sum = p->sums + (chunk * p->blocks + fblock) * dw_sum_size(p) + t * DW_WIDTH;
        for (int f = 0; f < DW_WIDTH; f++)
            total[f] += sum[f];
    }
}

/* Write the filters of one block back as [F][C][HH][WW]. */
static void dw_reduce(const void *arg, ptrdiff_t fblock, int thread)
{
    (void)thread;
    const dw_plan *p = arg;
    ptrdiff_t f0 = fblock * DW_WIDTH, filters = MIN(DW_WIDTH, p->s->F - f0);
    for (ptrdiff_t t = 0; t <= p->taps; t++) {
        T total[DW_WIDTH];
        dw_total(p, fblock, t, total);
        T *dst = t < p->taps ? p->dw + f0 * p->taps + t : p->db + f0;
        for (ptrdiff_t f = 0; f < filters; f++)
            dst[f * (t < p->taps ? p->taps : 1)] = total[f];
    }
}

static void dw_run(dw_plan *p, void *ws, int threads)
{
    dw_memory(p, ws, threads);
    memset(p->packed_x, 0, (size_t)(threads * dw_x_size(p)) * sizeof(T));
    parallel_run(dw_task, p, p->chunks * p->blocks, threads);
    parallel_run(dw_reduce, p, p->blocks, threads);
}
