/* Matrix product, out (M, N) = a (M, K) b (K, N) + bias (N), for the affine layers.
 *
 * BLAS is tuned for large square matrices.  A minibatch is a matrix of some fifty rows, where it
 * reaches a third of its speed, and its threads spin between two products.  Here a is packed once,
 * in blocks of rows; a task packs its columns of b piece by piece along K, so that a piece stays in
 * the cache while all blocks of rows pass.  Transposed matrices are only other strides.
 *
 * Goto and van de Geijn, Anatomy of High-Performance Matrix Multiplication, 2008.
 */

#define DEPTH 256      /* of a piece along K */
#define TILE_VECTORS 2 /* columns of a register tile */
#define TILE_ROWS (VREGS == 32 ? 12 : 6)
#define ROW_WIDTH ((TILE_ROWS + LANES - 1) / LANES * LANES) /* of a packed block of rows */
#define PANEL (TILE_VECTORS * LANES)
#define MOST_PANELS 4 /* of a task */
#define CACHED (256 * 1024 / (ptrdiff_t)sizeof(T)) /* elements of a that a task reads again */
#define SLAB (4 * 1024 * 1024)                     /* elements of a that are packed at once */

typedef struct {
    const matmul_shape *s;
    const T *a, *b, *bias;
    T *out, *packed_a, *packed_b;
    ptrdiff_t blocks, panels;          /* of rows, of columns */
    ptrdiff_t row_parts, column_parts; /* tasks: shares of the blocks by shares of the panels */
} matmul_job;

typedef struct {
    const T *a, *b; /* packed: [depth][ROW_WIDTH] and [depth][PANEL] */
    const T *bias;  /* added with the last piece, else NULL */
    T *out;
    ptrdiff_t N, depth, columns; /* columns that are real */
    int first;                   /* whether out holds nothing yet */
    const T *next;               /* to be fetched meanwhile, from row to row `step` apart */
    ptrdiff_t step;
} matmul_tile;

/* Add the sums of a tile that runs over the last column. */
static void matmul_store(const matmul_tile *t, const T *sums, int rows)
{
    for (int r = 0; r < rows; r++)
        for (ptrdiff_t j = 0; j < t->columns; j++) {
            T sum = sums[r * PANEL + j] + (t->first ? 0 : t->out[r * t->N + j]);
            t->out[r * t->N + j] = t->bias ? sum + t->bias[j] : sum;
        }
}

/* rows is a constant in every caller, so that the sums live in registers. */
ALWAYS_INLINE void multiply_tile(const matmul_tile *t, const int rows)
{
    vec sum[12][TILE_VECTORS];
    _Pragma("GCC unroll 12") for (int r = 0; r < rows; r++)
        _Pragma("GCC unroll 2") for (int v = 0; v < TILE_VECTORS; v++)
            sum[r][v] = splat((T)0);
    /* the stores come in one burst, later; have their lines ready */
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < TILE_VECTORS; v++)
            FETCH_TO_WRITE(t->out + r * t->N + v * LANES);
    const T *a = t->a, *b = t->b;
    for (ptrdiff_t k = 0; k < t->depth; k++, a += ROW_WIDTH, b += PANEL) {
        FETCH(t->next + k * t->step);
        vec column[TILE_VECTORS];
        _Pragma("GCC unroll 2") for (int v = 0; v < TILE_VECTORS; v++)
            column[v] = load(b + v * LANES);
        _Pragma("GCC unroll 12") for (int r = 0; r < rows; r++)
            _Pragma("GCC unroll 2") for (int v = 0; v < TILE_VECTORS; v++)
                sum[r][v] += a[r] * column[v];
    }
    if (t->columns < PANEL) {
        T sums[12 * PANEL];
        _Pragma("GCC unroll 12") for (int r = 0; r < rows; r++)
            _Pragma("GCC unroll 2") for (int v = 0; v < TILE_VECTORS; v++)
                store(sums + r * PANEL + v * LANES, sum[r][v]);
        matmul_store(t, sums, rows);
        return;
    }
    _Pragma("GCC unroll 12") for (int r = 0; r < rows; r++)
        _Pragma("GCC unroll 2") for (int v = 0; v < TILE_VECTORS; v++) {
            T *out = t->out + r * t->N + v * LANES;
            vec total = t->first ? sum[r][v] : sum[r][v] + load(out);
            store(out, t->bias ? total + load(t->bias + v * LANES) : total);
        }
}

#define MATMUL_TILE(rows)                                                                         \
    static void multiply_##rows(const matmul_tile *t)                                             \
    {                                                                                              \
        if ((rows) <= TILE_ROWS)                                                                   \
            multiply_tile(t, rows);                                                                \
    }
MATMUL_TILE(1) MATMUL_TILE(2) MATMUL_TILE(3) MATMUL_TILE(4) MATMUL_TILE(5) MATMUL_TILE(6)
MATMUL_TILE(7) MATMUL_TILE(8) MATMUL_TILE(9) MATMUL_TILE(10) MATMUL_TILE(11) MATMUL_TILE(12)

