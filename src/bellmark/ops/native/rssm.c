/* The dreamer family's layers and cell on states as rows of floats: what lies between matrix products, fused, and the
 * loops over steps and portions of rows. Products are BLAS's, handed in by `__init__.py`. Everything here has a twin in
 * PyTorch (`nets/rms.py`, `nets/rssm.py`, `nets/unroll.py`), to which tests hold it.
 *
 * Letters: n rows (states), D recurrent state in G blocks of o = D / G, U units, S latents of K classes, C = S K. */

#include <string.h>

#include "rssm.h"

gemm sgemm;
void use(gemm product) { sgemm = product; }

/* y (n, m) = beta y + x (n, k) w (m, k)^T; `turned`: w is (k, m), which is faster */
static void through(int turned, int n, int m, int k, const float *x, int ldx, const float *w, int ldw, float beta,
                    float *y, int ldy) {
  const float one = 1;
  sgemm(turned ? "N" : "T", "N", &m, &n, &k, &one, w, &ldw, x, &ldx, &beta, y, &ldy);
}

/* x (n, k) = beta x + y (n, m) w (m, k) */
static void back(int n, int m, int k, const float *y, int ldy, const float *w, int ldw, float beta, float *x, int ldx) {
  through(1, n, k, m, y, ldy, w, ldw, beta, x, ldx);
}

/* ---- RMSNorm and SiLU ---- */

/* normed = (x + bias) rms(x + bias), out = silu(scale normed), inverse (n), which may be NULL, as the bias may;
 * normed may be x itself, and out where nobody asks for it. Rows are ldx, ldn, ldo numbers apart. */
void norm_silu(int64_t n, int64_t f, const float *x, int64_t ldx, const float *bias, const float *scale, float *normed,
               int64_t ldn, float *out, int64_t ldo, float *inverse) {
  for (int64_t i = 0; i < n; i++, x += ldx, normed += ldn, out += ldo) {
    const float *from = x;
    float square = 0;
    if (bias) {
      from = normed;
      REDUCE(square) for (int64_t j = 0; j < f; j++) {
        float y = x[j] + bias[j];
        normed[j] = y;
        square += y * y;
      }
    } else {
      REDUCE(square) for (int64_t j = 0; j < f; j++) square += x[j] * x[j];
    }
    float by = 1 / sqrtf(square / (float)f + EPS);
    if (inverse) inverse[i] = by;
    SIMD for (int64_t j = 0; j < f; j++) {
      float y = from[j] * by, z = y * scale[j];
      normed[j] = y;
      out[j] = z * sigmoid(z);
    }
  }
}

