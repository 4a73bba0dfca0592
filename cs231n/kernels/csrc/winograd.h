/* Correlation with 3x3 taps and step 1 by Winograd's minimal filtering F(4x4, 3x3) and F(3x3, 3x3).
 *
 *     out tile (4x4) = A^T [ sum over c of (G w G^T) * (B^T d B) ] A,   d a 6x6 patch of the source
 *
 * 36 multiplications give 16 outputs where the direct sum needs 144, and 25 give 9 where it needs 81:
 * worth it as soon as there are enough channels to pay for the transforms, which run on vectors of
 * channels or filters.  Positions (i, j) of the patch are independent: for each, the sum over c is a
 * product of matrices, (tiles, C) by (C, K).
 *
 * The transforms evaluate polynomials at 0, +-P, +-Q and infinity, or with one less for 3x3 outputs
 * at 0, +-P, R and infinity.  P = 3/4, Q = 3/2 and R = 2 and their powers are exact in binary, and
 * leave a fifth of the rounding error that 0, +-1, +-2 leave, and half of that of 0, +-1 and 2.
 *
 * Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016; Barabasz et al.,
 * "Error analysis and improving the accuracy of Winograd convolution for deep neural networks",
 * ACM TOMS 2020.
 */

#define P1 ((T)0.75)
#define P2 (P1 * P1)
#define Q1 ((T)1.5)
#define Q2 (Q1 * Q1)
#define R1 ((T)2)
#define R2 (R1 * R1)
#define MOST_OUTPUTS 4 /* along one axis of a tile */
#define MOST_POINTS 6
/* Call a function whose last argument is the size of the tiles, as a constant. */
#define WITH_TILE(side, function, ...)                                                             \
    ((side) == 3 ? function(__VA_ARGS__, 3) : function(__VA_ARGS__, 4))
#define PANEL_VECTORS 2 /* of filters, in a register tile of the product */
#define FETCHES 4       /* register tiles that fetch the next panel of u, a part each */
#define PANEL_WIDTH (PANEL_VECTORS * LANES)

typedef struct {
    const corr *c; /* the problem, whose blocking is not used */
    winograd_grid grid;
    lane_map in, out;
    ptrdiff_t vectors;    /* of filters, in panels of PANEL_VECTORS */
    ptrdiff_t nu, nv, nm; /* elements of u, v and m per position */
    T *u, *bias;          /* transformed filters [position][panel][C][filter of the panel] */
    T *v, *m;             /* per thread: [position][C/LANES][tile][LANES], [position][panel][tile]
                             [filter] */
    T *x, *y;             /* per thread: a copy of a piece of the source, and of the output */
    int *wild;            /* per thread: whether a result was not finite */
} winograd_plan;

/* ---- the transforms along one axis ---- */

/* G w */
ALWAYS_INLINE void filter_transform(const vec w[3], vec *out, const int SIDE)
{
    if (SIDE == 3) {
        const vec e = w[0] + P2 * w[2], o = P1 * w[1];
        out[0] = w[0] * (1 / (P2 * R1));
        out[1] = (e + o) * (1 / (2 * P2 * (P1 - R1)));
        out[2] = (e - o) * (-1 / (2 * P2 * (P1 + R1)));
        out[3] = (w[0] + R1 * w[1] + R2 * w[2]) * (1 / (R1 * (R2 - P2)));
        out[4] = w[2];
        return;
    }
    const T np = 1 / (2 * P2 * (P2 - Q2)), nq = 1 / (2 * Q2 * (Q2 - P2));
    const vec ep = (w[0] + P2 * w[2]) * np, op = w[1] * (P1 * np);
    const vec eq = (w[0] + Q2 * w[2]) * nq, oq = w[1] * (Q1 * nq);
    out[0] = w[0] * (1 / (P2 * Q2));
    out[1] = ep + op;
    out[2] = ep - op;
    out[3] = eq + oq;
    out[4] = eq - oq;
    out[5] = w[2];
}

/* B^T d */
ALWAYS_INLINE void source_transform(const vec *d, vec *out, const int SIDE)
{
    if (SIDE == 3) {
        const vec e = d[3] - R1 * d[2], o = d[2] - R1 * d[1];
        out[0] = e - P2 * (d[1] - R1 * d[0]);
        out[1] = e + P1 * o;
        out[2] = e - P1 * o;
        out[3] = d[3] - P2 * d[1];
        out[4] = (d[4] - R1 * d[3]) - P2 * o;
        return;
    }
    const vec ep = d[4] - Q2 * d[2], op = d[3] - Q2 * d[1];
    const vec eq = d[4] - P2 * d[2], oq = d[3] - P2 * d[1];
    out[0] = P2 * Q2 * d[0] + (d[4] - (P2 + Q2) * d[2]);
    out[1] = ep + P1 * op;
    out[2] = ep - P1 * op;
    out[3] = eq + Q1 * oq;
    out[4] = eq - Q1 * oq;
    out[5] = P2 * Q2 * d[1] + (d[5] - (P2 + Q2) * d[3]);
}

