/* Correlation of many images with many filters: the core of the convolution's forward pass and dx.
 *
 *     out[n,k,y,x] = bias[k] + sum over c,i,j of
 *                        w[k,c,i,j] * src[n,c, r0 + y*step + i, c0 + x*step + j]
 *
 * with zeros outside the source.  No columns are built.  The image is copied once into a padded
 * layout in which one output vector (LANES neighbouring pixels) reads, for every tap (i, j), LANES
 * neighbouring elements; a tap is then one offset, whatever the step.  A tile of FB filters by NV
 * vectors stays in registers while it runs over all channels and taps: FB*NV multiply-adds for
 * FB + NV loads.
 */

#define FB_MAX 8 /* most filters and most vectors of a tile */
#define NV_MAX 8

typedef struct {
    ptrdiff_t src, dst; /* where a vector starts in the packed image and in the output */
    ptrdiff_t count;    /* lanes that are real output pixels */
} lane_span;

typedef struct {
    /* the problem */
    ptrdiff_t N;                        /* source images */
    layout in;                      /* one of them, and its packed copy (pack.h) */
    ptrdiff_t K, HH, WW;                /* filters and their taps */
    ptrdiff_t OH, OW;                   /* output positions */
    ptrdiff_t wk, wc, wi, wj;           /* strides of the weights */
    ptrdiff_t dimage, dplane, drow, dcol; /* strides of the output */
    int relu, path;
    const T *src, *weights, *bias;
    T *out;
    /* the blocking: filters in `blocks`, output rows in `bands` of `band` rows, images in groups;
       `parts` tasks share the filters of a group; `spans` vectors per image and band */
    ptrdiff_t blocks, bands, band, group, parts, spans;
    int NV;
    /* memory */
    ptrdiff_t *taps;
    lane_span *span, *last_span; /* of a full band and of the last one */
    T *packed_w, *packed_b, *packed_x;
} corr;

/* ---- the register tile ---- */

typedef struct {
    const T *w, *x, *bias;
    T *dst;
    const lane_span *span;
    const ptrdiff_t *taps;
    ptrdiff_t ntaps, C, plane, dplane, dcol;
    int relu;
} tile_args;

/* Write out a tile some of whose lanes are no output pixels, or lie dcol apart. */
static void store_lanes(const tile_args *a, const T *stored, int FB, int NV)
{
    for (int f = 0; f < FB; f++)
        for (int v = 0; v < NV; v++, stored += LANES) {
            T *dst = a->dst + f * a->dplane + a->span[v].dst;
            for (ptrdiff_t i = 0; i < a->span[v].count; i++)
                dst[i * a->dcol] = stored[i];
        }
}

/* FB filters by NV vectors; both are constants in every caller, so that acc lives in registers. */
ALWAYS_INLINE void tile(const tile_args *a, const int FB, const int NV)
{
    const T *x[NV_MAX];
    vec acc[FB_MAX][NV_MAX];
    _Pragma("GCC unroll 8") for (int v = 0; v < NV; v++)
        x[v] = a->x + a->span[v].src;
    _Pragma("GCC unroll 8") for (int f = 0; f < FB; f++)
        _Pragma("GCC unroll 8") for (int v = 0; v < NV; v++)
            acc[f][v] = splat((T)0);
    /* the stores come in one burst, long after; have their lines ready */
    for (int f = 0; f < FB; f++)
        for (int v = 0; v < NV; v++)
            FETCH_TO_WRITE(a->dst + f * a->dplane + a->span[v].dst);
    const T *w = a->w;
    for (ptrdiff_t c = 0; c < a->C; c++) {
        for (ptrdiff_t t = 0; t < a->ntaps; t++) {
            const ptrdiff_t o = a->taps[t];
            vec xv[NV_MAX];
            _Pragma("GCC unroll 8") for (int v = 0; v < NV; v++)
                xv[v] = load(x[v] + o);
            _Pragma("GCC unroll 8") for (int f = 0; f < FB; f++)
                _Pragma("GCC unroll 8") for (int v = 0; v < NV; v++)
                    acc[f][v] += w[f] * xv[v];
            w += FB;
        }
        _Pragma("GCC unroll 8") for (int v = 0; v < NV; v++)
            x[v] += a->plane;
    }
    /* The bias comes last, so that it is rounded once and not with every product. */
    _Pragma("GCC unroll 8") for (int f = 0; f < FB; f++)
        _Pragma("GCC unroll 8") for (int v = 0; v < NV; v++)
            acc[f][v] += a->bias[f];
    if (a->relu)
        _Pragma("GCC unroll 8") for (int f = 0; f < FB; f++)
            _Pragma("GCC unroll 8") for (int v = 0; v < NV; v++)
                acc[f][v] = relu_vec(acc[f][v]);
    int whole = a->dcol == 1;
    for (int v = 0; v < NV; v++)
        whole &= a->span[v].count == LANES;
    T stored[FB_MAX * NV_MAX * LANES];
    _Pragma("GCC unroll 8") for (int f = 0; f < FB; f++)
        _Pragma("GCC unroll 8") for (int v = 0; v < NV; v++)
            store(whole ? a->dst + f * a->dplane + a->span[v].dst : stored + (f * NV + v) * LANES,
                  acc[f][v]);
    if (!whole)
        store_lanes(a, stored, FB, NV);
}

