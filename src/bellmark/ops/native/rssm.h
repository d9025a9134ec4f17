/* What `rssm.c` is handed: the same structs, field by field, are in `nets/fused.py` and `nets/unroll_fused.py`. */

#include "numbers.h"

#define MIN(a, b) ((a) < (b) ? (a) : (b))

typedef void (*gemm)(const char *, const char *, const int *, const int *, const int *, const float *, const float *,
                     const int *, const float *, const int *, const float *, float *, const int *);
extern gemm sgemm __attribute__((visibility("hidden"))); /* handed in by `use` */

/* A layer; without a scale it is linear, and its bias may be added later. */
struct layer {
  const float *weight, *bias, *scale; /* (outputs, inputs), or (inputs, outputs) where `turned` */
  int64_t inputs, outputs, turned;
};

struct cell {
  const float *deter, *stoch, *own, *shared, *gates; /* (U, D), (U, C), G (o, o), (D, 2 U or 3 U), G (3 o, o) */
  const float *deter_bias, *stoch_bias, *gates_bias, *deter_scale, *stoch_scale, *hidden_scale;
  int64_t D, G, U, S, K;
  int64_t turned; /* every matrix is transposed */
  int64_t ld_deter, ld_stoch, ld_own, own_step, ld_shared, ld_gates;
  float share; /* of uniform in the latents */
};

/* What a step leaves, in rows: both inputs (of the state and of the latents) side by side. */
struct step {
  float *normed, *deter_inverse, *stoch_inverse, *inputs, *hidden_normed, *hidden_inverse, *hidden, *gates;
};

/* One step of n states without gradient, from deter, stoch and action: the recurrent state to `after`, its latents to
 * `hot`. `head` are the layers of the prior or the posterior, whose input is `after` and what follows it in memory;
 * the bias of their logits is apart. `work` holds `portion` rows of 3 U + 4 D + C + 2 W + A numbers, W the head's
 * widest layer. */
struct advance {
  const struct cell *cell;
  const struct layer *head, *from_action;
  const float *bias, *logits_bias; /* (D) of the hidden layer, (C) */
  const float *deter, *stoch, *action, *uniform;
  float *after, *hot, *work;
  int64_t count, n, portion, widest;
  int64_t ld_deter, ld_stoch, ld_action, ld_after, ld_hot;
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
  int64_t T, B, P, ld_seen;
};

void mean_bin(int64_t n, int64_t K, const float *logits, const float *upper, float *work, float *out);