/* A^T m */
ALWAYS_INLINE void result_transform(const vec *m, vec *out, const int SIDE)
{
    const vec ep = m[1] + m[2], op = m[1] - m[2];
    if (SIDE == 3) {
        out[0] = m[0] + ep + m[3];
        out[1] = P1 * op + R1 * m[3];
        out[2] = P2 * ep + (R2 * m[3] + m[4]);
        return;
    }
    const vec eq = m[3] + m[4], oq = m[3] - m[4];
    out[0] = m[0] + ep + eq;
    out[1] = P1 * op + Q1 * oq;
    out[2] = P2 * ep + Q2 * eq;
    out[3] = P1 * P2 * op + (Q1 * Q2 * oq + m[5]);
}

/* ---- patches, filters and results ---- */

/* B^T d B of one patch, whose rows are `row` elements apart; positions of v `stride` apart. */
ALWAYS_INLINE void winograd_source(const T *x, ptrdiff_t row, T *v, ptrdiff_t stride, const int SIDE)
{
    vec half[MOST_POINTS][MOST_POINTS];
    _Pragma("GCC unroll 6") for (int i = 0; i < SIDE + 2; i++) {
        vec d[MOST_POINTS];
        _Pragma("GCC unroll 6") for (int j = 0; j < SIDE + 2; j++)
            d[j] = load(x + i * row + j * LANES);
        source_transform(d, half[i], SIDE);
    }
    _Pragma("GCC unroll 6") for (int j = 0; j < SIDE + 2; j++) {
        vec d[MOST_POINTS], out[MOST_POINTS];
        _Pragma("GCC unroll 6") for (int i = 0; i < SIDE + 2; i++)
            d[i] = half[i][j];
        source_transform(d, out, SIDE);
        _Pragma("GCC unroll 6") for (int i = 0; i < SIDE + 2; i++)
            store(v + ((SIDE + 2) * i + j) * stride, out[i]);
    }
}

/* The same for all tiles of image i of a piece and LANES channels from c on.  v is, for the whole
 * piece, [position][C/LANES][tile][LANES]. */
static void winograd_patches(const lane_map *in, const winograd_grid *g, winograd_piece at,
                             ptrdiff_t i, ptrdiff_t c, T *x, T *v, ptrdiff_t stride)
{
    v += c / LANES * g->block + i * g->tiles * LANES;
    pack_lanes(in, at, i, c, x);
    for (ptrdiff_t ty = 0; ty < at.rows; ty++)
        for (ptrdiff_t tx = 0; tx < g->TW; tx++, v += LANES)
            WITH_TILE(g->side, winograd_source, x + lane_map_tile(in, ty, tx), in->width * LANES, v,
                      stride);
}

/* G w G^T of up to LANES filters and one channel. */
ALWAYS_INLINE void winograd_filter(const corr *c, const T *w, ptrdiff_t filters, T *u,
                                   ptrdiff_t stride, const int SIDE)
{
    vec half[3][MOST_POINTS];
    for (int i = 0; i < 3; i++) {
        T tap[3][LANES] = {{0}};
        for (ptrdiff_t k = 0; k < MIN(filters, LANES); k++)
            for (int j = 0; j < 3; j++)
                tap[j][k] = w[k * c->wk + i * c->wi + j * c->wj];
        const vec row[3] = {load(tap[0]), load(tap[1]), load(tap[2])};
        filter_transform(row, half[i], SIDE);
    }
    _Pragma("GCC unroll 6") for (int j = 0; j < SIDE + 2; j++) {
        const vec column[3] = {half[0][j], half[1][j], half[2][j]};
        vec out[MOST_POINTS];
        filter_transform(column, out, SIDE);
        _Pragma("GCC unroll 6") for (int i = 0; i < SIDE + 2; i++)
            store(u + ((SIDE + 2) * i + j) * stride, out[i]);
    }
}

