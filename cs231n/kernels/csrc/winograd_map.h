/* What Winograd's filtering (winograd.h) works on: tiles of 4x4 or 3x3 outputs, which are taken in
 * pieces, and copies of maps in which a vector holds LANES channels of one pixel, so that maps of any
 * size fill the vectors. */

#define PANEL_ROWS (VREGS == 32 ? 12 : 6) /* tiles of a register tile of the product */
#define WINOGRAD_TASKS 8  /* about so many at least, where there are enough tiles */

/* How the tiles of all maps are divided into pieces: several images, or a band of one image. */
typedef struct {
    ptrdiff_t side, positions;    /* a tile has side x side outputs, its patch so many pixels */
    ptrdiff_t TH, TW;             /* tiles down and across a map */
    ptrdiff_t group, bands, band; /* images; or bands per image, and rows of tiles of the largest */
    ptrdiff_t tiles, all;         /* of a piece: tiles per image, and of all its images */
    ptrdiff_t block;              /* elements of a vector of channels of all its tiles */
} winograd_grid;

/* Images [n, n + images), or of one image the rows [y, y + rows) of tiles. */
typedef struct {
    ptrdiff_t n, images, y, rows;
} winograd_piece;

/* Elements rounded up to an odd number of cache lines: arrays that lie so far apart do not compete
 * for the same places of a cache. */
static ptrdiff_t odd_lines(ptrdiff_t elements)
{
    const ptrdiff_t line = 64 / (ptrdiff_t)sizeof(T);
    return (ceil_div(elements, line) | 1) * line;
}

/* Tiles of 4x4 outputs, or of 3x3 where these save a tenth of the multiplications in all: in maps of up
 * to 3x3, of 5x5, 6x6 and 9x9 outputs and in narrow strips, which the larger ones run over. */
static winograd_grid tiles_of_maps(ptrdiff_t OH, ptrdiff_t OW)
{
    const ptrdiff_t fours = 36 * ceil_div(OH, 4) * ceil_div(OW, 4);
    const ptrdiff_t threes = 25 * ceil_div(OH, 3) * ceil_div(OW, 3);
    const ptrdiff_t side = 10 * threes < 9 * fours ? 3 : 4;
    return (winograd_grid){.side = side, .positions = (side + 2) * (side + 2),
                           .TH = ceil_div(OH, side), .TW = ceil_div(OW, side)};
}

/* For some `tasks` of the same size at least, with pieces of up to `most` tiles unless one row has
 * more. */
static winograd_grid make_winograd_grid(ptrdiff_t N, ptrdiff_t OH, ptrdiff_t OW, ptrdiff_t tasks,
                                        ptrdiff_t most)
{
    winograd_grid g = tiles_of_maps(OH, OW);
    const ptrdiff_t share = MAX(PANEL_ROWS, ceil_div(N * g.TH * g.TW, tasks));
    most = MIN(most, share);
    g.group = MIN(N, MAX(1, most / (g.TH * g.TW)));
    g.bands = ceil_div(g.TH, MIN(g.TH, MAX(1, most / g.TW)));
    g.band = ceil_div(g.TH, g.bands);
    g.tiles = g.band * g.TW;
    g.all = g.group * g.tiles;
    g.block = odd_lines(g.all * LANES);
    return g;
}

/* The piece that begins with unit i: a band or, where maps are not divided, an image. */
static winograd_piece winograd_piece_at(const winograd_grid *g, ptrdiff_t i, ptrdiff_t end)
{
    const ptrdiff_t band = i % g->bands, y = part_start(g->TH, g->bands, band);
    return (winograd_piece){.n = i / g->bands, .images = MIN(g->group, end - i), .y = y,
                            .rows = part_start(g->TH, g->bands, band + 1) - y};
}

/* A vector of channels of a piece of one map, with zeros around it: [rows][width][LANES]. */
typedef struct {
    const T *src;           /* where it is from, [N][C][H][W] */
    ptrdiff_t C, H, W;
    ptrdiff_t r0, c0, side; /* where the patch of tile (0, 0) starts, which has side x side pixels */
    ptrdiff_t step;         /* pixels from one patch to the next */
    ptrdiff_t rows, width;
    int banded;             /* whether it holds different rows of a map in turn */
    ptrdiff_t *place;       /* per pixel of these rows of the map: where it lies in the copy */
} lane_map;

