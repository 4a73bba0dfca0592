/* dw and db of a 3x3 convolution with stride 1 by the filtering of winograd.h.
 *
 * The output is linear in w, so its gradient takes the same three transforms, transposed:
 *
 *     dw = G^T [ sum over tiles of (A dout A^T) * (B^T d B) ] G
 *
 * with a 4x4 tile of dout and a 6x6 patch d of x: 36 multiplications where the direct sum needs 144.
 * With tiles of 3x3 and patches of 5x5 it is 25 in place of 81.  For each position the sum is one of
 * dw.h's, over tiles in place of pixels and with channels in place of (channel, i) rows, and its
 * register tile runs it.  A task is a chunk of images and a part of the filters; it transforms all
 * channels of its chunk.
 */

typedef struct {
    dw_plan dw;       /* sums: [chunk][block][positions*rows + 1][DW_WIDTH]; the last is db */
    ptrdiff_t rows;   /* the channels, and one more where they are even, see odd_lines */
    ptrdiff_t parts;  /* of the blocks of filters */
    winograd_grid grid;
    lane_map in, out; /* x and dout */
    ptrdiff_t nv, ns; /* elements of v and s per position */
    T *v, *s;         /* per thread: [position][C/LANES][tile][LANES], [position][block]
                         [tile][filter] */
    T *x, *d;         /* per thread: copies of a piece of x and of dout */
    int *wild;        /* per block: whether a result was not finite */
} winograd_dw;

#define WINOGRAD_DEPTH 64  /* tiles of a piece */
#define WINOGRAD_CHUNK 256 /* tiles of a chunk at least: each has sums of its own */

/* Parts of some 64 filters: the sums of more would not stay in the caches. */
static ptrdiff_t wide_parts(const window_shape *s)
{
    return ceil_div(s->F, MAX(64, DW_WIDTH));
}

/* Eight chunks, or fewer where the sums of one are large.  Results depend on them, so that they may
 * not depend on the number of threads. */
static ptrdiff_t winograd_chunks(const window_shape *s)
{
    const winograd_grid g = tiles_of_maps(s->OH, s->OW);
    const ptrdiff_t most = ceil_div(WINOGRAD_TASKS, wide_parts(s));
    return MAX(MIN(s->N * g.TH * g.TW / WINOGRAD_CHUNK, most), 1);
}

static int winograd_dw_suits(const window_shape *s)
{
    if (s->HH != 3 || s->WW != 3 || s->stride != 1 || s->path == DIRECT)
        return 0;
    return s->path == WINOGRAD || winograd_pays(s->N, s->C, s->F, s->OH, s->OW);
}

/* The plan for the same arrays as those of the direct sum. */
static winograd_dw make_winograd_dw(const dw_plan *direct, int threads)
{
    winograd_dw p = {.dw = *direct};
    const window_shape *s = direct->s;
    const ptrdiff_t chunks = winograd_chunks(s);
    p.grid = make_winograd_grid(s->N, s->OH, s->OW, chunks, WINOGRAD_DEPTH);
    p.in = (lane_map){.src = direct->x, .C = s->C, .H = s->H, .W = s->W,
                      .r0 = -s->pad, .c0 = -s->pad, .side = p.grid.side + 2};
    p.out = (lane_map){.src = direct->dout, .C = s->F, .H = s->OH, .W = s->OW,
                       .side = p.grid.side};
    set_lane_map(&p.in, &p.grid);
    set_lane_map(&p.out, &p.grid);
    p.rows = s->C | 1;
    p.dw.taps = p.grid.positions * p.rows;
    p.dw.chunks = MIN(chunks, s->N * p.grid.bands);
    p.parts = MAX(wide_parts(s), MIN(p.dw.blocks, ceil_div(2 * threads, p.dw.chunks)));
    p.nv = odd_lines(ceil_div(s->C, LANES) * p.grid.block);
    p.ns = odd_lines(ceil_div(p.dw.blocks, p.parts) * DW_WIDTH * p.grid.all);
    return p;
}

