/* Passes over logits (n, K) of distributions over bins: `two_hot.py` and `two_targets.py` have the same in PyTorch. */

#include "rssm.h"

#define LANES 16 /* numbers that are worked on at a time: a row's last ones are filled up with minus infinity */

static const float *block(int64_t K, const float *x, int64_t at, float *filled) {
  if (at + LANES <= K) return x + at;
  int left = (int)(K - at);
  SIMD for (int j = 0; j < LANES; j++) filled[j] = j < left ? x[at + j] : -INFINITY;
  return filled;
}

/* The sum of e^(x - most), which also go to `into` (K, filled up to whole lanes) where it is given, and the largest */
static inline float exponentials(int64_t K, const float *x, float *most, float *into) {
  float filled[LANES], top[LANES], sums[LANES] = {0}, total = 0, largest = -INFINITY;
  SIMD for (int j = 0; j < LANES; j++) top[j] = -INFINITY;
  for (int64_t at = 0; at < K; at += LANES) {
    const float *y = block(K, x, at, filled);
    SIMD for (int j = 0; j < LANES; j++) top[j] = y[j] > top[j] ? y[j] : top[j];
  }
  _Pragma("omp simd reduction(max : largest)") for (int j = 0; j < LANES; j++) largest =
      top[j] > largest ? top[j] : largest;
  for (int64_t at = 0; at < K; at += LANES) {
    const float *y = block(K, x, at, filled);
    SIMD for (int j = 0; j < LANES; j++) {
      float e = fast_exp(y[j] - largest);
      if (into) into[at + j] = e;
      sums[j] += e;
    }
  }
  REDUCE(total) for (int j = 0; j < LANES; j++) total += sums[j];
  *most = largest;
  return total;
}

void mean_bin(int64_t n, int64_t K, const float *logits, const float *upper, float *work, float *out) {
  int64_t half = K / 2;
  for (int64_t i = 0; i < n; i++, logits += K) {
    float most, total = exponentials(K, logits, &most, work), sum = 0;
    const float *high = work + (K - half), *low = work + half - 1;
    REDUCE(sum) for (int64_t k = 0; k < half; k++) sum += (high[k] - low[-k]) * upper[k];
    out[i] = sum / total;
  }
}

/* ln sum exp of each row */
void normaliser(int64_t n, int64_t K, const float *logits, float *out) {
  for (int64_t i = 0; i < n; i++, logits += K) {
    float most, total = exponentials(K, logits, &most, 0);
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
