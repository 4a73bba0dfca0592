/* dw and db of a 3x3 convolution with stride 1 by the filtering of winograd.h.
 *
 * The output is linear in w, so its gradient takes the same three transforms, transposed:
 *
 *     dw = G^T [ sum over patches of (A dout A^T) * (B^T d B) ] G
 *
 * with a 2x2 tile of dout and a 4x4 patch d of x: 16 multiplications where the direct sum needs 36.
 * For each of the 16 positions the sum is one of dw.h's, over patches in place of pixels and with
 * channels in place of (channel, i) rows, and its register tile runs it.  A task transforms its
 * patches once for up to WINOGRAD_BLOCKS blocks of filters.
 */

typedef struct {
    dw_plan dw;              /* sums: [chunk][block][16 C + 1][DW_WIDTH] */
    winograd_grid grid;
    ptrdiff_t parts;             /* of the blocks of filters */
    T *v, *x, *spread, *packed;  /* per thread; spread: [16][patch][filter of the block] */
    int *wild;                   /* per block: whether a result was not finite */
} winograd_dw;

#define WINOGRAD_BLOCKS 4

static ptrdiff_t winograd_parts(const window_shape *s)
{
    return ceil_div(s->F, WINOGRAD_BLOCKS * DW_WIDTH);
}

static int winograd_dw_suits(const window_shape *s)
{
    const winograd_costs cost = {.per_weight = 200, .passes = (double)winograd_parts(s)};
    if (s->HH != 3 || s->WW != 3 || s->stride != 1 || s->path == DIRECT)
        return 0;
    return s->path == WINOGRAD || winograd_pays(s->N, s->C, s->F, s->OH, s->OW, cost);
}

/* The plan for the same arrays as those of the direct sum. */
static winograd_dw make_winograd_dw(const dw_plan *direct)
{
    winograd_dw p = {.dw = *direct};
    const window_shape *s = direct->s;
    p.parts = winograd_parts(s);
    const ptrdiff_t tasks = ceil_div(WINOGRAD_TASKS, p.parts);
    p.grid = make_winograd_grid(s->N, s->OH, s->OW, tasks);
    set_winograd_layout(&p.dw.in, &p.grid);
    p.dw.taps = 16 * s->C;
    p.dw.chunks = MIN(tasks, s->N * p.grid.bands);
    return p;
}

/* Elements that one thread needs of v, of x, of spread and of packed. */
static ptrdiff_t winograd_v_size(const winograd_dw *p)
{
    return 16 * winograd_position(&p->dw.in, &p->grid);
}

static ptrdiff_t winograd_x_size(const winograd_dw *p)
{
    return p->dw.in.plane + 2 * LANES;
}

static ptrdiff_t winograd_spread_size(const winograd_dw *p)
{
    return 16 * p->grid.group * p->grid.tiles * DW_WIDTH;
}

static ptrdiff_t winograd_packed_size(const winograd_dw *p)
{
    return 2 * p->grid.band * p->dw.s->OW * DW_WIDTH;
}

static ptrdiff_t winograd_dw_memory(winograd_dw *p, void *base, int threads)
{
    arena a = {base, 0};
    const ptrdiff_t size = (ptrdiff_t)sizeof(T), blocks = p->dw.blocks;
    p->dw.sums = arena_take(&a, p->dw.chunks * blocks * dw_sum_size(&p->dw) * size);
    p->dw.scratch = arena_take(&a, threads * DW_WIDTH * size);
    p->v = arena_take(&a, threads * winograd_v_size(p) * size);
    p->x = arena_take(&a, threads * winograd_x_size(p) * size);
    p->spread = arena_take(&a, threads * winograd_spread_size(p) * size);
    p->packed = arena_take(&a, threads * winograd_packed_size(p) * size);
    p->wild = arena_take(&a, blocks * (ptrdiff_t)sizeof(int));
    return a.used;
}

/* A along two values: (a, a + b, a - b, -b). */
#define WINOGRAD_SPREAD(out0, out1, out2, out3, a, b)                                                  \
    do {                                                                                           \
        (out0) = (a);                                                                              \
        (out1) = (a) + (b);                                                                        \
        (out2) = (a) - (b);                                                                        \
        (out3) = -(b);                                                                             \
    } while (0)