static ptrdiff_t winograd_dw_memory(winograd_dw *p, void *base, int threads)
{
    arena a = {base, 0};
    const ptrdiff_t size = (ptrdiff_t)sizeof(T), blocks = p->dw.blocks;
    p->dw.sums = arena_take(&a, p->dw.chunks * blocks * dw_sum_size(&p->dw) * size);
    p->dw.scratch = arena_take(&a, threads * DW_WIDTH * size);
    p->in.place = arena_take(&a, lane_map_pixels(&p->in) * (ptrdiff_t)sizeof(ptrdiff_t));
    p->out.place = arena_take(&a, lane_map_pixels(&p->out) * (ptrdiff_t)sizeof(ptrdiff_t));
    p->v = arena_take(&a, threads * p->grid.positions * p->nv * size);
    p->s = arena_take(&a, threads * p->grid.positions * p->ns * size);
    p->x = arena_take(&a, threads * lane_map_size(&p->in) * size);
    p->d = arena_take(&a, threads * lane_map_size(&p->out) * size);
    p->wild = arena_take(&a, blocks * (ptrdiff_t)sizeof(int));
    return a.used;
}

/* A d along one axis. */
ALWAYS_INLINE void spread_transform(const vec *d, vec *out, const int SIDE)
{
    if (SIDE == 3) {
        const vec e = d[0] + P2 * d[2], o = P1 * d[1];
        out[0] = d[0];
        out[1] = e + o;
        out[2] = e - o;
        out[3] = d[0] + R1 * d[1] + R2 * d[2];
        out[4] = d[2];
        return;
    }
    const vec ep = d[0] + P2 * d[2], op = P1 * (d[1] + P2 * d[3]);
    const vec eq = d[0] + Q2 * d[2], oq = Q1 * (d[1] + Q2 * d[3]);
    out[0] = d[0];
    out[1] = ep + op;
    out[2] = ep - op;
    out[3] = eq + oq;
    out[4] = eq - oq;
    out[5] = d[3];
}

/* G^T m along one axis. */
ALWAYS_INLINE void gather_transform(const vec *m, vec out[3], const int SIDE)
{
    if (SIDE == 3) {
        const vec plus = m[1] * (1 / (2 * P2 * (P1 - R1)));
        const vec minus = m[2] * (-1 / (2 * P2 * (P1 + R1))), r = m[3] * (1 / (R1 * (R2 - P2)));
        out[0] = m[0] * (1 / (P2 * R1)) + (plus + minus) + r;
        out[1] = P1 * (plus - minus) + R1 * r;
        out[2] = P2 * (plus + minus) + (R2 * r + m[4]);
        return;
    }
    const T np = 1 / (2 * P2 * (P2 - Q2)), nq = 1 / (2 * Q2 * (Q2 - P2));
    const vec ep = (m[1] + m[2]) * np, op = (m[1] - m[2]) * (P1 * np);
    const vec eq = (m[3] + m[4]) * nq, oq = (m[3] - m[4]) * (Q1 * nq);
    out[0] = m[0] * (1 / (P2 * Q2)) + ep + eq;
    out[1] = op + oq;
    out[2] = P2 * ep + Q2 * eq + m[5];
}

/* A d A^T of one tile of dout, with rows `row` elements apart; positions of s `stride` apart. */
ALWAYS_INLINE void winograd_spread(const T *d, ptrdiff_t row, T *s, ptrdiff_t stride, const int SIDE)
{
    vec half[MOST_OUTPUTS][MOST_POINTS];
    _Pragma("GCC unroll 4") for (int i = 0; i < SIDE; i++) {
        vec pixel[MOST_OUTPUTS];
        _Pragma("GCC unroll 4") for (int j = 0; j < SIDE; j++)
            pixel[j] = load(d + i * row + j * LANES);
        spread_transform(pixel, half[i], SIDE);
    }
    _Pragma("GCC unroll 6") for (int j = 0; j < SIDE + 2; j++) {
        vec column[MOST_OUTPUTS], out[MOST_POINTS];
        _Pragma("GCC unroll 4") for (int i = 0; i < SIDE; i++)
            column[i] = half[i][j];
        spread_transform(column, out, SIDE);
        _Pragma("GCC unroll 6") for (int i = 0; i < SIDE + 2; i++)
            store(s + ((SIDE + 2) * i + j) * stride, out[i]);
    }
}

