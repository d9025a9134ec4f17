/* Log densities of diagonal Gaussians, rows of floats. `ops/gaussian.py` hands the arguments in and says what is
 * computed. */

#include "numbers.h"

/* z (n, k) = (x - mean) / std and out (n) = `constant` - |z|^2 / 2 */
void gauss_log_prob(int64_t n, int64_t k, const float *x, const float *mean, const float *log_std, float constant,
                    float *z, float *out) {
  float inverse[k];
  for (int64_t j = 0; j < k; j++) inverse[j] = expf(-log_std[j]);
  for (int64_t i = 0; i < n; i++, x += k, mean += k, z += k) {
    float sum = 0;
    REDUCE(sum) for (int64_t j = 0; j < k; j++) {
      z[j] = (x[j] - mean[j]) * inverse[j];
      sum += z[j] * z[j];
    }
    out[i] = constant - 0.5f * sum;
  }
}

/* From the gradient of `out`, those of mean (n, k) and log_std (k): g z / std, and the sum of g (z^2 - 1). */
void gauss_log_prob_back(int64_t n, int64_t k, const float *gradient, const float *z, const float *log_std,
                         float *into_mean, float *into_log_std) {
  float inverse[k];
  for (int64_t j = 0; j < k; j++) inverse[j] = expf(-log_std[j]), into_log_std[j] = 0;
  for (int64_t i = 0; i < n; i++, z += k, into_mean += k)
    SIMD for (int64_t j = 0; j < k; j++) {
      into_mean[j] = gradient[i] * z[j] * inverse[j];
      into_log_std[j] += gradient[i] * (z[j] * z[j] - 1);
    }
}
