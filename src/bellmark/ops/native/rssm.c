/* The recurrent state-space model on states as rows of floats: loops over portions of rows and over steps. Its twins in
 * PyTorch are `nets/rssm.py` and `nets/unroll.py`, to which tests hold it.
 *
 * Letters: n rows (states), T steps of B slices, D recurrent state, S latents of K classes, C = S K, P units of the
 * posterior. */

#include <string.h>

#include "rssm.h"

void advance(const struct advance *a) {
  int64_t C = a->S * a->K;
  for (int64_t at = 0; at < a->n; at += a->portion) {
    int n = (int)MIN(a->portion, a->n - at);
    struct states s = a->all;
    s.deter += at * s.ld_deter, s.stoch += at * s.ld_stoch, s.action += at * s.ld_action, s.after += at * s.ld_after;
    float *logits = a->work, *one = logits + n * C, *two = one + n * a->widest, *rest = two + n * a->widest;
    if (a->cell)
      block_free(a->cell, n, &s, rest);
    else
      grus_free(a->grus, n, &s, rest);
    layers(a->head, (int)a->count, n, s.after, (int)s.ld_after, (float *const[]){one, two}, logits);
    latents(n, (int)a->S, (int)a->K, a->share, a->logits_bias, logits, logits, a->hot + at * a->ld_hot, a->ld_hot,
            a->uniform ? a->uniform + at : 0, a->n);
  }
}

/* ---- T steps along observations, and their gradient ---- */

static void carry(int64_t B, int64_t width, const float *going, const float *former, float *into) {
  for (int64_t i = 0; i < B; i++, former += width, into += width)
    SIMD for (int64_t j = 0; j < width; j++) into[j] = going[i] * former[j];
}

void unroll(const struct unroll *r) {
  int64_t B = r->B, D = r->D, C = r->S * r->K, P = r->P;
  int n = (int)B;
  for (int64_t t = 0; t < r->T; t++) {
    float *deter = r->deter + t * B * D, *stoch = r->stoch + t * B * C, *after = r->after + t * B * D;
    carry(B, D, r->going + t * B, t ? after - B * D : r->first_deter, deter);
    carry(B, C, r->going + t * B, t ? r->hot + (t - 1) * B * C : r->first_stoch, stoch);
    if (r->block)
      block_step(r->block, t, B, deter, stoch, r->action, after);
    else
      grus_step(r->grus, t, B, deter, stoch, r->action, after);
    float *x = r->seen_normed + t * B * P, *seen = r->seen + t * B * P, *logits = r->softmax + t * B * C;
    memcpy(x, r->token + t * B * P, (size_t)(B * P) * sizeof(float));
    through(1, n, (int)P, (int)D, after, (int)D, r->seen_turned, (int)P, 1, x, (int)P);
    if (r->seen_scale)
      norm_silu(B, P, x, P, 0, r->seen_scale, x, P, seen, P, r->seen_inverse + t * B);
    else
      activate(r->active, B, P, x, P, 0, x, seen, P);
    through(1, n, (int)C, (int)P, seen, (int)P, r->logits_turned, (int)C, 0, logits, (int)C);
    latents(n, (int)r->S, (int)r->K, r->share, r->logits_bias, logits, r->probs + t * B * C, r->hot + t * B * C, C,
            r->uniform + t * r->S * B, B);
  }
}

void unroll_back(const struct unroll *r) { /* matrices are not turned */
  int64_t B = r->B, D = r->D, C = r->S * r->K, P = r->P;
  int n = (int)B;
  for (int64_t t = r->T - 1; t >= 0; t--) {
    float *after = r->into_after + t * B * D, *logits = r->into_logits + t * B * C, *seen = r->into_seen + t * B * P;
    const float *normed = r->seen_normed + t * B * P;
    latents_back(B * r->S, (int)r->K, r->share, r->into_probs + t * B * C, r->softmax + t * B * C, logits);
    through(1, n, (int)P, (int)C, logits, (int)C, r->logits_weight, (int)P, 0, seen, (int)P);
    if (r->seen_scale)
      norm_silu_back(B, P, seen, P, normed, P, r->seen_inverse + t * B, r->seen_scale, seen, P, r->into_seen_scale,
                     r->into_seen_scale + P);
    else
      activate_back(r->active, B * P, seen, normed, seen);
    through(1, n, (int)D, (int)P, seen, (int)P, r->seen_weight, (int)r->ld_seen, 1, after, (int)D);
    float *stoch = t ? logits - B * C : 0; /* not yet in use; nothing learns from the state before the first step */
    if (r->block)
      block_back(r->block, t, B, r->deter + t * B * D, after, stoch);
    else
      grus_back(r->grus, t, B, r->deter + t * B * D, after, stoch);
    if (!t) break;
    float *former = after - B * D, *probs = r->into_probs + (t - 1) * B * C;
    for (int64_t i = 0; i < B; i++) {
      float going = r->going[t * B + i];
      SIMD for (int64_t j = i * D; j < (i + 1) * D; j++) former[j] += going * after[j];
      SIMD for (int64_t j = i * C; j < (i + 1) * C; j++) probs[j] += going * stoch[j];
    }
  }
}