static void winograd_filters(const void *arg, ptrdiff_t panel, int thread)
{
    (void)thread;
    const winograd_plan *p = arg;
    const corr *c = p->c;
    const ptrdiff_t begin = panel * PANEL_WIDTH, end = MIN(begin + PANEL_WIDTH, p->vectors * LANES);
    T *u = p->u + begin * c->in.C;
    for (ptrdiff_t ch = 0; ch < c->in.C; ch++)
        for (ptrdiff_t k = begin; k < end; k += LANES, u += LANES)
            WITH_TILE(p->grid.side, winograd_filter, c, c->weights + k * c->wk + ch * c->wc, c->K - k,
                      u, p->nu);
    for (ptrdiff_t k = begin; k < end; k++)
        p->bias[k] = c->bias && k < c->K ? c->bias[k] : 0;
}

/* A^T m A + bias of one tile, written as rows of pixels `row` elements apart.  Returns a vector of
 * zeros, or of NaN in the lanes where a result is infinite or NaN. */
ALWAYS_INLINE vec winograd_result(const T *m, ptrdiff_t stride, vec bias, int relu, T *y,
                                  ptrdiff_t row, const int SIDE)
{
    vec half[MOST_OUTPUTS][MOST_POINTS], total = {0};
    _Pragma("GCC unroll 6") for (int j = 0; j < SIDE + 2; j++) {
        vec column[MOST_POINTS], out[MOST_OUTPUTS];
        _Pragma("GCC unroll 6") for (int i = 0; i < SIDE + 2; i++)
            column[i] = load(m + ((SIDE + 2) * i + j) * stride);
        result_transform(column, out, SIDE);
        _Pragma("GCC unroll 4") for (int i = 0; i < SIDE; i++)
            half[i][j] = out[i];
    }
    _Pragma("GCC unroll 4") for (int i = 0; i < SIDE; i++) {
        vec out[MOST_OUTPUTS];
        result_transform(half[i], out, SIDE);
        _Pragma("GCC unroll 4") for (int j = 0; j < SIDE; j++) {
            const vec pixel = out[j] + bias;
            total += pixel;
            store(y + i * row + j * LANES, relu ? relu_vec(pixel) : pixel);
        }
    }
    return total - total;
}

/* ---- the product ---- */

typedef struct {
    const T *v, *u;
    const T *next;      /* of u, to be fetched meanwhile */
    T *m;
    ptrdiff_t C, block; /* elements from one vector of channels to the next in v */
} product_args;

/* m (ROWS tiles, NV vectors of filters) = v (tiles, C) u (C, filters). */
ALWAYS_INLINE void product_tile(const product_args *a, const int ROWS, const int NV)
{
    vec sum[12][PANEL_VECTORS];
    _Pragma("GCC unroll 12") for (int r = 0; r < ROWS; r++)
        _Pragma("GCC unroll 2") for (int n = 0; n < NV; n++)
            sum[r][n] = splat((T)0);
    /* the stores come in one burst, later; have their lines ready */
    for (int r = 0; r < ROWS; r++)
        FETCH_TO_WRITE(a->m + r * NV * LANES);
    const T *v = a->v, *u = a->u, *next = a->next;
    for (ptrdiff_t c = 0; c < a->C; c += LANES, v += a->block) {
        const ptrdiff_t lanes_used = MIN(LANES, a->C - c);
        for (int i = 0; i < NV * LANES * LANES / FETCHES; i += 64 / (int)sizeof(T))
            FETCH_FAR(next + i);
        next += NV * LANES * LANES / FETCHES;
        for (ptrdiff_t i = 0; i < lanes_used; i++, u += NV * LANES) {
            vec w[PANEL_VECTORS];
            _Pragma("GCC unroll 2") for (int n = 0; n < NV; n++)
                w[n] = load(u + n * LANES);
            _Pragma("GCC unroll 12") for (int r = 0; r < ROWS; r++)
                _Pragma("GCC unroll 2") for (int n = 0; n < NV; n++)
                    sum[r][n] += v[r * LANES + i] * w[n];
        }
    }
    _Pragma("GCC unroll 12") for (int r = 0; r < ROWS; r++)
        _Pragma("GCC unroll 2") for (int n = 0; n < NV; n++)
            store(a->m + (r * NV + n) * LANES, sum[r][n]);
}

#define PRODUCT(ROWS)                                                                              \
    static void product_##ROWS##_1(const product_args *a)                                          \
    {                                                                                              \
        if (ROWS <= PANEL_ROWS)                                                                    \
            product_tile(a, ROWS, 1);                                                              \
    }                                                                                              \
    static void product_##ROWS##_2(const product_args *a)                                          \
    {                                                                                              \
        if (ROWS <= PANEL_ROWS)                                                                    \
            product_tile(a, ROWS, 2);                                                              \
    }
PRODUCT(1) PRODUCT(2) PRODUCT(3) PRODUCT(4) PRODUCT(5) PRODUCT(6)
PRODUCT(7) PRODUCT(8) PRODUCT(9) PRODUCT(10) PRODUCT(11) PRODUCT(12)

