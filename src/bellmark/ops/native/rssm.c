/* The dreamer family's cells on states as rows of floats, and the loops over steps and portions of rows. Everything here
 * has a twin in PyTorch (`nets/rssm.py`, `nets/unroll.py`), to which tests hold it.
 *
 * Letters: n rows (states), D recurrent state in G blocks of o = D / G, U units, S latents of K classes, C = S K, A
 * action. */

#include <string.h>

#include "rssm.h"

/* x (n, k) = beta x + y (n, m) w (m, k) */
static void back(int n, int m, int k, const float *y, int ldy, const float *w, int ldw, float beta, float *x, int ldx) {
  through(1, n, k, m, y, ldy, w, ldw, beta, x, ldx);
}

/* ---- latents ---- */

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

static void latents(int n, int S, int K, float share, const float *bias, float *logits, float *probs, float *hot,
                    int64_t ldh, const float *uniform, int64_t step) {
  for (int i = 0; i < n; i++, logits += S * K, probs += S * K, hot += ldh) {
    const float *u = uniform ? uniform + i : 0;
    if (K == 4) /* the smallest size, for which the compiler makes vectors over latents */
      latents_of(S, 4, share, bias, logits, probs, hot, u, step);
    else
      latents_of(S, K, share, bias, logits, probs, hot, u, step);
  }
}

/* From dprobs (n, S K): gradients of logits */
static void latents_back(int64_t groups, int K, float share, const float *dprobs, const float *softmax, float *into) {
  for (int64_t g = 0; g < groups; g++, dprobs += K, softmax += K, into += K) {
    float sum = 0;
    for (int k = 0; k < K; k++) sum += dprobs[k] * softmax[k];
    for (int k = 0; k < K; k++) into[k] = softmax[k] * (dprobs[k] - sum) * (1 - share);
  }
}

/* ---- the cell ---- */

/* after (n, D) from deter and stoch. `hidden_normed` holds what comes of the action and the bias, or nothing: then
 * `inputs` has a third part, the action's, and `bias` is the hidden layer's. */
static void step(const struct cell *c, int n, const float *deter, int ldd, const float *stoch, int lds,
                 const struct step *s, float *after, int lda) {
  int D = (int)c->D, G = (int)c->G, U = (int)c->U, o = D / G, C = (int)c->C, parts = c->bias ? 3 : 2;
  int wide = parts * U, turned = (int)c->turned;
  through(turned, n, U, D, deter, ldd, c->deter, (int)c->ld_deter, 0, s->normed, wide);
  through(turned, n, U, C, stoch, lds, c->stoch, (int)c->ld_stoch, 0, s->normed + U, wide);
  norm_silu(n, U, s->normed, wide, c->deter_bias, c->deter_scale, s->normed, wide, s->inputs, wide, s->deter_inverse);
  norm_silu(n, U, s->normed + U, wide, c->stoch_bias, c->stoch_scale, s->normed + U, wide, s->inputs + U, wide,
            s->stoch_inverse);
  float *x = s->hidden_normed;
  through(turned, n, D, wide, s->inputs, wide, c->shared, (int)c->ld_shared, c->bias ? 0 : 1, x, D);
  for (int g = 0; g < G; g++)
    through(turned, n, o, o, deter + g * o, ldd, c->own + g * c->own_step, (int)c->ld_own, 1, x + g * o, D);
  norm_silu(n, D, x, D, c->bias, c->hidden_scale, x, D, s->hidden, D, s->hidden_inverse);
  for (int g = 0; g < G; g++)
    through(turned, n, 3 * o, o, s->hidden + g * o, D, c->gates + (int64_t)g * 3 * o * o, (int)c->ld_gates, 0,
            s->gates + 3 * g * o, 3 * D);
  for (int i = 0; i < n; i++)
    for (int g = 0; g < G; g++) {
      float *r = s->gates + (int64_t)i * 3 * D + 3 * g * o, *raw = r + o, *u = raw + o;
      const float *b = c->gates_bias + 3 * g * o, *former = deter + (int64_t)i * ldd + g * o;
      float *next = after + (int64_t)i * lda + g * o;
      SIMD for (int j = 0; j < o; j++) {
        float reset = sigmoid(r[j] + b[j]), free = raw[j] + b[o + j], update = sigmoid(u[j] + b[2 * o + j] - 1);
        next[j] = former[j] + update * (fast_tanh(reset * free) - former[j]);
        r[j] = reset;
        raw[j] = free;
        u[j] = update;
      }
    }
}

/* ---- steps without gradient ---- */

/* Actions beyond [-1, 1] are cut */
static void bounded(int n, int A, const float *action, int64_t ld, float *into, int ldi) {
  for (int i = 0; i < n; i++, action += ld, into += ldi)
    for (int j = 0; j < A; j++) into[j] = action[j] > 1 ? 1 : action[j] < -1 ? -1 : action[j];
}