/* A dout A^T of one vector of filters of one patch; pixels outside of the map are given as zeros. */
ALWAYS_INLINE void winograd_spread(const T *const pixel[2][2], T *out, ptrdiff_t stride)
{
    vec half[4][2], u[4];
    _Pragma("GCC unroll 2") for (int j = 0; j < 2; j++)
        WINOGRAD_SPREAD(half[0][j], half[1][j], half[2][j], half[3][j], load(pixel[0][j]),
                    load(pixel[1][j]));
    _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++) {
        WINOGRAD_SPREAD(u[0], u[1], u[2], u[3], half[i][0], half[i][1]);
        _Pragma("GCC unroll 4") for (int j = 0; j < 4; j++)
            store(out + (4 * i + j) * stride, u[j]);
    }
}

/* The patches of `high` rows of dout, packed as [pixel][width]; positions `stride` apart. */
static void winograd_dout(const winograd_dw *p, const T *d, ptrdiff_t high, T *out, ptrdiff_t width,
                      ptrdiff_t stride)
{
    static const T zeros[LANES];
    const ptrdiff_t OW = p->dw.s->OW;
    for (ptrdiff_t y = 0; y < high; y += 2)
        for (ptrdiff_t x = 0; x < OW; x += 2)
            for (ptrdiff_t f = 0; f < width; f += LANES, out += LANES) {
                const T *at = d + (y * OW + x) * width + f, *below = at + OW * width;
                const int right = x + 1 < OW, down = y + 1 < high;
                const T *const pixel[2][2] = {{at, right ? at + width : zeros},
                                              {down ? below : zeros,
                                               right && down ? below + width : zeros}};
                winograd_spread(pixel, out, stride);
            }
}

/* Add to the sums of a block of filters what the patches of a piece give, position by position. */
static void winograd_dw_block(const winograd_dw *p, const T *v, const T *spread, ptrdiff_t patches,
                          ptrdiff_t NF, T *sum, T *scratch)
{
    const ptrdiff_t C = p->dw.s->C, position = winograd_position(&p->dw.in, &p->grid), row = 0;
    dw_args a = {.rows = &row, .nrows = 1, .OW = patches, .stride = 1};
    for (int t = 0; t < 16; t++) {
        a.d = spread + t * patches * NF * LANES;
        for (ptrdiff_t first = 0; first < C; first += DW_ROWS(1)) {
            for (ptrdiff_t r = 0; r < DW_ROWS(1); r++) {
                const ptrdiff_t c = MIN(first + r, C - 1);
                a.x[r] = v + t * position + c * p->grid.padded;
                a.sum[r] = first + r < C ? sum + (t * C + c) * DW_WIDTH : scratch;
            }
            dw_tiles[0][NF - 1](&a);
        }
    }
}

/* What a piece adds to the sums of one block of filters. */
static void winograd_dw_add(const winograd_dw *p, winograd_piece at, ptrdiff_t block, T *sum,
                        int thread)
{
    const window_shape *s = p->dw.s;
    const ptrdiff_t NF = MIN(NF_MAX, p->dw.vectors - block * NF_MAX), width = NF * LANES;
    const ptrdiff_t f0 = block * DW_WIDTH, high = MIN(2 * at.rows, s->OH - 2 * at.y);
    const ptrdiff_t pixels = high * s->OW, tiles = at.rows * p->grid.TW;
    const ptrdiff_t patches = at.images * tiles;
    T *spread = p->spread + thread * winograd_spread_size(p);
    T *packed = p->packed + thread * winograd_packed_size(p);
    for (ptrdiff_t i = 0; i < at.images; i++) {
        const ptrdiff_t row = ((at.n + i) * s->F + f0) * s->OH + 2 * at.y;
        pack_dout(&p->dw, packed, p->dw.dout + row * s->OW, pixels, s->F - f0, width);
        add_db(sum + p->dw.taps * DW_WIDTH, packed, pixels, NF);
        winograd_dout(p, packed, high, spread + i * tiles * width, width, patches * width);
    }
    winograd_dw_block(p, p->v + thread * winograd_v_size(p), spread, patches, NF, sum,
                  p->dw.scratch + thread * DW_WIDTH);
}