static void (*const multiply[12])(const matmul_tile *) = {
    multiply_1, multiply_2, multiply_3, multiply_4, multiply_5, multiply_6,
    multiply_7, multiply_8, multiply_9, multiply_10, multiply_11,
    multiply_12};

/* ---- packing ---- */

/* Copy a matrix of any strides to rows of `width` elements.  What lies right of it is left alone,
 * or becomes zeros. */
static void pack_matrix(const T *src, ptrdiff_t down, ptrdiff_t right, ptrdiff_t rows,
                        ptrdiff_t columns, T *dst, ptrdiff_t width)
{
    ptrdiff_t i = 0;
    if (down == 1 && width % LANES == 0)
        for (; i + LANES <= rows; i += LANES)
            for (ptrdiff_t j = 0; j < columns; j += LANES)
                transpose(dst + i * width + j, width, src + i + j * right, right, columns - j);
    for (; i < rows; i++)
        copy_row(dst + i * width, src + i * down, columns, right);
}

static ptrdiff_t first_row(const matmul_job *p, ptrdiff_t block)
{
    return part_start(p->s->M, p->blocks, block);
}

/* Rows as [block][K][ROW_WIDTH]. */
static void pack_rows(const void *arg, ptrdiff_t block, int thread)
{
    (void)thread;
    const matmul_job *p = arg;
    const matmul_shape *s = p->s;
    ptrdiff_t first = first_row(p, block), rows = first_row(p, block + 1) - first;
    pack_matrix(p->a + first * s->am, s->ak, s->am, s->K, rows,
                p->packed_a + block * s->K * ROW_WIDTH, ROW_WIDTH);
}

/* ---- running ---- */

/* Let the first blocks of rows fetch the next piece of a panel, a cache line of each row. */
static void fetch_next(const matmul_shape *s, matmul_tile *t, const T *next,
                       ptrdiff_t block)
{
    const ptrdiff_t column = block * 64 / (ptrdiff_t)sizeof(T);
    const int useful = next && s->bn == 1 && column < t->columns;
    t->next = useful ? next + column : t->b;
    t->step = useful ? s->bk : 0;
}

/* All tiles of a share of the rows by one panel of one piece, which starts at k. */
static void multiply_panel(const matmul_job *p, ptrdiff_t part, matmul_tile *t,
                           ptrdiff_t k, ptrdiff_t column)
{
    const matmul_shape *s = p->s;
    const ptrdiff_t begin = part_start(p->blocks, p->row_parts, part);
    const ptrdiff_t end = part_start(p->blocks, p->row_parts, part + 1);
    const T *next = k + 2 * DEPTH <= s->K ? p->b + (k + DEPTH) * s->bk + column : NULL;
    for (ptrdiff_t block = begin; block < end; block++) {
        ptrdiff_t first = first_row(p, block), rows = first_row(p, block + 1) - first;
        t->a = p->packed_a + (block * s->K + k) * ROW_WIDTH;
        t->out = p->out + first * s->N + column;
        fetch_next(s, t, next, block - begin);
        multiply[rows - 1](t);
    }
}

/* Copy a piece of K of some panels, panel by panel.  Rows come from far apart, where the processor
 * does not prefetch by itself. */
static void pack_piece(const matmul_shape *s, const T *b, ptrdiff_t depth, ptrdiff_t columns,
                       T *dst)
{
    const ptrdiff_t ahead = 8, line = 64 / sizeof(T);
    if (s->bn != 1) {
        for (ptrdiff_t j = 0; j < columns; j += PANEL)
            pack_matrix(b + j * s->bn, s->bk, s->bn, depth, MIN(PANEL, columns - j),
                        dst + j * depth, PANEL);
        return;
    }
    for (ptrdiff_t k = 0; k < depth; k++) {
        for (ptrdiff_t j = 0; j < columns && k + ahead < depth; j += line)
            FETCH(b + (k + ahead) * s->bk + j);
        for (ptrdiff_t j = 0; j < columns; j += PANEL)
            copy_row(dst + j * depth + k * PANEL, b + k * s->bk + j, MIN(PANEL, columns - j), 1);
    }
}

static void matmul_task(const void *arg, ptrdiff_t index, int thread)
{
    const matmul_job *p = arg;
    const matmul_shape *s = p->s;
    const ptrdiff_t part = index / p->column_parts, share = index % p->column_parts;
    const ptrdiff_t begin = PANEL * part_start(p->panels, p->column_parts, share);
    const ptrdiff_t end = MIN(PANEL * part_start(p->panels, p->column_parts, share + 1), s->N);
    T *packed = p->packed_b + thread * DEPTH * MOST_PANELS * PANEL;
    for (ptrdiff_t k = 0; k < s->K; k += DEPTH) {
        matmul_tile t = {.N = s->N, .depth = MIN(DEPTH, s->K - k), .first = k == 0};
        pack_piece(s, p->b + k * s->bk + begin * s->bn, t.depth, end - begin, packed);
        for (ptrdiff_t column = begin; column < end; column += PANEL) {
            t.b = packed + (column - begin) * t.depth;
            t.columns = MIN(PANEL, s->N - column);
            t.bias = p->bias && k + DEPTH >= s->K ? p->bias + column : NULL;
            multiply_panel(p, part, &t, k, column);
        }
    }
}

