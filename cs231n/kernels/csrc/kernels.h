/* Public face of the compiled kernels.
 *
 * Letters: N images, C channels, H x W pixels, F filters, HH x WW window, OH x OW output.
 * All arrays are C-contiguous and checked by the caller; all sizes are ptrdiff_t.
 * A kernel allocates nothing: where it needs memory it takes a workspace `ws` (64-byte aligned)
 * of as many bytes as its `_bytes` twin says.  Results do not depend on `threads`.
 */
#ifndef CS231N_KERNELS_H
#define CS231N_KERNELS_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    ptrdiff_t N, C, H, W;  /* images */
    ptrdiff_t F, HH, WW;   /* filters; F is not used by pooling */
    ptrdiff_t OH, OW;      /* output pixels */
    ptrdiff_t stride, pad; /* pad is not used by pooling */
    int path;              /* of a convolution: BY_RULE or the one to be timed or tested */
} window_shape;

/* The faster of the two ways to convolve, as far as a shape allows both, or one of them. */
enum { BY_RULE, DIRECT, FILTERED };

typedef struct {
    ptrdiff_t M, N, K; /* a (M, K), b (K, N), out (M, N) */
    ptrdiff_t am, ak;  /* elements from row to row and from column to column of a */
    ptrdiff_t bk, bn;  /* and of b; out is contiguous */
} product_shape;

/* One entry per kernel, the same for float and double; T is the element type. */
#define KERNEL_TABLE(T)                                                                            \
    ptrdiff_t (*conv_forward_bytes)(const window_shape *s, int threads);                           \
    void (*conv_forward)(const window_shape *s, const T *x, const T *w, const T *b, T *out,        \
                         int relu, void *ws, int threads);                                         \
    ptrdiff_t (*conv_dx_bytes)(const window_shape *s, int threads);                                \
    void (*conv_dx)(const window_shape *s, const T *dout, const T *w, T *dx, void *ws,             \
                    int threads);                                                                  \
    ptrdiff_t (*conv_dw_bytes)(const window_shape *s, int threads);                                \
    void (*conv_dw)(const window_shape *s, const T *x, const T *dout, T *dw, T *db, void *ws,      \
                    int threads);                                                                  \
    /* windows 2x2, stride 2 */                                                                    \
    void (*max_pool2_forward)(const window_shape *s, const T *x, T *out, uint8_t *arg,             \
                              int threads);                                                        \
    void (*max_pool2_backward)(const window_shape *s, const T *dout, const uint8_t *arg, T *dx,    \
                               int threads);                                                       \
    /* any window; arg is the offset of the maximum from the window's first pixel */               \
    void (*max_pool_forward)(const window_shape *s, const T *x, T *out, int32_t *arg,              \
                             int threads);                                                         \
    void (*max_pool_backward)(const window_shape *s, const T *dout, const int32_t *arg, T *dx,     \
                              int threads);                                                        \
    /* update rules; out may be w */                                                               \
    void (*sgd)(ptrdiff_t n, const T *w, const T *dw, T *out, double lr, double reg, int threads); \
    void (*momentum)(ptrdiff_t n, const T *w, const T *dw, T *out, T *velocity, double lr,         \
                     double mu, int nesterov, double reg, int threads);                            \
    void (*rmsprop)(ptrdiff_t n, const T *w, const T *dw, T *out, T *cache, double lr,             \
                    double decay, double eps, double reg, int threads);                            \
    void (*adam)(ptrdiff_t n, const T *w, const T *dw, T *out, T *m, T *v, double lr,              \
                 double beta1, double beta2, double eps, double t, double reg, int threads);       \
    /* batch norm of images, with relu if asked for; x (N, C, D), D pixels; var is biased */        \
    void (*channel_norm_forward)(ptrdiff_t N, ptrdiff_t C, ptrdiff_t D, const T *x,                \
                                 const T *gamma, const T *beta, T *out, T *mean, T *var,           \
                                 double eps, int relu, int threads);                               \
    void (*channel_norm_backward)(ptrdiff_t N, ptrdiff_t C, ptrdiff_t D, const T *dout,            \
                                  const T *x, const T *gamma, const T *beta, T *mean, T *var,      \
                                  T *dx, T *dgamma, T *dbeta, double eps, int relu,                \
                                  int threads);                                                    \
    /* batch norm of rows: x (N, D), statistics per column */                                      \
    void (*column_norm_forward)(ptrdiff_t N, ptrdiff_t D, const T *x, const T *gamma,              \
                                const T *beta, T *out, T *mean, T *var, double eps, int threads);  \
    void (*column_norm_backward)(ptrdiff_t N, ptrdiff_t D, const T *dout, const T *x,              \
                                 const T *gamma, T *mean, T *var, T *dx, T *dgamma, T *dbeta,      \
                                 double eps, int threads);                                         \
    /* layer and group norm: x (N, G, C/G, D); layer norm is G = 1, D = 1 */                       \
    ptrdiff_t (*group_norm_bytes)(ptrdiff_t N, ptrdiff_t C);                                       \
    void (*group_norm_forward)(ptrdiff_t N, ptrdiff_t G, ptrdiff_t C, ptrdiff_t D, const T *x,     \
                               const T *gamma, const T *beta, T *out, T *mean, T *var,             \
                               double eps, int threads);                                           \
    void (*group_norm_backward)(ptrdiff_t N, ptrdiff_t G, ptrdiff_t C, ptrdiff_t D, const T *dout, \
                                const T *x, const T *gamma, T *mean, T *var, T *dx, T *dgamma,     \
                                T *dbeta, double eps, void *ws, int threads);                      \
    /* ReLU keeps NaN; backward takes x or out, which have the same zeros */                       \
    void (*relu_forward)(ptrdiff_t n, const T *x, T *out, int threads);                            \
    void (*relu_backward)(ptrdiff_t n, const T *dout, const T *x, T *dx, int threads);             \
    /* scores (N, C) -> losses (N,) and dx, the gradient of their mean */                          \
    void (*softmax_loss)(ptrdiff_t N, ptrdiff_t C, const T *x, const int64_t *y, T *losses, T *dx, \
                         int threads);                                                             \
    /* matrix product a b + bias; bias may be NULL */                                              \
    ptrdiff_t (*product_bytes)(const product_shape *s, int threads);                               \
    void (*product)(const product_shape *s, const T *a, const T *b, const T *bias, T *out,         \
                    void *ws, int threads);

typedef struct {
    KERNEL_TABLE(float)
} kernels_f32;

typedef struct {
    KERNEL_TABLE(double)
} kernels_f64;

/* The kernels of the build named "avx512", "avx2" or "baseline", or of the best one for NULL; NULL
 * if this processor can't run it.  An environment variable that forces one is Python's affair. */
const kernels_f32 *get_f32(const char *name);
const kernels_f64 *get_f64(const char *name);
const char *best_build(void);

#endif