static void set_lane_map(lane_map *m, const winograd_grid *g)
{
    m->step = g->side;
    m->rows = m->step * (g->band - 1) + m->side;
    m->width = MAX(MAX(m->c0, 0) + m->step * (g->TW - 1) + m->side, MAX(-m->c0, 0) + m->W);
    m->banded = g->bands > 1;
}

/* Elements of a copy, and pixels of the map that it may hold. */
static ptrdiff_t lane_map_size(const lane_map *m)
{
    return m->rows * m->width * LANES;
}

static ptrdiff_t lane_map_pixels(const lane_map *m)
{
    return MIN(m->rows, m->H) * m->W;
}

static void fill_places(const lane_map *m)
{
    for (ptrdiff_t i = 0; i < lane_map_pixels(m); i++)
        m->place[i] = (i / m->W * m->width + i % m->W + MAX(-m->c0, 0)) * LANES;
}

/* Where the patch of a tile starts, which is the piece's y-th one down and the x-th across. */
static ptrdiff_t lane_map_tile(const lane_map *m, ptrdiff_t y, ptrdiff_t x)
{
    return (m->step * (y * m->width + x) + MAX(m->c0, 0)) * LANES;
}

/* Copy pixels of up to LANES channels to their places; absent channels become zeros.  The channels
 * that follow are fetched meanwhile. */
static void planes_to_lanes(const T *src, ptrdiff_t plane, ptrdiff_t pixels, ptrdiff_t channels,
                            T *dst, const ptrdiff_t *place)
{
    for (ptrdiff_t i = 0; i < (pixels < LANES ? pixels : 0); i++)
        for (ptrdiff_t c = 0; c < LANES; c++)
            dst[place[i] + c] = c < channels ? src[c * plane + i] : 0;
    for (ptrdiff_t i = 0; i < (pixels < LANES ? 0 : pixels); i += LANES) {
        const ptrdiff_t at = MIN(i, pixels - LANES); /* the last vectors overlap those before */
        vec row[LANES];
        _Pragma("GCC unroll 16") for (int c = 0; c < LANES; c++)
            row[c] = c < channels ? load(src + c * plane + at) : splat((T)0);
        for (int c = 0; c < LANES; c++)
            FETCH(src + (c + LANES) * plane + at);
        transpose_rows(row);
        _Pragma("GCC unroll 16") for (int c = 0; c < LANES; c++)
            store(dst + place[at + c], row[c]);
    }
}

/* The way back. */
static void lanes_to_planes(const T *src, const ptrdiff_t *place, T *dst, ptrdiff_t plane,
                            ptrdiff_t pixels, ptrdiff_t channels)
{
    for (ptrdiff_t i = 0; i < (pixels < LANES ? pixels : 0); i++)
        for (ptrdiff_t c = 0; c < MIN(channels, LANES); c++)
            dst[c * plane + i] = src[place[i] + c];
    for (ptrdiff_t i = 0; i < (pixels < LANES ? 0 : pixels); i += LANES) {
        const ptrdiff_t at = MIN(i, pixels - LANES);
        vec row[LANES];
        _Pragma("GCC unroll 16") for (int c = 0; c < LANES; c++)
            row[c] = load(src + place[at + c]);
        transpose_rows(row);
        _Pragma("GCC unroll 16") for (int c = 0; c < LANES; c++)
            if (c < channels)
                store(dst + c * plane + at, row[c]);
    }
}

/* Copy what the patches of a piece see of its image i and LANES channels from c on. */
static void pack_lanes(const lane_map *m, winograd_piece at, ptrdiff_t i, ptrdiff_t c, T *dst)
{
    const ptrdiff_t first = m->r0 + m->step * at.y, rows = m->step * (at.rows - 1) + m->side;
    const ptrdiff_t begin = MAX(first, 0), end = MIN(first + rows, m->H);
    const ptrdiff_t above = MIN(begin - first, rows), below = MAX(end - first, above);
    const ptrdiff_t row = m->width * LANES, plane = m->H * m->W;
    if (m->banded) {
        memset(dst, 0, (size_t)(above * row) * sizeof(T));
        memset(dst + below * row, 0, (size_t)((rows - below) * row) * sizeof(T));
    }
    if (begin < end)
        planes_to_lanes(m->src + ((at.n + i) * m->C + c) * plane + begin * m->W, plane,
                        (end - begin) * m->W, m->C - c, dst + above * row, m->place);
}
