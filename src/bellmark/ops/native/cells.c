/* The dreamer family's cells: a step of n states, and its gradient. Their twins are in `nets/rssm.py` and `nets/unroll.py`.
 *
 * Letters: n rows (states), D recurrent state in G blocks of o = D / G, U units, C latents, A action. */

#include <string.h>

#include "rssm.h"

/* x (n, k) = beta x + y (n, m) w (m, k) */
static void back(int n, int m, int k, const float *y, int ldy, const float *w, int ldw, float beta, float *x, int ldx) {
  through(1, n, k, m, y, ldy, w, ldw, beta, x, ldx);
}

/* Actions beyond [-1, 1] are cut */
static void bounded(int n, int A, const float *action, int64_t ld, float *into, int ldi) {
  for (int i = 0; i < n; i++, action += ld, into += ldi)
    for (int j = 0; j < A; j++) into[j] = action[j] > 1 ? 1 : action[j] < -1 ? -1 : action[j];
}

/* ---- block-diagonal ---- */

/* What a step leaves, in rows: both inputs (of the state and of the latents) side by side. */
struct step {
  float *normed, *deter_inverse, *stoch_inverse, *inputs, *hidden_normed, *hidden_inverse, *hidden, *gates;
};

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

void block_free(const struct cell *c, int n, const struct states *s, float *w) {
  int U = (int)c->U, A = (int)c->from_action->inputs;
  float *hidden = w + (int64_t)n * 3 * U, *gates = hidden + n * c->D, *acted = gates + n * 3 * c->D;
  struct step kept = {.normed = w, .inputs = w, .hidden_normed = hidden, .hidden = hidden, .gates = gates};
  bounded(n, A, s->action, s->ld_action, acted, A);
  layer(c->from_action, n, acted, A, w + 2 * U, 3 * U);
  step(c, n, s->deter, (int)s->ld_deter, s->stoch, (int)s->ld_stoch, &kept, s->after, (int)s->ld_after);
}

