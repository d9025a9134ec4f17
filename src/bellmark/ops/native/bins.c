/* Passes over logits (n, K) of distributions over bins: `two_hot.py` and `two_targets.py` have the same in PyTorch. */

#include "rssm.h"

static float largest(int64_t K, const float *x) {
  float most = x[0];
  _Pragma("omp simd reduction(max : most)") for (int64_t k = 0; k < K; k++) most = x[k] > most ? x[k] : most;
  return most;
}

/* The mean bin, summed in mirrored pairs; `upper` are the K / 2 bins above the middle, `work` holds K numbers */
void mean_bin(int64_t n, int64_t K, const float *logits, const float *upper, float *work, float *out) {
  int64_t half = K / 2;
  for (int64_t i = 0; i < n; i++, logits += K) {
    float most = largest(K, logits), total = 0, sum = 0;
    REDUCE(total) for (int64_t k = 0; k < K; k++) {
      float e = fast_exp(logits[k] - most);
      work[k] = e;
      total += e;
    }
    const float *high = work + (K - half), *low = work + half - 1;
    REDUCE(sum) for (int64_t k = 0; k < half; k++) sum += (high[k] - low[-k]) * upper[k];
    out[i] = sum / total;
  }
}

/* ln sum exp of each row */
void normaliser(int64_t n, int64_t K, const float *logits, float *out) {
  for (int64_t i = 0; i < n; i++, logits += K) {
    float most = largest(K, logits), total = 0;
    REDUCE(total) for (int64_t k = 0; k < K; k++) total += fast_exp(logits[k] - most);
    out[i] = most + logf(total);
  }
}

/* into (n, K) = softmax times a number per row */
void weighed_softmax(int64_t n, int64_t K, const float *logits, const float *normalisers, const float *by, float *into) {
  for (int64_t i = 0; i < n; i++, logits += K, into += K) {
    float less = normalisers[i], weight = by[i];
    SIMD for (int64_t k = 0; k < K; k++) into[k] = weight * fast_exp(logits[k] - less);
  }
}