/* The tiles of image i of a piece of one block of filters, as [position][tile][filter]; db gets the
 * sum of their pixels. */
static void winograd_dout(const winograd_dw *p, winograd_piece at, ptrdiff_t i, ptrdiff_t block,
                          T *s, T *d, T *db)
{
    const lane_map *out = &p->out;
    const ptrdiff_t width = MIN(NF_MAX, p->dw.vectors - block * NF_MAX) * LANES;
    for (ptrdiff_t v = 0; v < width; v += LANES) {
        T *dst = s + i * p->grid.tiles * width + v;
        pack_lanes(out, at, i, block * DW_WIDTH + v, d);
        add_db(db + v, d, p->grid.side * at.rows * out->width, 1);
        for (ptrdiff_t ty = 0; ty < at.rows; ty++)
            for (ptrdiff_t tx = 0; tx < p->grid.TW; tx++, dst += width)
                WITH_TILE(p->grid.side, winograd_spread, d + lane_map_tile(out, ty, tx),
                          out->width * LANES, dst, p->ns);
    }
}

/* Add to the sums of a block of filters what the tiles of a piece give at one position. */
static void winograd_dw_product(const winograd_dw *p, ptrdiff_t tiles, const T *v, const T *s,
                                ptrdiff_t NF, T *sum, T *scratch)
{
    const ptrdiff_t C = p->dw.s->C, row = 0;
    dw_args a = {.d = s, .rows = &row, .nrows = 1, .OW = tiles, .stride = LANES};
    for (ptrdiff_t first = 0; first < C; first += DW_ROWS(1)) {
        for (ptrdiff_t r = 0; r < DW_ROWS(1); r++) {
            const ptrdiff_t c = MIN(first + r, C - 1);
            a.x[r] = v + c / LANES * p->grid.block + c % LANES;
            a.sum[r] = first + r < C ? sum + c * DW_WIDTH : scratch;
        }
        dw_tiles[0][NF - 1](&a);
    }
}

/* What a piece adds to the sums of the blocks of filters from `begin` to `end`. */
static void winograd_dw_add(const winograd_dw *p, winograd_piece at, ptrdiff_t begin, ptrdiff_t end,
                            T *sums, int thread)
{
    const ptrdiff_t size = dw_sum_size(&p->dw), width = DW_WIDTH * p->grid.all;
    const ptrdiff_t tiles = at.images * at.rows * p->grid.TW;
    T *v = p->v + thread * p->grid.positions * p->nv;
    T *s = p->s + thread * p->grid.positions * p->ns;
    T *x = p->x + thread * lane_map_size(&p->in), *d = p->d + thread * lane_map_size(&p->out);
    T *scratch = p->dw.scratch + thread * DW_WIDTH;
    for (ptrdiff_t i = 0; i < at.images; i++) {
        for (ptrdiff_t c = 0; c < p->dw.s->C; c += LANES)
            winograd_patches(&p->in, &p->grid, at, i, c, x, v, p->nv);
        for (ptrdiff_t b = begin; b < end; b++)
            winograd_dout(p, at, i, b, s + (b - begin) * width, d,
                          sums + b * size + p->dw.taps * DW_WIDTH);
    }
    for (ptrdiff_t t = 0; t < p->grid.positions; t++)
        for (ptrdiff_t b = begin; b < end; b++)
            winograd_dw_product(p, tiles, v + t * p->nv, s + t * p->ns + (b - begin) * width,
                                MIN(NF_MAX, p->dw.vectors - b * NF_MAX),
                                sums + b * size + t * p->rows * DW_WIDTH, scratch);
}