/* A tile needs FB*NV sums, NV pixels and one weight in registers. */
#define FITS(FB, NV) ((FB) * (NV) + (NV) + 1 <= VREGS)
#define TILE(FB, NV)                                                                               \
    static void tile_##FB##_##NV(const tile_args *a)                                               \
    {                                                                                              \
        if (FITS(FB, NV))                                                                          \
            tile(a, FB, NV);                                                                       \
    }
#define TILES(FB)                                                                                  \
    TILE(FB, 1) TILE(FB, 2) TILE(FB, 3) TILE(FB, 4) TILE(FB, 5) TILE(FB, 6) TILE(FB, 7) TILE(FB, 8)
TILES(1) TILES(2) TILES(3) TILES(4) TILES(5) TILES(6) TILES(7) TILES(8)

#define TILE_ROW(FB)                                                                               \
    {tile_##FB##_1, tile_##FB##_2, tile_##FB##_3, tile_##FB##_4,                                   \
     tile_##FB##_5, tile_##FB##_6, tile_##FB##_7, tile_##FB##_8}
static void (*const tile_table[FB_MAX][NV_MAX])(const tile_args *) = {
    TILE_ROW(1), TILE_ROW(2), TILE_ROW(3), TILE_ROW(4),
    TILE_ROW(5), TILE_ROW(6), TILE_ROW(7), TILE_ROW(8)};

/* ---- choosing the blocking ---- */

#define PACK_COST 0.08 /* cycles per byte */

/* Rough cycles per tap of one tile: two multiply-adds or two loads per cycle (a vector load that
 * crosses a cache line counts twice), and at least four cycles from one sum to the next. */
static double tile_cycles(ptrdiff_t FB, ptrdiff_t NV)
{
    double fma = 0.5 * (double)(FB * NV), loads = 0.5 * (double)(FB + 2 * NV);
    double front = 0.25 * (double)(FB * NV + FB + NV + 4);
    return MAX(MAX(fma, loads), MAX(front, 4.0)) + 0.1;
}

static double split_cycles(ptrdiff_t K, ptrdiff_t blocks, ptrdiff_t spans, ptrdiff_t tiles)
{
    double sum = 0;
    ptrdiff_t fb = K / blocks, more_f = K % blocks, nv = spans / tiles, more_v = spans % tiles;
    sum += (double)((blocks - more_f) * (tiles - more_v)) * tile_cycles(fb, nv);
    sum += (double)(more_f * (tiles - more_v)) * tile_cycles(fb + 1, nv);
    sum += (double)((blocks - more_f) * more_v) * tile_cycles(fb, nv + 1);
    sum += (double)(more_f * more_v) * tile_cycles(fb + 1, nv + 1);
    return sum;
}

/* Split filters and vectors into nearly equal blocks, so that no thin tile is left at the end. */
static double choose_blocks(corr *p, ptrdiff_t spans)
{
    double best = 0;
    for (ptrdiff_t fb = 1; fb <= FB_MAX; fb++)
        for (ptrdiff_t nv = 1; nv <= NV_MAX && FITS(fb, nv); nv++) {
            ptrdiff_t blocks = ceil_div(p->K, fb);
            double cycles = split_cycles(p->K, blocks, spans, ceil_div(spans, nv));
            if (best == 0 || cycles < best) {
                best = cycles;
                p->blocks = blocks;
                p->NV = (int)nv;
            }
        }
    return best;
}

/* Whether all output pixels of a band are contiguous, in the packed image and in the output. */
static int is_flat(const corr *p)
{
    return p->in.maps == p->WW && p->drow == p->OW * p->dcol;
}

static ptrdiff_t span_count(const corr *p, ptrdiff_t rows)
{
    return is_flat(p) ? ceil_div(rows * p->OW, LANES) : rows * ceil_div(p->OW, LANES);
}

/* What one task packs should stay in the second-level cache: bands of rows where an image is too
 * large, several images where it is small (which fills tiles, and reads the filters less often). */
static void choose_group(corr *p, ptrdiff_t maps)
{
    const ptrdiff_t most = 256 * 1024 / (ptrdiff_t)sizeof(T);
    set_layout(&p->in, p->OH, p->OW, p->HH, p->WW, maps);
    p->band = p->OH;
    if (p->in.image > 2 * most) {
        ptrdiff_t halo = (p->HH - 1) / p->in.phases;
        p->band = MAX(p->in.rows * most / p->in.image, halo + 1);
        p->band = MIN(p->band, p->OH);
        set_layout(&p->in, p->band, p->OW, p->HH, p->WW, maps);
    }
    p->in.banded = p->band < p->OH;
    p->group = 1;
    while (!p->in.banded && p->group * span_count(p, p->band) < 16 &&
           2 * p->group * p->in.image <= most && 16 * p->group <= p->N)
        p->group *= 2;
}

/* Cycles per image with a layout, packing included; sets the layout and the blocking. */
static double try_layout(corr *p, ptrdiff_t maps)
{
    choose_group(p, maps);
    double cycles = choose_blocks(p, p->group * span_count(p, p->band));
    double bands = (double)p->OH / (double)p->band;
    double bytes = (double)p->in.image * (double)sizeof(T);
    double taps = (double)(p->in.C * p->HH * p->WW);
    return bands * (cycles * taps / (double)p->group + bytes * PACK_COST);
}

static void choose_layout(corr *p, int threads)
{
    ptrdiff_t maps = MIN(p->in.step, p->WW);
    double plain = try_layout(p, maps);
    if (try_layout(p, p->WW) >= plain)
        try_layout(p, maps);
    p->bands = ceil_div(p->OH, p->band);
    p->spans = span_count(p, p->band);
    p->parts = MIN(ceil_div(threads, ceil_div(p->N, p->group) * p->bands), p->blocks);
}

/* ---- tables and packed filters ---- */

static void fill_taps(const corr *p)
{
    const layout *in = &p->in;
    ptrdiff_t *tap = p->taps;
    for (ptrdiff_t i = 0; i < p->HH; i++)
        for (ptrdiff_t j = 0; j < p->WW; j++) {
            ptrdiff_t map_phase = j % in->maps * in->phases + i % in->phases;
            *tap++ = (map_phase * in->rows + i / in->phases) * in->width + j / in->maps;
        }
}

/* One span per vector of output pixels: rows cut into vectors, or the whole band as one row. */
static void fill_spans(const corr *p, lane_span *s, ptrdiff_t band)
{
    int flat = is_flat(p);
    ptrdiff_t rows = flat ? 1 : band, length = flat ? band * p->OW : p->OW;
    for (ptrdiff_t g = 0; g < p->group; g++)
        for (ptrdiff_t y = 0; y < rows; y++)
            for (ptrdiff_t x = 0; x < length; x += LANES, s++) {
                s->src = g * p->in.image + y * p->in.width + x;
                s->dst = g * p->dimage + y * p->drow + x * p->dcol;
                s->count = MIN(LANES, length - x);
            }
}

/* A block of `filters` whose numbers lie in the order of channels and taps, `apart` from one filter
 * to the next: a transposition, of up to LANES filters and numbers at a time in registers.  What it
 * writes beyond the filters belongs to the next number, so it comes before that: the last filters
 * first, and the last numbers one by one. */
static void pack_rows_of_filters(T *dst, const T *w, ptrdiff_t apart, ptrdiff_t filters, ptrdiff_t n)
{
    ptrdiff_t q = 0;
    for (; q + 2 * LANES <= n; q += LANES)
        for (ptrdiff_t f = (filters - 1) / LANES * LANES; f >= 0; f -= LANES)
            transpose(dst + q * filters + f, filters, w + f * apart + q, apart, filters - f);
    for (; q < n; q++)
        for (ptrdiff_t f = 0; f < filters; f++)
            dst[q * filters + f] = w[f * apart + q];
}

/* Filters as [block][C][taps][filters of the block]: the tile reads them in order. */
static void pack_block(const void *arg, ptrdiff_t block, int thread)
{
    (void)thread;
    const corr *p = arg;
    const ptrdiff_t taps = p->HH * p->WW, n = p->in.C * taps;
    ptrdiff_t k0 = part_start(p->K, p->blocks, block), k1 = part_start(p->K, p->blocks, block + 1);
    T *dst = p->packed_w + k0 * n;
    if (p->wj == 1 && p->wi == p->WW && p->wc == taps)
        pack_rows_of_filters(dst, p->weights + k0 * p->wk, p->wk, k1 - k0, n);
    else
        for (ptrdiff_t c = 0; c < p->in.C; c++)
            for (ptrdiff_t i = 0; i < p->HH; i++)
                for (ptrdiff_t j = 0; j < p->WW; j++)
                    for (ptrdiff_t k = k0; k < k1; k++)
                        *dst++ = p->weights[k * p->wk + c * p->wc + i * p->wi + j * p->wj];
    for (ptrdiff_t k = k0; k < k1; k++)
        p->packed_b[k] = p->bias ? p->bias[k] : 0;
}

static ptrdiff_t corr_memory(corr *p, void *base, int threads)
{
    arena a = {base, 0};
    ptrdiff_t taps = p->HH * p->WW;
    p->taps = arena_take(&a, taps * (ptrdiff_t)sizeof(ptrdiff_t));
    p->span = arena_take(&a, p->group * p->spans * (ptrdiff_t)sizeof(lane_span));
    p->last_span = arena_take(&a, p->group * p->spans * (ptrdiff_t)sizeof(lane_span));
    p->packed_w = arena_take(&a, p->K * p->in.C * taps * (ptrdiff_t)sizeof(T));
    p->packed_b = arena_take(&a, p->K * (ptrdiff_t)sizeof(T));
    /* LANES more, because the last vector of a row may read past its end */
    p->packed_x = arena_take(&a, threads * (p->group * p->in.image + LANES) * (ptrdiff_t)sizeof(T));
    return a.used;
}

/* ---- running ---- */

/* All tiles of one block of filters over `spans` vectors. */
static void run_block(const corr *p, tile_args *a, ptrdiff_t block, ptrdiff_t spans,
                      const lane_span *span, T *out)
{
    ptrdiff_t k0 = part_start(p->K, p->blocks, block), k1 = part_start(p->K, p->blocks, block + 1);
    ptrdiff_t tiles = ceil_div(spans, p->NV);
    a->w = p->packed_w + k0 * p->in.C * p->HH * p->WW;
    a->bias = p->packed_b + k0;
    a->dst = out + k0 * p->dplane;
    for (ptrdiff_t i = 0; i < tiles; i++) {
        ptrdiff_t first = part_start(spans, tiles, i), next = part_start(spans, tiles, i + 1);
        a->span = span + first;
        tile_table[k1 - k0 - 1][next - first - 1](a);
    }
}

/* One task: a group of images, or a band of rows of one, and one of `parts` shares of filters. */
static void run_group(const void *arg, ptrdiff_t index, int thread)
{
    const corr *p = arg;
    ptrdiff_t part = index % p->parts, band = index / p->parts % p->bands;
    ptrdiff_t n0 = index / p->parts / p->bands * p->group, images = MIN(p->group, p->N - n0);
    ptrdiff_t rows = MIN(p->band, p->OH - band * p->band);
    T *x = p->packed_x + thread * (p->group * p->in.image + LANES);
    for (ptrdiff_t g = 0; g < images; g++)
        pack_image(&p->in, x + g * p->in.image,
                   p->src + (n0 + g) * p->in.C * p->in.H * p->in.W, band * p->band);
    tile_args a = {.x = x, .taps = p->taps, .ntaps = p->HH * p->WW, .C = p->in.C,
                   .plane = p->in.plane, .dplane = p->dplane, .dcol = p->dcol, .relu = p->relu};
    T *out = p->out + n0 * p->dimage + band * p->band * p->drow;
    ptrdiff_t last = part_start(p->blocks, p->parts, part + 1);
    for (ptrdiff_t block = part_start(p->blocks, p->parts, part); block < last; block++)
        run_block(p, &a, block, images * span_count(p, rows),
                  rows == p->band ? p->span : p->last_span, out);
}

static void corr_run(corr *p, void *ws, int threads)
{
    choose_layout(p, threads);
    corr_memory(p, ws, threads);
    fill_taps(p);
    fill_spans(p, p->span, p->band);
    fill_spans(p, p->last_span, p->OH - (p->bands - 1) * p->band);
    size_t elements = (size_t)(threads * (p->group * p->in.image + LANES));
    memset(p->packed_x, 0, elements * sizeof(T));
    parallel_run(pack_block, p, p->blocks, threads);
    parallel_run(run_group, p, ceil_div(p->N, p->group) * p->bands * p->parts, threads);
}
