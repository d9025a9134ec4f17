/* Perceptrons of tanh layers and a linear one at the end, on rows of floats: a portion of rows goes through all layers
 * while it is in the cache. `nets/fused_tanh.py` hands the arguments in; the twin in PyTorch is in `nets/mlp.py`. */

#include <string.h>

#include "rssm.h"

/* The same struct is in `nets/fused_tanh.py`. */
struct dense {
  const float *weight, *bias; /* (outputs, inputs), (outputs) */
  float *into_weight, *into_bias;
  int64_t inputs, outputs;
};

static const float one = 1;

/* y (n, m) = x (n, k) w (m, k)^T, or with "N" x (n, k) w (k, m) */
static void product(const char *turned, int n, int m, int k, const float *x, const float *w, float *y) {
  const float zero = 0;
  sgemm(turned, "N", &m, &n, &k, &one, w, *turned == 'N' ? &m : &k, x, &k, &zero, y, &m);
}

/* x (n, k), of rows that were x (n, inputs), to the last layer's outputs (n, outputs). Layer i's tanh goes to hidden[i],
 * where every portion has its place if it is `kept`, and overwrites the last portion's if not. */
void tanh_layers(const struct dense *l, int64_t count, int64_t n, int64_t portion, int64_t kept, const float *x,
                 float *const *hidden, float *out) {
  for (int64_t at = 0; at < n; at += portion) {
    int rows = (int)MIN(portion, n - at);
    const float *in = x + at * l->inputs;
    for (int64_t i = 0; i < count; i++) {
      int64_t m = l[i].outputs;
      float *y = i == count - 1 ? out + at * m : hidden[i] + (kept ? at * m : 0);
      product("T", rows, (int)m, (int)l[i].inputs, in, l[i].weight, y);
      const float *bias = l[i].bias;
      in = y;
      for (int row = 0; row < rows; row++, y += m)
        if (i == count - 1)
          SIMD for (int64_t j = 0; j < m; j++) y[j] += bias[j];
        else
          SIMD for (int64_t j = 0; j < m; j++) y[j] = quotient_tanh(y[j] + bias[j]);
    }
  }
}

/* From the gradient of the outputs (n, outputs), those of weights and biases, all written whole; `work` holds two times
 * a portion of rows of the widest layer. */
void tanh_layers_back(const struct dense *l, int64_t count, int64_t n, int64_t portion, const float *x,
                      float *const *hidden, const float *gradient, float *work, int64_t widest) {
  for (int64_t i = 0; i < count; i++) memset(l[i].into_bias, 0, sizeof(float) * (size_t)l[i].outputs);
  for (int64_t at = 0; at < n; at += portion) {
    int rows = (int)MIN(portion, n - at);
    float before = at ? 1 : 0; /* share of what earlier portions gave */
    const float *g = gradient + at * l[count - 1].outputs;
    for (int64_t i = count - 1; i >= 0; i--) {
      int m = (int)l[i].outputs, k = (int)l[i].inputs;
      const float *in = (i ? hidden[i - 1] : x) + at * k;
      float *bias = l[i].into_bias;
      for (int row = 0; row < rows; row++)
        SIMD for (int j = 0; j < m; j++) bias[j] += g[row * m + j];
      sgemm("N", "T", &k, &m, &rows, &one, in, &k, g, &m, &before, l[i].into_weight, &k);
      if (!i) break;
      float *into = work + (i % 2) * portion * widest;
      product("N", rows, k, m, g, l[i].weight, into);
      SIMD for (int64_t j = 0; j < (int64_t)rows * k; j++) into[j] *= 1 - in[j] * in[j];
      g = into;
    }
  }
}