/* The block-diagonal cell; `w`, here and below, holds the numbers per row that `nets/fused.py` says */
static void block(const struct cell *c, int n, const float *deter, int ldd, const float *stoch, int lds,
                  const float *action, int64_t ldx, float *after, int lda, float *w) {
  int U = (int)c->U, A = (int)c->from_action->inputs;
  float *hidden = w + (int64_t)n * 3 * U, *gates = hidden + n * c->D, *acted = gates + n * 3 * c->D;
  struct step s = {.normed = w, .inputs = w, .hidden_normed = hidden, .hidden = hidden, .gates = gates};
  bounded(n, A, action, ldx, acted, A);
  layer(c->from_action, n, acted, A, w + 2 * U, 3 * U);
  step(c, n, deter, ldd, stoch, lds, &s, after, lda);
}

/* GRUs side by side */
static void grus(const struct grus *c, int n, const float *deter, int ldd, const float *stoch, int lds,
                 const float *action, int64_t ldx, float *after, int lda, float *w) {
  int U = (int)c->from_stoch->outputs, A = (int)c->A, D = (int)c->D, G = (int)c->G, o = D / G, wide = U + A;
  int turned = (int)c->turned;
  float *seen = w + (int64_t)n * wide, *own = seen + (int64_t)n * 3 * D;
  layer(c->from_stoch, n, stoch, lds, w, wide);
  bounded(n, A, action, ldx, w + U, wide);
  through(turned, n, 3 * D, wide, w, wide, c->inputs, turned ? 3 * D : wide, 0, seen, 3 * D);
  for (int g = 0; g < G; g++)
    through(turned, n, 3 * o, o, deter + g * o, ldd, c->recurrent + (int64_t)g * 3 * o * o, turned ? 3 * o : o, 0,
            own + 3 * g * o, 3 * D);
  for (int i = 0; i < n; i++)
    for (int g = 0; g < G; g++) {
      const float *x = seen + (int64_t)i * 3 * D + 3 * g * o, *h = own + (int64_t)i * 3 * D + 3 * g * o;
      const float *b = c->bias + 3 * g * o, *former = deter + (int64_t)i * ldd + g * o;
      float *next = after + (int64_t)i * lda + g * o;
      SIMD for (int j = 0; j < o; j++) {
        float reset = sigmoid(x[j] + b[j] + h[j]), update = sigmoid(x[o + j] + b[o + j] + h[o + j] - 1);
        float candidate = fast_tanh(x[2 * o + j] + b[2 * o + j] + reset * h[2 * o + j]);
        next[j] = former[j] + update * (candidate - former[j]);
      }
    }
}