static void winograd_dw_task(const void *arg, ptrdiff_t index, int thread)
{
    const winograd_dw *p = arg;
    const dw_plan *dw = &p->dw;
    const ptrdiff_t chunk = index / p->parts, part = index % p->parts;
    const ptrdiff_t begin = part_start(dw->blocks, p->parts, part);
    const ptrdiff_t end = part_start(dw->blocks, p->parts, part + 1);
    const ptrdiff_t units = dw->s->N * p->grid.bands, last = part_start(units, dw->chunks, chunk + 1);
    const ptrdiff_t size = dw_sum_size(dw);
    T *v = p->v + thread * winograd_v_size(p), *x = p->x + thread * winograd_x_size(p);
    T *sums = dw->sums + chunk * dw->blocks * size;
    memset(sums + begin * size, 0, (size_t)((end - begin) * size) * sizeof(T));
    for (ptrdiff_t i = part_start(units, dw->chunks, chunk); i < last; i += p->grid.group) {
        const winograd_piece at = winograd_piece_at(&p->grid, i, last);
        winograd_patches(&dw->in, &p->grid, at, dw->x, x, v);
        for (ptrdiff_t block = begin; block < end; block++)
            winograd_dw_add(p, at, block, sums + block * size, thread);
    }
}

/* G^T along four values, `step` apart: (a + (b + c)/2, (b - c)/2, (b + c)/2 + d). */
ALWAYS_INLINE void winograd_gather(const T *m, int step, T out[3])
{
    const T half_sum = (m[step] + m[2 * step]) / 2;
    out[0] = m[0] + half_sum;
    out[1] = (m[step] - m[2 * step]) / 2;
    out[2] = half_sum + m[3 * step];
}

/* Write the 3x3 weights of one filter and channel, and return whether one is not finite. */
static int winograd_weights(const T m[16], T *dw)
{
    T half[4][3], bad = 0;
    for (int i = 0; i < 4; i++)
        winograd_gather(m + 4 * i, 1, half[i]);
    for (int j = 0; j < 3; j++) {
        T column[3];
        winograd_gather(&half[0][j], 3, column);
        for (int i = 0; i < 3; i++) {
            dw[3 * i + j] = column[i];
            bad += column[i] - column[i];
        }
    }
    return bad != 0;
}

static void winograd_dw_reduce(const void *arg, ptrdiff_t block, int thread)
{
    (void)thread;
    const winograd_dw *p = arg;
    const window_shape *s = p->dw.s;
    const ptrdiff_t f0 = block * DW_WIDTH, filters = MIN(DW_WIDTH, s->F - f0);
    T total[16][DW_WIDTH];
    p->wild[block] = 0;
    for (ptrdiff_t c = 0; c < s->C; c++) {
        for (int t = 0; t < 16; t++)
            dw_total(&p->dw, block, t * s->C + c, total[t]);
        for (ptrdiff_t f = 0; f < filters; f++) {
            T m[16];
            for (int t = 0; t < 16; t++)
                m[t] = total[t][f];
            p->wild[block] |= winograd_weights(m, p->dw.dw + ((f0 + f) * s->C + c) * 9);
        }
    }
    dw_total(&p->dw, block, p->dw.taps, total[0]);
    memcpy(p->dw.db + f0, total[0], (size_t)filters * sizeof(T));
}

/* Returns 0 where a result is infinite or NaN: the direct sum must then tell which, see winograd_run. */
static int winograd_dw_run(winograd_dw *p, void *ws, int threads)
{
    winograd_dw_memory(p, ws, threads);
    memset(p->x, 0, (size_t)(threads * winograd_x_size(p)) * sizeof(T));
    parallel_run(winograd_dw_task, p, p->dw.chunks * p->parts, threads);
    parallel_run(winograd_dw_reduce, p, p->dw.blocks, threads);
    int finite = 1;
    for (ptrdiff_t i = 0; i < p->dw.blocks; i++)
        finite &= !p->wild[i];
    return finite;
}
