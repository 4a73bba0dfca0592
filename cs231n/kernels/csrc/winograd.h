/* Correlation with 3x3 taps and step 1 by Winograd's minimal filtering F(2x2, 3x3).
 *
 *     out tile (2x2) = A^T [ sum over c of (G w G^T) * (B^T d B) ] A,   d a 4x4 patch of the source
 *
 * 16 multiplications give four outputs where the direct sum needs 36: worth it as soon as there are
 * enough channels to pay for the transforms.  Positions (i, j) of the 4x4 patch are independent:
 * for each, the patches of some images, or of a band of one image, are "pixels" and the sum over c
 * is a correlation with one tap, which corr.h's register tile does.
 *
 * Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016.
 */

/* How the patches of all maps are divided into pieces: several images, or a band of one image. */
typedef struct {
    ptrdiff_t TH, TW;             /* patches down and across a map */
    ptrdiff_t group, bands, band; /* images; or bands per image, and rows of patches of the largest */
    ptrdiff_t tiles, padded;      /* patches of a piece per image; of all its images, in vectors */
} winograd_grid;

typedef struct {
    const corr *c; /* the problem; of its blocking only blocks and NV are used */
    winograd_grid grid;
    T *u;                            /* transformed filters [16][block][C][filters of the block] */
    T *v, *m, *zeros;                /* per thread: [16][C][padded] and [16][K][padded] */
    T *x, *row;                      /* per thread: a packed channel; two rows of pixels */
    lane_span *span;
    ptrdiff_t *taps;                 /* the channels of v */
    int *wild;                       /* per thread: whether a result was not finite */
} winograd_plan;

#define WINOGRAD_TILES 64 /* patches of a piece, unless one row has more */
#define WINOGRAD_TASKS 8  /* about so many at least, where there are enough patches */

static winograd_grid make_winograd_grid(ptrdiff_t N, ptrdiff_t OH, ptrdiff_t OW, ptrdiff_t tasks)
{
    winograd_grid g = {.TH = ceil_div(OH, 2), .TW = ceil_div(OW, 2)};
    const ptrdiff_t share = MAX(LANES, ceil_div(N * g.TH * g.TW, tasks)), most = MIN(WINOGRAD_TILES, share);
    g.group = MAX(1, most / (g.TH * g.TW));
    g.bands = ceil_div(g.TH, MIN(g.TH, MAX(1, most / g.TW)));
    g.band = ceil_div(g.TH, g.bands);
    g.tiles = g.band * g.TW;
    g.padded = ceil_div(g.group * g.tiles, LANES) * LANES;
    return g;
}

/* The layout of one piece of one image. */
static void set_winograd_layout(layout *in, const winograd_grid *g)
{
    in->banded = g->bands > 1;
    set_layout(in, 2 * g->band + 2, 2 * g->TW + 2, 1, 1, 1);
}

/* Elements of v per position of the 4x4 patch; the last vector may run over the last channel. */
static ptrdiff_t winograd_position(const layout *in, const winograd_grid *g)
{
    return in->C * g->padded + LANES;
}

/* Images [n, n + images), or of one image the rows [y, y + rows) of patches. */
typedef struct {
    ptrdiff_t n, images, y, rows;
} winograd_piece;

/* The piece that begins with unit i: a band or, where maps are not divided, an image. */
static winograd_piece winograd_piece_at(const winograd_grid *g, ptrdiff_t i, ptrdiff_t end)
{
    const ptrdiff_t band = i % g->bands, y = part_start(g->TH, g->bands, band);
    return (winograd_piece){.n = i / g->bands, .images = MIN(g->group, end - i), .y = y,
                        .rows = part_start(g->TH, g->bands, band + 1) - y};
}

/* One row of G w: (w0, (w0 + w1 + w2)/2, (w0 - w1 + w2)/2, w2). */
#define WINOGRAD_FILTER(out, a, b, c)                                                                  \
    do {                                                                                           \
        (out)[0] = (a);                                                                            \
        (out)[1] = ((a) + (b) + (c)) / 2;                                                          \
        (out)[2] = ((a) - (b) + (c)) / 2;                                                          \
        (out)[3] = (c);                                                                            \
    } while (0)

