/* What `rssm.c` is handed: the same structs, field by field, are in `nets/fused.py` and `nets/unroll_fused.py`. */

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
  int64_t D, G, A, turned;
};

/* What a step leaves, in rows: both inputs (of the state and of the latents) side by side. */
struct step {
  float *normed, *deter_inverse, *stoch_inverse, *inputs, *hidden_normed, *hidden_inverse, *hidden, *gates;
};

/* One step of n states without gradient, from deter, stoch and action: the recurrent state to `after`, its latents to
 * `hot`. `head` are the layers of the prior or the posterior, whose input is `after` and what follows it in memory;
 * the bias of their logits is apart. `work` holds `portion` rows of C + 2 W numbers, W the head's widest layer, and of
 * what the cell needs. */
struct advance {
  const struct cell *cell; /* one of the two */
  const struct grus *grus;
  const struct layer *head;
  const float *logits_bias; /* (C) */
  const float *deter, *stoch, *action, *uniform;
  float *after, *hot, *work;
  int64_t count, n, portion, widest, S, K;
  int64_t ld_deter, ld_stoch, ld_action, ld_after, ld_hot;
  float share; /* of uniform in the latents */
};

/* T steps: the cell is turned on the way there and is not on the way back. */
struct unroll {
  const struct cell *cell;
  const float *seen_weight, *seen_turned, *seen_scale; /* of the posterior's hidden layer: (P, D), (D, P), (P) */
  const float *logits_weight, *logits_turned, *logits_bias; /* (C, P), (P, C), (C) */
  const float *first_deter, *first_stoch;                   /* (B, D), (B, C) before the first step */
  const float *action, *token, *going, *uniform;            /* (T, B, D), (T, B, P), (T, B), (T, S, B) */
  /* left for the gradient, (T, B, .) each */
  float *deter, *stoch, *normed, *deter_inverse, *stoch_inverse, *inputs, *hidden_normed, *hidden_inverse, *hidden,
      *gates, *after, *seen_normed, *seen_inverse, *seen, *softmax, *probs, *hot;
  /* the gradient: of after (T, B, D) and of probs (T, B, C), both consumed; then what it leaves */
  float *into_after, *into_probs;
  float *into_inputs, *into_hidden, *into_gates, *into_seen, *into_logits; /* (T, B, .) */
  float *into_scales; /* deter U, stoch U, hidden D, seen P: of the norms; then biases before the norms likewise */
  float *work;        /* B (D + 2 U + P) */
  int64_t T, B, S, K, P, ld_seen;
  float share;
};

#define HIDDEN __attribute__((visibility("hidden")))

/* y (n, m) = beta y + x (n, k) w (m, k)^T; `turned`: w is (k, m), which is faster */
HIDDEN void through(int turned, int n, int m, int k, const float *x, int ldx, const float *w, int ldw, float beta,
                    float *y, int ldy);
/* y (n, outputs), rows ldy apart, from x */
HIDDEN void layer(const struct layer *l, int n, const float *x, int ldx, float *y, int ldy);
/* x (n, ldx) through layers; the last one's outputs to y (n, outputs), others in turns to two scratches */
HIDDEN void layers(const struct layer *l, int count, int n, const float *x, int ldx, float *const scratch[2], float *y);
void norm_silu(int64_t n, int64_t f, const float *x, int64_t ldx, const float *bias, const float *scale, float *normed,
               int64_t ldn, float *out, int64_t ldo, float *inverse);
void norm_silu_back(int64_t n, int64_t f, const float *dy, int64_t ld, const float *normed, int64_t ldn,
                    const float *inverse, const float *scale, float *into, int64_t ldi, float *dscale, float *dbias);
void mean_bin(int64_t n, int64_t K, const float *logits, const float *upper, float *work, float *out);