/* Rows that are packed at once: the memory does not grow with M. */
static ptrdiff_t slab_rows(const matmul_shape *s)
{
    return MIN(s->M, MAX(TILE_ROWS, SLAB / s->K));
}

static ptrdiff_t matmul_memory(matmul_job *p, void *base, int threads)
{
    arena a = {base, 0};
    const ptrdiff_t blocks = ceil_div(slab_rows(p->s), TILE_ROWS);
    p->packed_a = arena_take(&a, blocks * p->s->K * ROW_WIDTH * (ptrdiff_t)sizeof(T));
    p->packed_b = arena_take(&a, threads * DEPTH * MOST_PANELS * PANEL * (ptrdiff_t)sizeof(T));
    return a.used;
}

static ptrdiff_t matmul_bytes(const matmul_shape *s, int threads)
{
    matmul_job p = {.s = s};
    return matmul_memory(&p, NULL, threads);
}

static void multiply_slab(matmul_job *p, int threads)
{
    const matmul_shape *s = p->s;
    p->blocks = ceil_div(s->M, TILE_ROWS);
    p->panels = ceil_div(s->N, PANEL);
    p->row_parts = MIN(p->blocks, ceil_div(s->M * MIN(s->K, DEPTH), CACHED));
    p->column_parts = MAX(ceil_div(p->panels, MOST_PANELS), ceil_div(4 * threads, p->row_parts));
    p->column_parts = MIN(p->column_parts, p->panels);
    parallel_run(pack_rows, p, p->blocks, threads);
    parallel_run(matmul_task, p, p->row_parts * p->column_parts, threads);
}

static void matmul(const matmul_shape *s, const void *a, const void *b, const void *bias,
                           void *out, void *ws, int threads)
{
    matmul_shape slab = *s;
    matmul_job p = {.s = s, .b = b, .bias = bias};
    matmul_memory(&p, ws, threads);
    memset(p.packed_b, 0, (size_t)(threads * DEPTH * MOST_PANELS * PANEL) * sizeof(T));
    p.s = &slab;
    for (ptrdiff_t row = 0; row < s->M; row += slab_rows(s)) {
        slab.M = MIN(slab_rows(s), s->M - row);
        p.a = (const T *)a + row * s->am;
        p.out = (T *)out + row * s->N;
        multiply_slab(&p, threads);
    }
}

/* ---- sums of channels, the gradient of a bias: a task is a channel of images, or a strip of columns
 * where each row has one number a channel ---- */

enum { SUM_COLUMNS = 64, SUM_ROWS = 128 };

typedef struct {
    ptrdiff_t N, C, D;
    const T *a;
    T *out;
} sum_job;

static void sum_channel_task(const void *arg, ptrdiff_t c, int thread)
{
    (void)thread;
    const sum_job *job = arg;
    const ptrdiff_t D = job->D, step = job->C * D;
    vec total = splat((T)0);
    for (ptrdiff_t n = 0; n < job->N; n++)
        total += sum_plane(job->a + c * D + n * step, 0, D, fetch_step(job->C, D));
    job->out[c] = add_lanes(total);
}

/* Rows are added in order within blocks, and the blocks in order: the error grows with neither. */
static void sum_rows_task(const void *arg, ptrdiff_t index, int thread)
{
    (void)thread;
    const sum_job *job = arg;
    const ptrdiff_t first = index * SUM_COLUMNS, width = MIN(SUM_COLUMNS, job->C - first);
    const T *a = job->a + first;
    T total[SUM_COLUMNS] = {0};
    for (ptrdiff_t n = 0; n < job->N; n += SUM_ROWS) {
        T sum[SUM_COLUMNS] = {0};
        for (ptrdiff_t r = n; r < MIN(n + SUM_ROWS, job->N); r++)
            for (ptrdiff_t i = 0; i < width; i++)
                sum[i] += a[r * job->C + i];
        for (ptrdiff_t i = 0; i < width; i++)
            total[i] += sum[i];
    }
    memcpy(job->out + first, total, (size_t)width * sizeof(T));
}

static void sum_channels(ptrdiff_t N, ptrdiff_t C, ptrdiff_t D, const void *a, void *out,
                         int threads)
{
    const sum_job job = {.N = N, .C = C, .D = D, .a = a, .out = out};
    if (N * C * D <= 10000)
        threads = 1;
    if (D == 1)
        parallel_run(sum_rows_task, &job, ceil_div(C, SUM_COLUMNS), threads);
    else
        parallel_run(sum_channel_task, &job, C, threads);
}