static void winograd_filter(const corr *c, const T *w, T u[16])
{
    T half[3][4]; /* G applied along the rows */
    for (int i = 0; i < 3; i++) {
        const T *row = w + i * c->wi;
        WINOGRAD_FILTER(half[i], row[0], row[c->wj], row[2 * c->wj]);
    }
    for (int j = 0; j < 4; j++) {
        T column[4];
        WINOGRAD_FILTER(column, half[0][j], half[1][j], half[2][j]);
        for (int i = 0; i < 4; i++)
            u[4 * i + j] = column[i];
    }
}

static void winograd_filters(const void *arg, ptrdiff_t block, int thread)
{
    (void)thread;
    const winograd_plan *p = arg;
    const corr *c = p->c;
    ptrdiff_t k0 = part_start(c->K, c->blocks, block), k1 = part_start(c->K, c->blocks, block + 1);
    const ptrdiff_t all = c->K * c->in.C;
    T *dst = p->u + k0 * c->in.C;
    for (ptrdiff_t ch = 0; ch < c->in.C; ch++)
        for (ptrdiff_t k = k0; k < k1; k++, dst++) {
            T u[16];
            winograd_filter(c, c->weights + k * c->wk + ch * c->wc, u);
            for (int t = 0; t < 16; t++)
                dst[t * all] = u[t];
        }
}

/* B^T along four values: (a - c, b + c, c - b, b - d). */
#define WINOGRAD_SOURCE(x0, x1, x2, x3)                                                                \
    do {                                                                                           \
        vec a_ = (x0), b_ = (x1), c_ = (x2), d_ = (x3);                                            \
        (x0) = a_ - c_;                                                                            \
        (x1) = b_ + c_;                                                                            \
        (x2) = c_ - b_;                                                                            \
        (x3) = b_ - d_;                                                                            \
    } while (0)

/* B^T d B of one row of patches of one channel, whose source starts at x; positions `stride` apart.
 * Vectors run over the end of the row, where the next row of patches is written afterwards. */
static void winograd_source(const T *x, ptrdiff_t width, T *v, ptrdiff_t TW, ptrdiff_t stride)
{
    for (ptrdiff_t at = 0; at < TW; at += LANES) {
        vec d[4][4];
        _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++) {
            const T *row = x + i * width + 2 * at;
            vec a = load(row), b = load(row + LANES), c = load(row + 2), e = load(row + 2 + LANES);
            d[i][0] = shuffle(a, b, EVEN);
            d[i][1] = shuffle(a, b, ODD);
            d[i][2] = shuffle(c, e, EVEN);
            d[i][3] = shuffle(c, e, ODD);
            WINOGRAD_SOURCE(d[i][0], d[i][1], d[i][2], d[i][3]);
        }
        _Pragma("GCC unroll 4") for (int j = 0; j < 4; j++)
            WINOGRAD_SOURCE(d[0][j], d[1][j], d[2][j], d[3][j]);
        _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++)
            _Pragma("GCC unroll 4") for (int j = 0; j < 4; j++)
                store(v + (4 * i + j) * stride + at, d[i][j]);
    }
}

/* The same for all channels of a piece: v becomes [16][C][padded].  x is room for a packed map. */
static void winograd_patches(const layout *in, const winograd_grid *g, winograd_piece at,
                         const T *src, T *x, T *v)
{
    for (ptrdiff_t c = 0; c < in->C; c++) /* in the order of v, see winograd_source */
        for (ptrdiff_t i = 0; i < at.images; i++) {
            T *dst = v + c * g->padded + i * g->tiles;
            pack_map(in, x, src + ((at.n + i) * in->C + c) * in->H * in->W, 0, 2 * at.y);
            for (ptrdiff_t y = 0; y < at.rows; y++)
                winograd_source(x + 2 * y * in->width, in->width, dst + y * g->TW, g->TW,
                            winograd_position(in, g));
        }
}

/* A^T m A of all patches of one filter, as two rows of pixels for each row of patches.  Returns
 * whether one of them is infinite or NaN. */