void advance(const struct advance *a) {
  int C = (int)(a->S * a->K);
  for (int64_t at = 0; at < a->n; at += a->portion) {
    int n = (int)MIN(a->portion, a->n - at), ldd = (int)a->ld_deter, lds = (int)a->ld_stoch, lda = (int)a->ld_after;
    const float *deter = a->deter + at * ldd, *stoch = a->stoch + at * lds, *action = a->action + at * a->ld_action;
    float *after = a->after + at * lda, *logits = a->work, *one = logits + (int64_t)n * C, *two = one + n * a->widest;
    if (a->cell)
      block(a->cell, n, deter, ldd, stoch, lds, action, a->ld_action, after, lda, two + n * a->widest);
    else
      grus(a->grus, n, deter, ldd, stoch, lds, action, a->ld_action, after, lda, two + n * a->widest);
    layers(a->head, (int)a->count, n, after, lda, (float *const[]){one, two}, logits);
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
  const struct cell *c = r->cell;
  int64_t B = r->B, D = c->D, U = c->U, C = c->C, P = r->P;
  int n = (int)B;
  for (int64_t t = 0; t < r->T; t++) {
    float *deter = r->deter + t * B * D, *stoch = r->stoch + t * B * C, *after = r->after + t * B * D;
    carry(B, D, r->going + t * B, t ? after - B * D : r->first_deter, deter);
    carry(B, C, r->going + t * B, t ? r->hot + (t - 1) * B * C : r->first_stoch, stoch);
    struct step s = {
        r->normed + t * B * 2 * U,    r->deter_inverse + t * B, r->stoch_inverse + t * B, r->inputs + t * B * 2 * U,
        r->hidden_normed + t * B * D, r->hidden_inverse + t * B, r->hidden + t * B * D,   r->gates + t * B * 3 * D};
    memcpy(s.hidden_normed, r->action + t * B * D, (size_t)(B * D) * sizeof(float));
    step(c, n, deter, (int)D, stoch, (int)C, &s, after, (int)D);
    float *x = r->seen_normed + t * B * P, *seen = r->seen + t * B * P, *logits = r->softmax + t * B * C;
    memcpy(x, r->token + t * B * P, (size_t)(B * P) * sizeof(float));
    through(1, n, (int)P, (int)D, after, (int)D, r->seen_turned, (int)P, 1, x, (int)P);
    norm_silu(B, P, x, P, 0, r->seen_scale, x, P, seen, P, r->seen_inverse + t * B);
    through(1, n, (int)C, (int)P, seen, (int)P, r->logits_turned, (int)C, 0, logits, (int)C);
    latents(n, (int)r->S, (int)r->K, r->share, r->logits_bias, logits, r->probs + t * B * C, r->hot + t * B * C, C,
            r->uniform + t * r->S * B, B);
  }
}

/* From the gradient of the next state (n, D), which becomes what of it goes past the gates, that of the gates */
static void gates_back(int n, int D, int G, const float *former, const float *gates, float *after, float *into) {
  int o = D / G;
  for (int64_t g = 0; g < (int64_t)n * G; g++, former += o, after += o, gates += 3 * o, into += 3 * o) {
    const float *r = gates, *raw = r + o, *u = raw + o;
    SIMD for (int j = 0; j < o; j++) {
      float candidate = fast_tanh(r[j] * raw[j]), into_candidate = after[j] * u[j];
      float inner = into_candidate * (1 - candidate * candidate);
      into[j] = inner * raw[j] * r[j] * (1 - r[j]);
      into[o + j] = inner * r[j];
      into[2 * o + j] = after[j] * (candidate - former[j]) * u[j] * (1 - u[j]);
      after[j] -= into_candidate;
    }
  }
}

void unroll_back(const struct unroll *r) {
  const struct cell *c = r->cell; /* not turned */
  int64_t B = r->B, D = c->D, U = c->U, C = c->C, P = r->P, wide = 2 * U;
  int n = (int)B, G = (int)c->G, o = (int)D / G;
  float *scales = r->into_scales, *biases = scales + 2 * U + D + P;
  float *hidden = r->work, *inputs = hidden + B * D, *seen = inputs + 2 * B * U;
  for (int64_t t = r->T - 1; t >= 0; t--) {
    float *after = r->into_after + t * B * D, *logits = r->into_logits + t * B * C;
    float *x = r->into_hidden + t * B * D, *in = r->into_inputs + t * B * wide, *gates = r->into_gates + t * B * 3 * D;
    float *tokens = r->into_seen + t * B * P;
    const float *normed = r->normed + t * B * wide;
    latents_back(B * r->S, (int)r->K, r->share, r->into_probs + t * B * C, r->softmax + t * B * C, logits);
    back(n, (int)C, (int)P, logits, (int)C, r->logits_weight, (int)P, 0, seen, (int)P);
    norm_silu_back(B, P, seen, P, r->seen_normed + t * B * P, P, r->seen_inverse + t * B, r->seen_scale, tokens, P,
                   scales + 2 * U + D, biases + 2 * U + D);
    back(n, (int)P, (int)D, tokens, (int)P, r->seen_weight, (int)r->ld_seen, 1, after, (int)D);
    gates_back(n, (int)D, G, r->deter + t * B * D, r->gates + t * B * 3 * D, after, gates);
    for (int g = 0; g < G; g++)
      back(n, 3 * o, o, gates + 3 * g * o, 3 * (int)D, c->gates + (int64_t)g * 3 * o * o, o, 0, hidden + g * o, (int)D);
    norm_silu_back(B, D, hidden, D, r->hidden_normed + t * B * D, D, r->hidden_inverse + t * B, c->hidden_scale, x, D,
                   scales + 2 * U, biases + 2 * U);
    back(n, (int)D, (int)wide, x, (int)D, c->shared, (int)c->ld_shared, 0, inputs, (int)wide);
    norm_silu_back(B, U, inputs, wide, normed, wide, r->deter_inverse + t * B, c->deter_scale, in, wide, scales,
                   biases);
    norm_silu_back(B, U, inputs + U, wide, normed + U, wide, r->stoch_inverse + t * B, c->stoch_scale, in + U, wide,
                   scales + U, biases + U);
    if (!t) break; /* nothing learns from the state before the first step */
    for (int g = 0; g < G; g++)
      back(n, o, o, x + g * o, (int)D, c->own + g * c->own_step, (int)c->ld_own, 1, after + g * o, (int)D);
    back(n, (int)U, (int)D, in, (int)wide, c->deter, (int)D, 1, after, (int)D);
    float *former = after - B * D, *probs = r->into_probs + (t - 1) * B * C, *stoch = logits - B * C;
    back(n, (int)U, (int)C, in + U, (int)wide, c->stoch, (int)C, 0, stoch, (int)C);
    for (int64_t i = 0; i < B; i++) {
      float going = r->going[t * B + i];
      SIMD for (int64_t j = i * D; j < (i + 1) * D; j++) former[j] += going * after[j];
      SIMD for (int64_t j = i * C; j < (i + 1) * C; j++) probs[j] += going * stoch[j];
    }
  }
}
