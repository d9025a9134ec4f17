/* Categorical latents: `ops/categorical.py` has the same in PyTorch. Letters: S latents of K classes. */

#include "rssm.h"

/* One state's logits (S, K) plus bias, in place, to softmax; `probs` with a share of uniform; `hot`: the first class
 * whose cumulated probability exceeds uniform[s step], without uniform numbers the most likely one */
static inline __attribute__((always_inline)) void latents_of(int S, int K, float share, const float *bias,
                                                             float *restrict logits, float *probs,
                                                             float *restrict hot, const float *uniform, int64_t step) {
  float each = share / (float)K;
  SIMD for (int s = 0; s < S; s++) {
    float *x = logits + s * K, most = -INFINITY;
    for (int k = 0; k < K; k++) {
      x[k] += bias[s * K + k];
      most = x[k] > most ? x[k] : most;
    }
    for (int k = 0; k < K; k++) x[k] -= most;
  }
  SIMD for (int j = 0; j < S * K; j++) logits[j] = fast_exp(logits[j]);
  if (uniform) {
    SIMD for (int s = 0; s < S; s++) {
      float *x = logits + s * K, *p = probs + s * K, *h = hot + s * K, u = uniform[s * step];
      float total = 0, sum = 0, reached = 0;
      for (int k = 0; k < K; k++) total += x[k];
      total = 1 / total;
      for (int k = 0; k < K; k++) {
        float q = x[k] * total, mixed = q * (1 - share) + each;
        sum += mixed;
        float now = k == K - 1 || sum > u ? 1.0f : 0.0f;
        x[k] = q;
        p[k] = mixed;
        h[k] = now - reached;
        reached = now;
      }
    }
    return;
  }
  for (int s = 0; s < S; s++) {
    const float *x = logits + s * K;
    int best = 0;
    for (int k = 1; k < K; k++) best = x[k] > x[best] ? k : best;
    for (int k = 0; k < K; k++) hot[s * K + k] = k == best;
  }
}

void latents(int n, int S, int K, float share, const float *bias, float *logits, float *probs, float *hot,
                    int64_t ldh, const float *uniform, int64_t step) {
  for (int i = 0; i < n; i++, logits += S * K, probs += S * K, hot += ldh) {
    const float *u = uniform ? uniform + i : 0;
    if (K == 4) /* the smallest size, for which the compiler makes vectors over latents */
      latents_of(S, 4, share, bias, logits, probs, hot, u, step);
    else
      latents_of(S, K, share, bias, logits, probs, hot, u, step);
  }
}

void latents_back(int64_t groups, int K, float share, const float *dprobs, const float *softmax, float *into) {
  for (int64_t g = 0; g < groups; g++, dprobs += K, softmax += K, into += K) {
    float sum = 0;
    for (int k = 0; k < K; k++) sum += dprobs[k] * softmax[k];
    for (int k = 0; k < K; k++) into[k] = softmax[k] * (dprobs[k] - sum) * (1 - share);
  }
}