static int winograd_result(const winograd_plan *p, const T *m, T bias, T *rows)
{
    const ptrdiff_t stride = p->c->K * p->grid.padded;
    vec bad = {0}; /* NaN in the lanes that were not finite, else zero */
    for (ptrdiff_t at = 0; at < p->grid.padded; at += LANES) {
        vec half[2][4]; /* A^T m */
        _Pragma("GCC unroll 4") for (int j = 0; j < 4; j++) {
            vec a = load(m + j * stride + at), b = load(m + (4 + j) * stride + at);
            vec c = load(m + (8 + j) * stride + at), d = load(m + (12 + j) * stride + at);
            half[0][j] = a + b + c;
            half[1][j] = b - c - d;
        }
        _Pragma("GCC unroll 2") for (int i = 0; i < 2; i++) {
            vec left = half[i][0] + half[i][1] + half[i][2] + bias;
            vec right = half[i][1] - half[i][2] - half[i][3] + bias;
            bad += (left - left) + (right - right);
            if (p->c->relu) {
                left = relu_vec(left);
                right = relu_vec(right);
            }
            store(rows + 2 * (i * p->grid.padded + at), shuffle(left, right, LOW));
            store(rows + 2 * (i * p->grid.padded + at) + LANES, shuffle(left, right, HIGH));
        }
    }
    for (int i = 0; i < LANES; i++)
        if (bad[i] != 0)
            return 1;
    return 0;
}

/* Copy the rows of pixels of one filter to its maps in the images of a piece. */
static void winograd_store(const winograd_plan *p, winograd_piece at, const T *rows, T *out)
{
    const corr *c = p->c;
    const winograd_grid *g = &p->grid;
    for (ptrdiff_t i = 0; i < at.images; i++)
        for (ptrdiff_t y = 0; y < MIN(2 * at.rows, c->OH - 2 * at.y); y++)
            copy_row(out + i * c->dimage + (2 * at.y + y) * c->drow,
                     rows + 2 * ((y & 1) * g->padded + i * g->tiles + y / 2 * g->TW), c->OW, 1);
}

static void winograd_task(const void *arg, ptrdiff_t index, int thread)
{
    const winograd_plan *p = arg;
    const corr *c = p->c;
    const winograd_grid *g = &p->grid;
    const ptrdiff_t C = c->in.C, position = winograd_position(&c->in, g);
    const winograd_piece at = winograd_piece_at(g, index * g->group, c->N * g->bands);
    T *v = p->v + thread * 16 * position, *m = p->m + thread * 16 * c->K * g->padded;
    T *x = p->x + thread * (c->in.plane + 2 * LANES), *rows = p->row + thread * 4 * g->padded;
    winograd_patches(&c->in, g, at, c->src, x, v);
    /* to the tile, channels are the taps of one channel: no inner loop of length one */
    tile_args a = {.taps = p->taps, .ntaps = C, .C = 1, .dplane = g->padded, .dcol = 1,
                   .bias = p->zeros};
    const ptrdiff_t vectors = g->padded / LANES, tiles = ceil_div(vectors, c->NV);
    for (int t = 0; t < 16; t++)
        for (ptrdiff_t block = 0; block < c->blocks; block++) {
            ptrdiff_t k0 = part_start(c->K, c->blocks, block);
            ptrdiff_t k1 = part_start(c->K, c->blocks, block + 1);
            a.w = p->u + (t * c->K + k0) * C;
            a.x = v + t * position;
            a.dst = m + (t * c->K + k0) * g->padded;
            for (ptrdiff_t i = 0; i < tiles; i++) {
                ptrdiff_t first = part_start(vectors, tiles, i);
                a.span = p->span + first;
                tile_table[k1 - k0 - 1][part_start(vectors, tiles, i + 1) - first - 1](&a);
            }
        }
    for (ptrdiff_t k = 0; k < c->K; k++) {
        p->wild[thread] |= winograd_result(p, m + k * g->padded, c->bias ? c->bias[k] : 0, rows);
        winograd_store(p, at, rows, c->out + at.n * c->dimage + k * c->dplane);
    }
}

/* What filtering costs beside its products, in vector operations. */
typedef struct {
    double per_weight; /* to transform it, there or back */
    double passes;     /* over the source: how often its patches are transformed */
    double packing;    /* a row of a map, for the direct sum */
} winograd_costs;

