/* The kernels: a table of them for each instruction set and element type.
 *
 * Letters: N images, C channels, H x W pixels, F filters, HH x WW window, OH x OW output; M, K, N of
 * a matrix product; D pixels or columns; G groups.
 * All arrays are C-contiguous (but a and b of a product), not empty, and checked by the caller;
 * `void *` points to elements of the table's type, and all sizes are ptrdiff_t.  A kernel allocates
 * nothing: where it needs memory it takes a workspace `ws` (64-byte aligned) of as many bytes as its
 * `_bytes` twin says; that of group norm is for the way back.  Results do not depend on `threads`.
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
enum { BY_RULE, DIRECT, WINOGRAD };

typedef struct {
    ptrdiff_t M, N, K; /* a (M, K), b (K, N), out (M, N) */
    ptrdiff_t am, ak;  /* elements from row to row and from column to column of a */
    ptrdiff_t bk, bn;  /* and of b; out is contiguous */
} matmul_shape;

/* What the units of a layer make of their input. */
enum { NO_ACTIVATION, RELU, LEAKY_RELU, GELU, GELU_TANH, SILU };

/* Which part of a pass of batch norm: where other processes have images of the same batch, they put
 * their sums together between the first part and the rest.  Sums are mean and var on the way forward,
 * dgamma and dbeta on the way back. */
enum { WHOLE, SUMS_ONLY, REST };

/* What a normalisation knows beside its arrays: x (N, C, D), the statistics and the parameters.
 * In train mode the forward pass writes mean and var (biased), else both passes read them.  Running
 * statistics, where they are not NULL, follow what is written. */
typedef struct {
    ptrdiff_t N, C, D; /* D pixels, one for rows */
    ptrdiff_t G;       /* groups of channels; layer norm is G = 1, D = 1; not used by batch norm */
    double eps;
    double momentum;   /* used by batch norm: of the running statistics */
    int train;         /* used by batch norm: the mode */
    int part;          /* used by batch norm: WHOLE, SUMS_ONLY or REST */
    double count;      /* used by batch norm: numbers that the sums of a channel are of */
    int activation;    /* used by batch norm: what the output passes */
    double slope;      /* of a leaky ReLU */
} norm_shape;

/* The list from which the tables are made: K(type, name, parameters). */
#define KERNELS(K)                                                                                 \
    /* convolution, the output with relu if asked for */                                           \
    K(ptrdiff_t, conv_forward_bytes, (const window_shape *s, int threads))                         \
    K(void, conv_forward,                                                                          \
      (const window_shape *s, const void *x, const void *w, const void *b, void *out, int relu,    \
       void *ws, int threads))                                                                     \
    K(ptrdiff_t, conv_dx_bytes, (const window_shape *s, int threads))                              \
    K(void, conv_dx,                                                                               \
      (const window_shape *s, const void *dout, const void *w, void *dx, void *ws, int threads))   \
    K(ptrdiff_t, conv_dw_bytes, (const window_shape *s, int threads))                              \
    K(void, conv_dw,                                                                               \
      (const window_shape *s, const void *x, const void *dout, void *dw, void *db, void *ws,       \
       int threads))                                                                               \
    /* pooling by windows 2x2, stride 2; arg is the place of the maximum, 0 to 3 */                \
    K(void, max_pool2_forward,                                                                     \
      (const window_shape *s, const void *x, void *out, uint8_t *arg, int threads))                \
    K(void, max_pool2_backward,                                                                    \
      (const window_shape *s, const void *dout, const uint8_t *arg, void *dx, int threads))        \
    /* any window; arg is the offset of the maximum from the window's first pixel */               \
    K(void, max_pool_forward,                                                                      \
      (const window_shape *s, const void *x, void *out, int32_t *arg, int threads))                \
    K(void, max_pool_backward,                                                                     \
      (const window_shape *s, const void *dout, const int32_t *arg, void *dx, int threads))        \
    /* normalisation; the backward passes take what the forward passes took.  out and dx overlap   \
     * nothing that is read, and dx may be NULL where only the sums are asked for */               \
    K(void, batchnorm_forward,                                                                     \
      (const norm_shape *s, const void *x, const void *gamma, const void *beta, void *out,         \
       void *mean, void *var, void *running_mean, void *running_var, int threads))                 \
    K(void, batchnorm_backward,                                                                    \
      (const norm_shape *s, const void *dout, const void *x, const void *gamma, const void *beta,  \
       const void *mean, const void *var, void *dx, void *dgamma, void *dbeta, int threads))       \
    K(void, groupnorm_forward,                                                                     \
      (const norm_shape *s, const void *x, const void *gamma, const void *beta, void *out,         \
       void *mean, void *var, int threads))                                                        \
    K(ptrdiff_t, groupnorm_bytes, (const norm_shape *s))                                           \
    K(void, groupnorm_backward,                                                                    \
      (const norm_shape *s, const void *dout, const void *x, const void *gamma, const void *mean,  \
       const void *var, void *dx, void *dgamma, void *dbeta, void *ws, int threads))               \
    /* ReLU keeps NaN; the backward pass takes x or out, which have the same zeros */              \
    K(void, relu_forward, (ptrdiff_t n, const void *x, void *out, int threads))                    \
    K(void, relu_backward,                                                                         \
      (ptrdiff_t n, const void *dout, const void *x, void *dx, int threads))                       \
    /* units of one of the activations, with the slope of a leaky ReLU */                          \
    K(void, activation_forward,                                                                    \
      (int kind, double slope, ptrdiff_t n, const void *x, void *out, int threads))                \
    K(void, activation_backward,                                                                   \
      (int kind, double slope, ptrdiff_t n, const void *dout, const void *x, void *dx,             \
       int threads))                                                                               \
    /* scores (N, C), labels (N,) -> losses (N,), dx of their mean, which is returned */           \
    K(double, softmax_loss,                                                                        \
      (ptrdiff_t N, ptrdiff_t C, const void *x, const int64_t *y, double smoothing, void *losses,  \
       void *dx, int threads))                                                                     \
    /* matrix product a b + bias, where bias may be NULL; sum of each channel of a (N, C, D) */    \
    K(ptrdiff_t, matmul_bytes, (const matmul_shape *s, int threads))                               \
    K(void, matmul,                                                                                \
      (const matmul_shape *s, const void *a, const void *b, const void *bias, void *out, void *ws, \
       int threads))                                                                               \
    K(void, sum_channels,                                                                          \
      (ptrdiff_t N, ptrdiff_t C, ptrdiff_t D, const void *a, void *out, int threads))              \
    /* update rules; out may be w */                                                               \
    K(void, sgd,                                                                                   \
      (ptrdiff_t n, const void *w, const void *dw, void *out, double lr, double reg, int threads)) \
    K(void, momentum,                                                                              \
      (ptrdiff_t n, const void *w, const void *dw, void *out, void *velocity, double lr,           \
       double mu, int nesterov, double reg, int threads))                                          \
    K(void, rmsprop,                                                                               \
      (ptrdiff_t n, const void *w, const void *dw, void *out, void *cache, double lr,              \
       double decay, double eps, double reg, int threads))                                         \
    K(void, adam,                                                                                  \
      (ptrdiff_t n, const void *w, const void *dw, void *out, void *m, void *v, double lr,         \
       double beta1, double beta2, double eps, double t, double reg, int threads))

#define KERNEL_FIELD(type, name, parameters) type(*name) parameters;

typedef struct {
    KERNELS(KERNEL_FIELD)
} kernel_table;

#endif