#define PRODUCT_ROW(ROWS) {product_##ROWS##_1, product_##ROWS##_2}
static void (*const product_tiles[12][PANEL_VECTORS])(const product_args *) = {
    PRODUCT_ROW(1), PRODUCT_ROW(2), PRODUCT_ROW(3), PRODUCT_ROW(4),
    PRODUCT_ROW(5), PRODUCT_ROW(6), PRODUCT_ROW(7), PRODUCT_ROW(8),
    PRODUCT_ROW(9), PRODUCT_ROW(10), PRODUCT_ROW(11), PRODUCT_ROW(12)};

/* One position of all tiles of a piece. */
static void winograd_product(const winograd_plan *p, ptrdiff_t tiles, const T *v, const T *u, T *m)
{
    product_args a = {.C = p->c->in.C, .block = p->grid.block};
    const ptrdiff_t parts = ceil_div(tiles, PANEL_ROWS);
    for (ptrdiff_t n = 0; n < p->vectors; n += PANEL_VECTORS) {
        const ptrdiff_t NV = MIN(PANEL_VECTORS, p->vectors - n);
        a.u = u + n * LANES * a.C;
        for (ptrdiff_t i = 0; i < parts; i++) {
            const ptrdiff_t first = part_start(tiles, parts, i);
            a.v = v + first * LANES;
            a.next = a.u + NV * LANES * a.C * (FETCHES + MIN(i, FETCHES - 1)) / FETCHES;
            a.m = m + (n * p->grid.all + first * NV) * LANES;
            product_tiles[part_start(tiles, parts, i + 1) - first - 1][NV - 1](&a);
        }
    }
}

/* ---- running ---- */

static int any_nan(vec v)
{
    int any = 0;
    for (int i = 0; i < LANES; i++)
        any |= v[i] != v[i];
    return any;
}

/* All tiles of image i of a piece and a vector of filters, from m to the output.  Returns zeros, or
 * NaN where a result is not finite. */
static vec winograd_write(const winograd_plan *p, winograd_piece at, ptrdiff_t i, ptrdiff_t k,
                          const T *m, T *y)
{
    const corr *c = p->c;
    const winograd_grid *g = &p->grid;
    const ptrdiff_t panel = k / PANEL_WIDTH * PANEL_WIDTH;
    const ptrdiff_t width = MIN(PANEL_WIDTH, p->vectors * LANES - panel);
    const ptrdiff_t pixels = MIN(g->side * at.rows, c->OH - g->side * at.y) * c->OW;
    const vec bias = load(p->bias + k);
    vec bad = {0};
    m += panel * g->all + i * g->tiles * width + k - panel;
    for (ptrdiff_t ty = 0; ty < at.rows; ty++)
        for (ptrdiff_t tx = 0; tx < g->TW; tx++, m += width)
            bad += WITH_TILE(g->side, winograd_result, m, p->nm, bias, c->relu,
                             y + lane_map_tile(&p->out, ty, tx), p->out.width * LANES);
    T *out = c->out + (at.n + i) * c->dimage + k * c->dplane + g->side * at.y * c->drow;
    lanes_to_planes(y, p->out.place, out, c->dplane, pixels, c->K - k);
    return bad;
}

static void winograd_task(const void *arg, ptrdiff_t index, int thread)
{
    const winograd_plan *p = arg;
    const corr *c = p->c;
    const winograd_grid *g = &p->grid;
    const winograd_piece at = winograd_piece_at(g, index * g->group, c->N * g->bands);
    T *v = p->v + thread * g->positions * p->nv, *m = p->m + thread * g->positions * p->nm;
    T *x = p->x + thread * lane_map_size(&p->in), *y = p->y + thread * lane_map_size(&p->out);
    for (ptrdiff_t i = 0; i < at.images; i++)
        for (ptrdiff_t ch = 0; ch < c->in.C; ch += LANES)
            winograd_patches(&p->in, g, at, i, ch, x, v, p->nv);
    for (ptrdiff_t t = 0; t < g->positions; t++)
        winograd_product(p, at.images * at.rows * g->TW, v + t * p->nv, p->u + t * p->nu,
                         m + t * p->nm);
    vec bad = {0};
    for (ptrdiff_t i = 0; i < at.images; i++)
        for (ptrdiff_t k = 0; k < p->vectors * LANES; k += LANES)
            bad += winograd_write(p, at, i, k, m, y);
    p->wild[thread] |= any_nan(bad);
}