static void winograd_dw_task(const void *arg, ptrdiff_t index, int thread)
{
    const winograd_dw *p = arg;
    const dw_plan *dw = &p->dw;
    const ptrdiff_t chunk = index / p->parts, part = index % p->parts;
    const ptrdiff_t begin = part_start(dw->blocks, p->parts, part);
    const ptrdiff_t end = part_start(dw->blocks, p->parts, part + 1);
    const ptrdiff_t units = dw->s->N * p->grid.bands, size = dw_sum_size(dw);
    const ptrdiff_t last = part_start(units, dw->chunks, chunk + 1);
    T *sums = dw->sums + chunk * dw->blocks * size;
    memset(sums + begin * size, 0, (size_t)((end - begin) * size) * sizeof(T));
    for (ptrdiff_t i = part_start(units, dw->chunks, chunk); i < last; i += p->grid.group)
        winograd_dw_add(p, winograd_piece_at(&p->grid, i, last), begin, end, sums, thread);
}

static vec sum_of_chunks(const winograd_dw *p, const T *m)
{
    vec sum = load(m);
    for (ptrdiff_t chunk = 1; chunk < p->dw.chunks; chunk++)
        sum += load(m + chunk * p->dw.blocks * dw_sum_size(&p->dw));
    return sum;
}

/* G^T m G of LANES filters, the sum of all chunks, as 9 vectors.  Returns zeros, or NaN where one is
 * not finite. */
ALWAYS_INLINE vec winograd_weights(const winograd_dw *p, const T *m, T dw[9 * LANES],
                                   const int SIDE)
{
    vec half[MOST_POINTS][3], bad = {0};
    for (int i = 0; i < SIDE + 2; i++) {
        vec row[MOST_POINTS];
        for (int j = 0; j < SIDE + 2; j++)
            row[j] = sum_of_chunks(p, m + ((SIDE + 2) * i + j) * p->rows * DW_WIDTH);
        gather_transform(row, half[i], SIDE);
    }
    for (int j = 0; j < 3; j++) {
        vec column[MOST_POINTS], out[3];
        for (int i = 0; i < SIDE + 2; i++)
            column[i] = half[i][j];
        gather_transform(column, out, SIDE);
        for (int i = 0; i < 3; i++) {
            store(dw + (3 * i + j) * LANES, out[i]);
            bad += out[i] - out[i];
        }
    }
    return bad;
}

static void winograd_dw_reduce(const void *arg, ptrdiff_t block, int thread)
{
    (void)thread;
    const winograd_dw *p = arg;
    const window_shape *s = p->dw.s;
    const ptrdiff_t f0 = block * DW_WIDTH, filters = MIN(DW_WIDTH, s->F - f0);
    const T *sums = p->dw.sums + block * dw_sum_size(&p->dw);
    T taps[9 * LANES];
    vec bad = {0};
    for (ptrdiff_t c = 0; c < s->C; c++)
        for (ptrdiff_t v = 0; v < filters; v += LANES) {
            bad += WITH_TILE(p->grid.side, winograd_weights, p, sums + c * DW_WIDTH + v, taps);
            T *dw = p->dw.dw + ((f0 + v) * s->C + c) * 9;
            for (ptrdiff_t f = 0; f < MIN(LANES, filters - v); f++)
                for (int t = 0; t < 9; t++)
                    dw[f * s->C * 9 + t] = taps[t * LANES + f];
        }
    p->wild[block] = any_nan(bad);
    T db[DW_WIDTH];
    dw_total(&p->dw, block, p->dw.taps, db);
    memcpy(p->dw.db + f0, db, (size_t)filters * sizeof(T));
}

/* Returns 0 where a result is infinite or NaN: the direct sum must then tell which, as in
 * winograd_run. */
static int winograd_dw_run(winograd_dw *p, void *ws, int threads)
{
    winograd_dw_memory(p, ws, threads);
    fill_places(&p->in);
    fill_places(&p->out);
    memset(p->x, 0, (size_t)(threads * lane_map_size(&p->in)) * sizeof(T));
    memset(p->d, 0, (size_t)(threads * lane_map_size(&p->out)) * sizeof(T));
    parallel_run(winograd_dw_task, p, p->dw.chunks * p->parts, threads);
    parallel_run(winograd_dw_reduce, p, p->dw.blocks, threads);
    int finite = 1;
    for (ptrdiff_t i = 0; i < p->dw.blocks; i++)
        finite &= !p->wild[i];
    return finite;
}
