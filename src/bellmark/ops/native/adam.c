/* Adam on many tensors of floats at once. `nets/fused_adam.py` hands the arguments in and says what is computed. */

#include "numbers.h"

/* The same struct is in `nets/fused_adam.py`. */
struct moved {
  float *value, *mean, *square;
  const float *gradient;
  int64_t count;
  float step, unbias; /* learning rate over 1 - beta1^t, and the root of 1 - beta2^t */
};

/* The sum of squares of every gradient, each of parts of 1024 added up in double precision. */
void gradient_squares(const struct moved *t, int64_t tensors, double *sums) {
  for (int64_t i = 0; i < tensors; i++) {
    double whole = 0;
    for (int64_t at = 0; at < t[i].count; at += 1024) {
      int64_t end = at + 1024 < t[i].count ? at + 1024 : t[i].count;
      const float *g = t[i].gradient;
      float part = 0;
      REDUCE(part) for (int64_t j = at; j < end; j++) part += g[j] * g[j];
      whole += part;
    }
    sums[i] = whole;
  }
}

/* A step on gradients times `cut`; `rise1` and `rise2` are 1 - beta1 and 1 - beta2, rounded once. */
void adam(const struct moved *t, int64_t tensors, float cut, float decay, float rise1, float beta2, float rise2,
          float eps) {
  for (int64_t i = 0; i < tensors; i++) {
    float *restrict p = t[i].value, *restrict m = t[i].mean, *restrict v = t[i].square;
    const float *restrict gradient = t[i].gradient;
    float step = t[i].step, unbias = t[i].unbias;
    SIMD for (int64_t j = 0; j < t[i].count; j++) {
      float g = gradient[j] * cut + decay * p[j];
      m[j] += rise1 * (g - m[j]);
      v[j] = beta2 * v[j] + rise2 * g * g;
      p[j] -= step * m[j] / (sqrtf(v[j]) / unbias + eps);
    }
  }
}
