/* What products of factors of sixteen bits have in common: `half.c`, `bfloat.c` and `amx.c` each say how a format is packed
 * and multiplied, and `packed.h` makes products and perceptrons of that. */

#include <stdlib.h>
#include <string.h>

#include "rssm.h"

#define MAX(a, b) ((a) > (b) ? (a) : (b))

enum { ACROSS = 64, PANELS = 1 << 19 /* elements packed at a time: a megabyte */ };
enum { PORTION = 252 }; /* rows at most that go through a layer together: so often its weights are fetched */
enum { ALIKE = 4, WEIGHTS = 1 }; /* largest elements: of both factors below 16; of weights, whose rows are normed, below 2 */

/* The same structs are in `nets/fused_reduced.py`. */
struct normed {
  const float *weight, *bias, *scale, *shift; /* (inputs, outputs), (outputs) */
  int64_t inputs, outputs;
};

/* n rows that come in: x (n, wide), beside each one of `more` (n, wide_more), if any; and, unless it is missing, what the
 * first layer's weights made of other inputs that many rows share: of row r it is row r / each % count of `shared` */
struct inputs {
  const float *x, *more, *shared; /* (count, outputs of the first layer) */
  int64_t wide, wide_more, each, count;
};

void layer_norm(int64_t n, int64_t f, int64_t mish, float *x, const float *bias, const float *scale, const float *shift,
                float *normed, float *inverse, float *out);

static inline int64_t whole(int64_t count, int64_t by) { return (count + by - 1) / by * by; }

/* The first `count` of 16 lanes */
#define FIRST(count) ((count) >= 16 ? (__mmask16)0xffff : (count) > 0 ? (__mmask16)((1u << (count)) - 1) : (__mmask16)0)