/* Whether filtering is the faster way from C channels to K for N maps of OH x OW outputs.  The
 * factors are fitted to what benchmarks/paths.py measured with AVX-512; it shows as well where the
 * rule is wrong. */
static int winograd_pays(ptrdiff_t N, ptrdiff_t C, ptrdiff_t K, ptrdiff_t OH, ptrdiff_t OW,
                     winograd_costs cost)
{
    const ptrdiff_t TH = ceil_div(OH, 2), TW = ceil_div(OW, 2);
    const double vectors = (double)(N * TH * TW) / LANES, weights = (double)(C * K);
    const double rows = (double)(N * C * TH * ceil_div(TW, LANES)); /* of patches, in vectors */
    const double direct = 36 * weights * vectors + cost.packing * rows;
    const double filtered = (20 * weights + 90 * (double)K) * vectors + 150 * cost.passes * rows;
    return C > 16 && K > 16 && filtered + cost.per_weight * weights < direct;
}

static int winograd_suits(const corr *c)
{
    const winograd_costs cost = {.per_weight = 140, .passes = 1, .packing = 50};
    if (c->HH != 3 || c->WW != 3 || c->in.step != 1 || c->dcol != 1 || c->path == DIRECT)
        return 0;
    return c->path == WINOGRAD || winograd_pays(c->N, c->in.C, c->K, c->OH, c->OW, cost);
}

static void plan_winograd(winograd_plan *p, corr *c)
{
    p->c = c;
    p->grid = make_winograd_grid(c->N, c->OH, c->OW, WINOGRAD_TASKS);
    set_winograd_layout(&c->in, &p->grid);
    choose_blocks(c, p->grid.padded / LANES);
}

static ptrdiff_t winograd_memory(winograd_plan *p, void *base, int threads)
{
    arena a = {base, 0};
    const ptrdiff_t size = (ptrdiff_t)sizeof(T), C = p->c->in.C, K = p->c->K;
    p->u = arena_take(&a, 16 * K * C * size);
    p->zeros = arena_take(&a, FB_MAX * size);
    p->span = arena_take(&a, p->grid.padded / LANES * (ptrdiff_t)sizeof(lane_span));
    p->taps = arena_take(&a, C * (ptrdiff_t)sizeof(ptrdiff_t));
    p->v = arena_take(&a, threads * 16 * winograd_position(&p->c->in, &p->grid) * size);
    p->m = arena_take(&a, threads * 16 * K * p->grid.padded * size);
    p->x = arena_take(&a, threads * (p->c->in.plane + 2 * LANES) * size);
    p->row = arena_take(&a, threads * 4 * p->grid.padded * size);
    p->wild = arena_take(&a, threads * (ptrdiff_t)sizeof(int));
    return a.used;
}

/* Returns 0 where a result is infinite or NaN.  An infinite source gives an infinite sum, but the
 * transforms may subtract it from itself, so the caller must then take the direct sum. */
static int winograd_run(corr *c, void *ws, int threads)
{
    winograd_plan p = {0};
    plan_winograd(&p, c);
    winograd_memory(&p, ws, threads);
    for (ptrdiff_t i = 0; i < p.grid.padded / LANES; i++)
        p.span[i] = (lane_span){i * LANES, i * LANES, LANES};
    for (ptrdiff_t ch = 0; ch < c->in.C; ch++)
        p.taps[ch] = ch * p.grid.padded;
    memset(p.zeros, 0, FB_MAX * sizeof(T));
    memset(p.x, 0, (size_t)(threads * (c->in.plane + 2 * LANES)) * sizeof(T));
    memset(p.v, 0, (size_t)(threads * 16 * winograd_position(&c->in, &p.grid)) * sizeof(T));
    parallel_run(winograd_filters, &p, c->blocks, threads);
    memset(p.wild, 0, (size_t)threads * sizeof(int));
    parallel_run(winograd_task, &p, ceil_div(c->N * p.grid.bands, p.grid.group), threads);
    int finite = 1;
    for (int i = 0; i < threads; i++)
        finite &= !p.wild[i];
    return finite;
}