void block_step(const struct block_path *p, int64_t t, int64_t B, const float *deter, const float *stoch,
                const float *action, float *after) {
  const struct cell *c = p->cell;
  int64_t D = c->D, U = c->U, at = t * B;
  struct step s = {p->normed + at * 2 * U,    p->deter_inverse + at,  p->stoch_inverse + at, p->inputs + at * 2 * U,
                   p->hidden_normed + at * D, p->hidden_inverse + at, p->hidden + at * D,    p->gates + at * 3 * D};
  memcpy(s.hidden_normed, action + at * D, (size_t)(B * D) * sizeof(float));
  step(c, (int)B, deter, (int)D, stoch, (int)c->C, &s, after, (int)D);
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

void block_back(const struct block_path *p, int64_t t, int64_t B, const float *deter, float *after, float *stoch) {
  const struct cell *c = p->cell;
  int64_t U = c->U, D = c->D, wide = 2 * U, at = t * B;
  int n = (int)B, G = (int)c->G, o = (int)D / G;
  float *scales = p->into_scales, *biases = scales + wide + D, *hidden = p->work, *inputs = hidden + B * D;
  float *x = p->into_hidden + at * D, *in = p->into_inputs + at * wide, *gates = p->into_gates + at * 3 * D;
  const float *normed = p->normed + at * wide;
  gates_back(n, (int)D, G, deter, p->gates + at * 3 * D, after, gates);
  for (int g = 0; g < G; g++)
    back(n, 3 * o, o, gates + 3 * g * o, 3 * (int)D, c->gates + (int64_t)g * 3 * o * o, o, 0, hidden + g * o, (int)D);
  norm_silu_back(B, D, hidden, D, p->hidden_normed + at * D, D, p->hidden_inverse + at, c->hidden_scale, x, D,
                 scales + wide, biases + wide);
  back(n, (int)D, (int)wide, x, (int)D, c->shared, (int)c->ld_shared, 0, inputs, (int)wide);
  norm_silu_back(B, U, inputs, wide, normed, wide, p->deter_inverse + at, c->deter_scale, in, wide, scales, biases);
  norm_silu_back(B, U, inputs + U, wide, normed + U, wide, p->stoch_inverse + at, c->stoch_scale, in + U, wide,
                 scales + U, biases + U);
  if (!stoch) return;
  for (int g = 0; g < G; g++)
    back(n, o, o, x + g * o, (int)D, c->own + g * c->own_step, (int)c->ld_own, 1, after + g * o, (int)D);
  back(n, (int)U, (int)D, in, (int)wide, c->deter, (int)D, 1, after, (int)D);
  back(n, (int)U, (int)c->C, in + U, (int)wide, c->stoch, (int)c->C, 0, stoch, (int)c->C);
}

/* ---- GRUs side by side ---- */

/* after (n, D) from deter and what the embedded latents x (n, k) say beside `gates` (n, 3 D), which becomes reset,
 * update and candidate; own (n, 3 D) is what the state says */
static void gru(const struct grus *c, int n, int k, const float *x, const float *deter, int ldd, float *gates,
                float *own, float *after, int lda) {
  int D = (int)c->D, G = (int)c->G, o = D / G, turned = (int)c->turned;
  through(turned, n, 3 * D, k, x, k, c->inputs, (int)c->ld_inputs, 1, gates, 3 * D);
  for (int g = 0; g < G; g++)
    through(turned, n, 3 * o, o, deter + g * o, ldd, c->recurrent + (int64_t)g * 3 * o * o, turned ? 3 * o : o, 0,
            own + 3 * g * o, 3 * D);
  for (int i = 0; i < n; i++)
    for (int g = 0; g < G; g++) {
      float *r = gates + (int64_t)i * 3 * D + 3 * g * o, *u = r + o, *candidate = u + o;
      const float *h = own + (int64_t)i * 3 * D + 3 * g * o, *former = deter + (int64_t)i * ldd + g * o;
      float *next = after + (int64_t)i * lda + g * o;
      SIMD for (int j = 0; j < o; j++) {
        r[j] = sigmoid(r[j] + h[j]);
        u[j] = sigmoid(u[j] + h[o + j] - 1);
        candidate[j] = fast_tanh(candidate[j] + r[j] * h[2 * o + j]);
        next[j] = former[j] + u[j] * (candidate[j] - former[j]);
      }
    }
}

void grus_free(const struct grus *c, int n, const struct states *s, float *w) {
  int U = (int)c->from_stoch->outputs, A = (int)c->A, wide = U + A;
  int64_t D = c->D;
  float *gates = w + (int64_t)n * wide;
  layer(c->from_stoch, n, s->stoch, (int)s->ld_stoch, w, wide);
  bounded(n, A, s->action, s->ld_action, w + U, wide);
  for (int i = 0; i < n; i++) memcpy(gates + i * 3 * D, c->bias, (size_t)(3 * D) * sizeof(float));
  gru(c, n, wide, w, s->deter, (int)s->ld_deter, gates, gates + n * 3 * D, s->after, (int)s->ld_after);
}

void grus_step(const struct gru_path *p, int64_t t, int64_t B, const float *deter, const float *stoch,
               const float *action, float *after) {
  const struct grus *c = p->cell;
  const struct layer *l = c->from_stoch;
  int64_t D = c->D, U = l->outputs, at = t * B;
  int n = (int)B, C = (int)l->inputs;
  float *before = p->before + at * U, *embedded = p->embedded + at * U, *gates = p->gates + at * 3 * D;
  through((int)l->turned, n, (int)U, C, stoch, C, l->weight, l->turned ? (int)U : C, 0, before, (int)U);
  activate(l->active, B, U, before, U, l->bias, before, embedded, U);
  memcpy(gates, action + at * 3 * D, (size_t)(B * 3 * D) * sizeof(float));
  gru(c, n, (int)U, embedded, deter, (int)D, gates, p->own + at * 3 * D, after, (int)D);
}

void grus_back(const struct gru_path *p, int64_t t, int64_t B, const float *deter, float *after, float *stoch) {
  const struct grus *c = p->cell;
  const struct layer *l = c->from_stoch;
  int64_t D = c->D, U = l->outputs, at = t * B;
  int n = (int)B, G = (int)c->G, o = (int)D / G, C = (int)l->inputs;
  float *into = p->into_gates + at * 3 * D, *into_own = p->into_own + at * 3 * D, *before = p->into_before + at * U;
  const float *r = p->gates + at * 3 * D, *h = p->own + at * 3 * D;
  float *d = after, *x = into, *y = into_own;
  for (int64_t i = 0; i < B * G; i++, deter += o, d += o, r += 3 * o, h += 3 * o, x += 3 * o, y += 3 * o) {
    const float *u = r + o, *candidate = u + o;
    SIMD for (int j = 0; j < o; j++) {
      float inner = d[j] * u[j] * (1 - candidate[j] * candidate[j]);
      x[j] = y[j] = inner * h[2 * o + j] * r[j] * (1 - r[j]);
      x[o + j] = y[o + j] = d[j] * (candidate[j] - deter[j]) * u[j] * (1 - u[j]);
      x[2 * o + j] = inner;
      y[2 * o + j] = inner * r[j];
      d[j] -= d[j] * u[j];
    }
  }
  back(n, 3 * (int)D, (int)U, into, 3 * (int)D, c->inputs, (int)c->ld_inputs, 0, before, (int)U);
  activate_back(l->active, B * U, before, p->before + at * U, before);
  if (!stoch) return;
  for (int g = 0; g < G; g++)
    back(n, 3 * o, o, into_own + 3 * g * o, 3 * (int)D, c->recurrent + (int64_t)g * 3 * o * o, o, 1, after + g * o,
         (int)D);
  back(n, (int)U, C, before, (int)U, l->weight, C, 0, stoch, C);
}