/* From dy, rows ld apart: into, rows ldi apart, which may be dy; adds to dscale and dbias (f) each */
void norm_silu_back(int64_t n, int64_t f, const float *dy, int64_t ld, const float *normed, int64_t ldn,
                    const float *inverse, const float *scale, float *into, int64_t ldi, float *dscale, float *dbias) {
  for (int64_t i = 0; i < n; i++, dy += ld, normed += ldn, into += ldi) {
    float mean = 0;
    REDUCE(mean) for (int64_t j = 0; j < f; j++) {
      float z = normed[j] * scale[j], s = sigmoid(z), inner = dy[j] * s * (1 + z * (1 - s));
      float product = inner * normed[j];
      dscale[j] += product;
      mean += product * scale[j];
      into[j] = inner * scale[j];
    }
    mean /= (float)f;
    float by = inverse[i];
    SIMD for (int64_t j = 0; j < f; j++) {
      into[j] = by * (into[j] - normed[j] * mean);
      dbias[j] += into[j];
    }
  }
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

/* after (n, D) from deter and stoch. `hidden_normed` holds what comes of the action, or nothing: then `inputs` has a
 * third part, the action's, and `bias` is the hidden layer's. */
static void step(const struct cell *c, int n, const float *deter, int ldd, const float *stoch, int lds,
                 const struct step *s, const float *bias, float *after, int lda) {
  int D = (int)c->D, G = (int)c->G, U = (int)c->U, o = D / G, C = (int)(c->S * c->K), parts = bias ? 3 : 2;
  int wide = parts * U, turned = (int)c->turned;
  through(turned, n, U, D, deter, ldd, c->deter, (int)c->ld_deter, 0, s->normed, wide);
  through(turned, n, U, C, stoch, lds, c->stoch, (int)c->ld_stoch, 0, s->normed + U, wide);
  norm_silu(n, U, s->normed, wide, c->deter_bias, c->deter_scale, s->normed, wide, s->inputs, wide, s->deter_inverse);
  norm_silu(n, U, s->normed + U, wide, c->stoch_bias, c->stoch_scale, s->normed + U, wide, s->inputs + U, wide,
            s->stoch_inverse);
  float *x = s->hidden_normed;
  through(turned, n, D, wide, s->inputs, wide, c->shared, (int)c->ld_shared, bias ? 0 : 1, x, D);
  for (int g = 0; g < G; g++)
    through(turned, n, o, o, deter + g * o, ldd, c->own + g * c->own_step, (int)c->ld_own, 1, x + g * o, D);
  norm_silu(n, D, x, D, bias, c->hidden_scale, x, D, s->hidden, D, s->hidden_inverse);
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

/* ---- layers without gradient ---- */

/* x (n, ldx) through the layers; the last one's outputs to y (n, outputs), others in turns to two scratches */
static void layers(const struct layer *l, int count, int n, const float *x, int ldx, float *const scratch[2],
                   float *y) {
  for (int i = 0; i < count; i++, l++) {
    int m = (int)l->outputs, k = (int)l->inputs;
    float *into = i == count - 1 ? y : scratch[i % 2];
    through((int)l->turned, n, m, k, x, ldx, l->weight, l->turned ? m : k, 0, into, m);
    if (l->scale)
      norm_silu(n, m, into, m, l->bias, l->scale, into, m, into, m, 0);
    else if (l->bias)
      for (int r = 0; r < n; r++)
        SIMD for (int j = 0; j < m; j++) into[(int64_t)r * m + j] += l->bias[j];
    x = into;
    ldx = m;
  }
}

/* x (n, inputs) through the layers to y (n, outputs), a portion of rows after the other: they stay in the cache. With
 * `upper` (see `mean_bin`), y (n) are the mean bins of the outputs, and `last` holds those of a portion. */
void perceptron(const struct layer *l, int64_t count, int64_t n, int64_t portion, int64_t ldx, const float *x,
                float *one, float *other, float *y, const float *upper, float *last) {
  float *scratch[2] = {one, other};
  int64_t outputs = l[count - 1].outputs;
  for (int64_t at = 0; at < n; at += portion, x += portion * ldx) {
    int rows = (int)MIN(portion, n - at);
    layers(l, (int)count, rows, x, (int)ldx, scratch, upper ? last : y + at * outputs);
    if (upper) mean_bin(rows, outputs, last, upper, one, y + at);
  }
}

void advance(const struct advance *a) {
  const struct cell *c = a->cell;
  int D = (int)c->D, U = (int)c->U, C = (int)(c->S * c->K), A = (int)a->from_action->inputs;
  for (int64_t at = 0; at < a->n; at += a->portion) {
    int n = (int)MIN(a->portion, a->n - at);
    float *after = a->after + at * a->ld_after, *w = a->work;
    struct step s = {0};
    s.normed = s.inputs = w, w += (int64_t)n * 3 * U;
    s.hidden_normed = s.hidden = w, w += (int64_t)n * D;
    s.gates = w, w += (int64_t)n * 3 * D;
    float *logits = w, *scratch = w + (int64_t)n * C, *turns[2] = {scratch, scratch + n * a->widest};
    for (int i = 0; i < n; i++)
      for (int j = 0; j < A; j++) {
        float x = a->action[(at + i) * a->ld_action + j];
        scratch[i * A + j] = x > 1 ? 1 : x < -1 ? -1 : x;
      }
    float *acted = s.inputs + 2 * U;
    through((int)a->from_action->turned, n, U, A, scratch, A, a->from_action->weight,
            a->from_action->turned ? U : A, 0, acted, 3 * U);
    norm_silu(n, U, acted, 3 * U, a->from_action->bias, a->from_action->scale, acted, 3 * U, acted, 3 * U, 0);
    step(c, n, a->deter + at * a->ld_deter, (int)a->ld_deter, a->stoch + at * a->ld_stoch, (int)a->ld_stoch, &s,
         a->bias, after, (int)a->ld_after);
    layers(a->head, (int)a->count, n, after, (int)a->ld_after, turns, logits);
    latents(n, (int)c->S, (int)c->K, c->share, a->logits_bias, logits, logits, a->hot + at * a->ld_hot, a->ld_hot,
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
  int64_t B = r->B, D = c->D, U = c->U, C = c->S * c->K, P = r->P;
  int n = (int)B;
  for (int64_t t = 0; t < r->T; t++) {
    float *deter = r->deter + t * B * D, *stoch = r->stoch + t * B * C, *after = r->after + t * B * D;
    carry(B, D, r->going + t * B, t ? after - B * D : r->first_deter, deter);
    carry(B, C, r->going + t * B, t ? r->hot + (t - 1) * B * C : r->first_stoch, stoch);
    struct step s = {
        r->normed + t * B * 2 * U,    r->deter_inverse + t * B, r->stoch_inverse + t * B, r->inputs + t * B * 2 * U,
        r->hidden_normed + t * B * D, r->hidden_inverse + t * B, r->hidden + t * B * D,   r->gates + t * B * 3 * D};
    memcpy(s.hidden_normed, r->action + t * B * D, (size_t)(B * D) * sizeof(float));
    step(c, n, deter, (int)D, stoch, (int)C, &s, 0, after, (int)D);
    float *x = r->seen_normed + t * B * P, *seen = r->seen + t * B * P, *logits = r->softmax + t * B * C;
    memcpy(x, r->token + t * B * P, (size_t)(B * P) * sizeof(float));
    through(1, n, (int)P, (int)D, after, (int)D, r->seen_turned, (int)P, 1, x, (int)P);
    norm_silu(B, P, x, P, 0, r->seen_scale, x, P, seen, P, r->seen_inverse + t * B);
    through(1, n, (int)C, (int)P, seen, (int)P, r->logits_turned, (int)C, 0, logits, (int)C);
    latents(n, (int)c->S, (int)c->K, c->share, r->logits_bias, logits, r->probs + t * B * C, r->hot + t * B * C, C,
            r->uniform + t * c->S * B, B);
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
  int64_t B = r->B, D = c->D, U = c->U, C = c->S * c->K, P = r->P, wide = 2 * U;
  int n = (int)B, G = (int)c->G, o = (int)D / G;
  float *scales = r->into_scales, *biases = scales + 2 * U + D + P;
  float *hidden = r->work, *inputs = hidden + B * D, *seen = inputs + 2 * B * U;
  for (int64_t t = r->T - 1; t >= 0; t--) {
    float *after = r->into_after + t * B * D, *logits = r->into_logits + t * B * C;
    float *x = r->into_hidden + t * B * D, *in = r->into_inputs + t * B * wide, *gates = r->into_gates + t * B * 3 * D;
    float *tokens = r->into_seen + t * B * P;
    const float *normed = r->normed + t * B * wide;
    latents_back(B * c->S, (int)c->K, c->share, r->into_probs + t * B * C, r->softmax + t * B * C, logits);
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