/* Whether filtering is the faster way from C channels to K for N maps of OH x OW outputs.  Costs are
 * in vector operations, the factors fitted to what benchmarks/paths.py measured with AVX2, most of it
 * of tiles of 4x4; it shows as well where the rule is wrong. */
static int winograd_pays(ptrdiff_t N, ptrdiff_t C, ptrdiff_t K, ptrdiff_t OH, ptrdiff_t OW)
{
    const winograd_grid g = tiles_of_maps(OH, OW);
    const double weights = (double)(C * K), tiles = (double)(N * g.TH * g.TW * g.positions);
    const double direct = 9 * weights * (double)(N * ceil_div(OH * OW, LANES));
    const double rows = (double)(N * C * OH); /* which the direct sum copies */
    const double transforms = (double)(ceil_div(C, LANES) + ceil_div(K, LANES));
    const double winograd = 1.1 * weights * tiles / LANES + 8.3 * transforms * tiles;
    return winograd + 25 * (double)sizeof(T) * weights < direct + 30 * rows;
}

static int winograd_suits(const corr *c)
{
    if (c->HH != 3 || c->WW != 3 || c->in.step != 1 || c->dcol != 1 || c->path == DIRECT)
        return 0;
    if (c->path == WINOGRAD)
        return 1;
    /* Where windows hold nothing but padding, their outputs are the bias and not nearly the bias. */
    return c->in.r0 > -3 && winograd_pays(c->N, c->in.C, c->K, c->OH, c->OW);
}

/* Tiles of a piece: v and m are to stay near the second-level cache, while enough tiles share what
 * is read of u. */
static ptrdiff_t piece_tiles(ptrdiff_t channels)
{
    return MAX(32, MIN(64, 8192 / channels));
}

static void plan_winograd(winograd_plan *p, const corr *c)
{
    const layout *in = &c->in;
    p->c = c;
    p->grid = make_winograd_grid(c->N, c->OH, c->OW, WINOGRAD_TASKS, piece_tiles(c->K + in->C));
    p->in = (lane_map){.src = c->src, .C = in->C, .H = in->H, .W = in->W,
                       .r0 = in->r0, .c0 = in->c0, .side = p->grid.side + 2};
    p->out = (lane_map){.H = c->OH, .W = c->OW, .side = p->grid.side};
    set_lane_map(&p->in, &p->grid);
    set_lane_map(&p->out, &p->grid);
    p->vectors = ceil_div(c->K, LANES);
    p->nu = odd_lines(p->vectors * LANES * in->C);
    p->nv = odd_lines(ceil_div(in->C, LANES) * p->grid.block);
    p->nm = odd_lines(p->vectors * LANES * p->grid.all);
}

static ptrdiff_t winograd_memory(winograd_plan *p, void *base, int threads)
{
    arena a = {base, 0};
    const ptrdiff_t size = (ptrdiff_t)sizeof(T);
    p->u = arena_take(&a, p->grid.positions * p->nu * size);
    p->bias = arena_take(&a, p->vectors * LANES * size);
    p->in.place = arena_take(&a, lane_map_pixels(&p->in) * (ptrdiff_t)sizeof(ptrdiff_t));
    p->out.place = arena_take(&a, lane_map_pixels(&p->out) * (ptrdiff_t)sizeof(ptrdiff_t));
    p->v = arena_take(&a, threads * p->grid.positions * p->nv * size);
    p->m = arena_take(&a, threads * p->grid.positions * p->nm * size);
    p->x = arena_take(&a, threads * lane_map_size(&p->in) * size);
    p->y = arena_take(&a, threads * lane_map_size(&p->out) * size);
    p->wild = arena_take(&a, threads * (ptrdiff_t)sizeof(int));
    return a.used;
}

/* Returns 0 where a result is infinite or NaN.  An infinite source gives an infinite sum, but the
 * transforms may subtract it from itself, so the caller must then take the direct sum. */
static int winograd_run(const corr *c, void *ws, int threads)
{
    winograd_plan p = {0};
    plan_winograd(&p, c);
    winograd_memory(&p, ws, threads);
    fill_places(&p.in);
    fill_places(&p.out);
    memset(p.x, 0, (size_t)(threads * lane_map_size(&p.in)) * sizeof(T));
    memset(p.wild, 0, (size_t)threads * sizeof(int));
    parallel_run(winograd_filters, &p, ceil_div(p.vectors, PANEL_VECTORS), threads);
    parallel_run(winograd_task, &p, ceil_div(c->N * p.grid.bands, p.grid.group), threads);
    int finite = 1;
    for (int i = 0; i < threads; i++)
        finite &= !p.wild[i];
    return finite;
}
