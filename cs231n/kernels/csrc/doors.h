/* Calls of the selected kernels by the type of an array, for native.pyx.
 *
 * Cython compiles each function twice, for float and for double arrays; with these macros both
 * versions name a kernel once.
 */
#ifndef CS231N_DOORS_H
#define CS231N_DOORS_H

#include "dispatch.h"

#define KERNEL(name, array)                                                                        \
    (_Generic((array), float *: selected_f32, const float *: selected_f32, double *: selected_f64, \
              const double *: selected_f64)                                                        \
         ->name)

#define call_conv_forward_bytes(s, threads, x) KERNEL(conv_forward_bytes, x)(s, threads)
#define call_conv_dx_bytes(s, threads, x) KERNEL(conv_dx_bytes, x)(s, threads)
#define call_conv_dw_bytes(s, threads, x) KERNEL(conv_dw_bytes, x)(s, threads)
#define call_conv_forward(s, x, ...) KERNEL(conv_forward, x)(s, x, __VA_ARGS__)
#define call_conv_dx(s, dout, ...) KERNEL(conv_dx, dout)(s, dout, __VA_ARGS__)
#define call_conv_dw(s, x, ...) KERNEL(conv_dw, x)(s, x, __VA_ARGS__)
#define call_max_pool2_forward(s, x, ...) KERNEL(max_pool2_forward, x)(s, x, __VA_ARGS__)
#define call_max_pool2_backward(s, dout, ...) KERNEL(max_pool2_backward, dout)(s, dout, __VA_ARGS__)
#define call_max_pool_forward(s, x, ...) KERNEL(max_pool_forward, x)(s, x, __VA_ARGS__)
#define call_max_pool_backward(s, dout, ...) KERNEL(max_pool_backward, dout)(s, dout, __VA_ARGS__)
#define call_sgd(n, w, ...) KERNEL(sgd, w)(n, w, __VA_ARGS__)
#define call_momentum(n, w, ...) KERNEL(momentum, w)(n, w, __VA_ARGS__)
#define call_rmsprop(n, w, ...) KERNEL(rmsprop, w)(n, w, __VA_ARGS__)
#define call_adam(n, w, ...) KERNEL(adam, w)(n, w, __VA_ARGS__)
#define call_relu_forward(n, x, ...) KERNEL(relu_forward, x)(n, x, __VA_ARGS__)
#define call_relu_backward(n, dout, ...) KERNEL(relu_backward, dout)(n, dout, __VA_ARGS__)
#define call_column_norm_forward(N, D, x, ...) KERNEL(column_norm_forward, x)(N, D, x, __VA_ARGS__)
#define call_column_norm_backward(N, D, dout, ...)                                                 \
    KERNEL(column_norm_backward, dout)(N, D, dout, __VA_ARGS__)
#define call_channel_norm_forward(N, C, D, x, ...)                                                 \
    KERNEL(channel_norm_forward, x)(N, C, D, x, __VA_ARGS__)
#define call_channel_norm_backward(N, C, D, dout, ...)                                             \
    KERNEL(channel_norm_backward, dout)(N, C, D, dout, __VA_ARGS__)
#define call_group_norm_bytes(N, C, x) KERNEL(group_norm_bytes, x)(N, C)
#define call_group_norm_forward(N, G, C, D, x, ...)                                                \
    KERNEL(group_norm_forward, x)(N, G, C, D, x, __VA_ARGS__)
#define call_group_norm_backward(N, G, C, D, dout, ...)                                            \
    KERNEL(group_norm_backward, dout)(N, G, C, D, dout, __VA_ARGS__)
#define call_product_bytes(s, threads, a) KERNEL(product_bytes, a)(s, threads)
#define call_product(s, a, ...) KERNEL(product, a)(s, a, __VA_ARGS__)
#define call_softmax_loss(N, C, x, ...) KERNEL(softmax_loss, x)(N, C, x, __VA_ARGS__)

#endif
