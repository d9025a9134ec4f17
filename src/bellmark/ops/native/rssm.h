/* What the passes are handed: the same structs, field by field, are in `nets/fused.py`, `nets/unroll_cells.py` and
 * `nets/unroll_fused.py`. */

#include "numbers.h"

#define MIN(a, b) ((a) < (b) ? (a) : (b))

typedef void (*gemm)(const char *, const char *, const int *, const int *, const int *, const float *, const float *,
                     const int *, const float *, const int *, const float *, float *, const int *);
extern gemm sgemm __attribute__((visibility("hidden"))); /* handed in by `use` */

enum { LINEAR, SILU, RELU };

/* A layer; with a scale, what is active is normed first. Without activation, its bias may be added later. */
struct layer {
  const float *weight, *bias, *scale; /* (outputs, inputs), or (inputs, outputs) where `turned` */
  int64_t inputs, outputs, turned, active;
};

/* The block-diagonal cell. Without `bias` (D), the hidden layer's, what comes of the action is known already. */
struct cell {
  const float *deter, *stoch, *own, *shared, *gates; /* (U, D), (U, C), G (o, o), (D, 2 U or 3 U), G (3 o, o) */
  const float *deter_bias, *stoch_bias, *gates_bias, *deter_scale, *stoch_scale, *hidden_scale, *bias;
  const struct layer *from_action;
  int64_t D, G, U, C;
  int64_t turned; /* every matrix is transposed */
  int64_t ld_deter, ld_stoch, ld_own, own_step, ld_shared, ld_gates;
};

/* GRUs side by side: gates of every one in the order reset, update, candidate */
struct grus {
  const float *inputs, *recurrent, *bias; /* (3 D, U + A), G (3 o, o), (3 D); matrices may be `turned` */
  const struct layer *from_stoch;
  int64_t D, G, A, turned, ld_inputs;
};

/* n states from deter (n, D), stoch (n, C) and action (n, A) to after (n, D); rows are ld apart */
struct states {
  const float *deter, *stoch, *action;
  float *after;
  int64_t ld_deter, ld_stoch, ld_action, ld_after;
};

/* One step of n states without gradient, and its latents to `hot`. `head` are the layers of the prior or the posterior,
 * whose input is `after` and what follows it in memory; the bias of their logits is apart. `work` holds `portion` rows of
 * C + 2 W numbers, W the head's widest layer, and of what the cell needs. */
struct advance {
  const struct cell *cell; /* one of the two */
  const struct grus *grus;
  struct states all;
  const struct layer *head;
  const float *logits_bias, *uniform;
  float *hot, *work;
  int64_t count, n, portion, widest, S, K, ld_hot;
  float share; /* of uniform in the latents */
};

/* T steps of a cell, which is turned on the way there and is not on the way back: what they leave for the gradient,
 * (T, B, .) each, and what the gradient leaves. */
struct block_path {
  const struct cell *cell;
  float *normed, *deter_inverse, *stoch_inverse, *inputs, *hidden_normed, *hidden_inverse, *hidden, *gates;
  float *into_hidden, *into_inputs, *into_gates;
  float *into_scales; /* (2, 2 U + D) deter U, stoch U, hidden D: of the norms' scales, then of biases before them */
  float *work;        /* B (D + 2 U) */
};
struct gru_path {
  const struct grus *cell;
  float *before, *embedded, *gates, *own; /* latents before and after activation (U), (3 D) each */
  float *into_gates, *into_before, *into_own;
};

struct unroll {
  const struct block_path *block; /* one of the two */
  const struct gru_path *grus;
  const float *seen_weight, *seen_turned, *seen_scale; /* of the posterior's hidden layer: (P, D), (D, P), (P) or none */
  const float *logits_weight, *logits_turned, *logits_bias; /* (C, P), (P, C), (C) */
  const float *first_deter, *first_stoch;                   /* (B, D), (B, C) before the first step */
  const float *action, *token, *going, *uniform; /* (T, B, .) what the cell makes of it, (T, B, P), (T, B), (T, S, B) */
  float *deter, *stoch, *after, *seen_normed, *seen_inverse, *seen, *softmax, *probs, *hot; /* left, (T, B, .) each */
  float *into_after, *into_probs;                  /* (T, B, D), (T, B, C), both consumed */
  float *into_seen, *into_logits, *into_seen_scale; /* (T, B, P), (T, B, C), (2, P) */
  int64_t T, B, D, S, K, P, ld_seen, active;
  float share;
};

#define HIDDEN __attribute__((visibility("hidden")))

/* ---- layers.c ---- */

/* y (n, m) = beta y + x (n, k) w (m, k)^T; `turned`: w is (k, m), which is faster */
HIDDEN void through(int turned, int n, int m, int k, const float *x, int ldx, const float *w, int ldw, float beta,
                    float *y, int ldy);
/* before = x + bias, or x itself without one; out = silu or relu of it; all three may be the same */
HIDDEN void activate(int64_t active, int64_t n, int64_t f, const float *x, int64_t ldx, const float *bias,
                     float *before, float *out, int64_t ldo);
/* Gradients of `before`; `into` may be dy */
HIDDEN void activate_back(int64_t active, int64_t count, const float *dy, const float *before, float *into);
/* y (n, outputs), rows ldy apart, from x */
HIDDEN void layer(const struct layer *l, int n, const float *x, int ldx, float *y, int ldy);
/* x (n, ldx) through layers; the last one's outputs to y (n, outputs), others in turns to two scratches */
HIDDEN void layers(const struct layer *l, int count, int n, const float *x, int ldx, float *const scratch[2], float *y);
void norm_silu(int64_t n, int64_t f, const float *x, int64_t ldx, const float *bias, const float *scale, float *normed,
               int64_t ldn, float *out, int64_t ldo, float *inverse);
void norm_silu_back(int64_t n, int64_t f, const float *dy, int64_t ld, const float *normed, int64_t ldn,
                    const float *inverse, const float *scale, float *into, int64_t ldi, float *dscale, float *dbias);

/* ---- latents.c ---- */

/* logits (n, C) plus bias, in place, to softmax; draws by uniform (S, n), rows `step` apart */
HIDDEN void latents(int n, int S, int K, float share, const float *bias, float *logits, float *probs, float *hot,
                    int64_t ldh, const float *uniform, int64_t step);
/* From dprobs (n, C): gradients of logits */
HIDDEN void latents_back(int64_t groups, int K, float share, const float *dprobs, const float *softmax, float *into);

/* ---- cells.c: one step without gradient (`w` as `nets/fused.py` says); step t of a path; its gradient ----
 * Back: after (B, D) is the gradient of the next state and becomes that of `deter`; stoch (B, C) gets that of the
 * latents. Without stoch nothing learns from the state before, and both are left. */

HIDDEN void block_free(const struct cell *c, int n, const struct states *s, float *w);
HIDDEN void grus_free(const struct grus *c, int n, const struct states *s, float *w);
HIDDEN void block_step(const struct block_path *p, int64_t t, int64_t B, const float *deter, const float *stoch,
                       const float *action, float *after);
HIDDEN void grus_step(const struct gru_path *p, int64_t t, int64_t B, const float *deter, const float *stoch,
                      const float *action, float *after);
HIDDEN void block_back(const struct block_path *p, int64_t t, int64_t B, const float *deter, float *after,
                       float *stoch);
HIDDEN void grus_back(const struct gru_path *p, int64_t t, int64_t B, const float *deter, float *after, float *stoch);

/* ---- bins.c ---- */

void mean_bin(int64_t n, int64_t K, const float *logits, const float *upper, float *work, float *out);
