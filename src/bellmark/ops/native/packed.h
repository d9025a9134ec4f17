/* Products and perceptrons of a format, which has said, where it is AVAILABLE: how many ROWS a tile has, how `deep` its
 * panels are and how many `words` a row has for k products, what `scale_of` a factor is, `pack_panel`, `pack_rows`, `tile`;
 * and, if that is more than nothing, what to do before and after tiles (ENTER, LEAVE), and whether they are PERMITTED. */

#ifdef AVAILABLE

#ifndef ENTER
#define ENTER
#define LEAVE
#define PERMITTED 1
#endif

/* c (lines, m) = by sums + beta c; what was in c is not read when beta is 0 */
static void put(int64_t lines, int64_t m, const float *sums, float by, float beta, float *c, int64_t ld) {
  for (int64_t j = 0; j < lines; j++, c += ld, sums += ACROSS)
    if (beta == 0)
      SIMD for (int64_t i = 0; i < m; i++) c[i] = by * sums[i];
    else
      SIMD for (int64_t i = 0; i < m; i++) c[i] = by * sums[i] + beta * c[i];
}

/* Room that a thread keeps */
struct room {
  void *at;
  int64_t bytes;
};

static void *room_for(struct room *room, int64_t bytes) {
  if (bytes > room->bytes) {
    free(room->at);
    room->at = aligned_alloc(64, (size_t)((bytes + 63) / 64 * 64));
    room->bytes = bytes;
  }
  return room->at;
}

/* c (at most ROWS lines, m) from packed panels and rows */
static void block(int64_t lines, int64_t m, int64_t k, const uint16_t *panels, const uint32_t *rows, float by, float beta,
                  float *c, int64_t ld) {
  float sums[ROWS * ACROSS] __attribute__((aligned(64)));
  for (int64_t i = 0; i < m; i += ACROSS) {
    tile(k, panels + i * deep(k), rows, sums);
    put(lines, MIN(ACROSS, m - i), sums, by, beta, c + i, ld);
  }
}

/* As BLAS: c = alpha op(a) op(b) + beta c, all by columns */
void OF(sgemm)(const char *turn_a, const char *turn_b, const int *pm, const int *pn, const int *pk, const float *alpha,
                const float *a, const int *lda, const float *b, const int *ldb, const float *beta, float *c,
                const int *ldc) {
  static _Thread_local struct room for_panels, for_rows;
  int64_t m = *pm, n = *pn, k = *pk, turned_a = *turn_a != 'N', turned_b = *turn_b != 'N';
  int64_t wide = MAX(1, PANELS / (MAX(deep(k), 1) * ACROSS)) * ACROSS; /* columns that are packed at a time */
  uint16_t *panels = room_for(&for_panels, (int64_t)sizeof(uint16_t) * wide * deep(k));
  uint32_t *rows = room_for(&for_rows, (int64_t)sizeof(uint32_t) * words(k) * ROWS);
  float by_a = turned_a ? scale_of(ALIKE, k, m, a, *lda) : scale_of(ALIKE, m, k, a, *lda);
  float by_b = turned_b ? scale_of(ALIKE, n, k, b, *ldb) : scale_of(ALIKE, k, n, b, *ldb);
  float back = *alpha / by_a / by_b;
  ENTER
  for (int64_t first = 0; first < m; first += wide) {
    int64_t end = MIN(first + wide, m);
    for (int64_t i = first; i < end; i += ACROSS)
      pack_panel((int)turned_a, MIN(ACROSS, m - i), k, a + (turned_a ? i * *lda : i), *lda, by_a,
                 panels + (i - first) * deep(k));
    for (int64_t j = 0; j < n; j += ROWS) {
      pack_rows((int)turned_b, MIN(ROWS, n - j), k, b + (turned_b ? j : j * *ldb), *ldb, by_b, rows);
      block(MIN(ROWS, n - j), end - first, k, panels, rows, back, *beta, c + first + j * *ldc, *ldc);
    }
  }
  LEAVE
}

/* Mish to 7e-5 of itself, since what becomes of it is rounded to sixteen bits: e^y as 2^n 2^r with 2^r by five terms (3e-6
 * for |r| <= 1/2), 1 / d by the processor's estimate (6e-5) */
static inline __m512 roughly_mish(__m512 y) {
  __m512 t = _mm512_mul_ps(_mm512_min_ps(y, _mm512_set1_ps(20)), _mm512_set1_ps(1.44269504f));
  __m512 n = _mm512_roundscale_ps(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), r = _mm512_sub_ps(t, n);
  __m512 p = _mm512_fmadd_ps(r, _mm512_set1_ps(9.57009e-3f), _mm512_set1_ps(5.591786e-2f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.24024745f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.69312181f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.99999926f));
  __m512 w = _mm512_scalef_ps(p, n), up = _mm512_fmadd_ps(w, w, _mm512_add_ps(w, w));
  __m512 d = _mm512_rcp14_ps(_mm512_add_ps(up, _mm512_set1_ps(2)));
  return _mm512_mul_ps(y, _mm512_mul_ps(up, d));
}

#define PART(x, j) _mm512_maskz_loadu_ps(FIRST(m - (j)), (x) + (j))

/* x (lines, m) becomes Mish of the LayerNorm of x + bias; sums are of four at a time, which need not wait for each other */
static void norm_mish(int64_t lines, const struct normed *l, float *x) {
  int64_t m = l->outputs;
  for (int64_t row = 0; row < lines; row++, x += m) {
    __m512 sum[4] = {0}, square[4] = {0};
    for (int64_t from = 0; from < m; from += 64)
      _Pragma("GCC unroll 4") for (int u = 0; u < 4; u++) {
        int64_t j = from + 16 * u;
        __m512 biased = _mm512_add_ps(PART(x, j), PART(l->bias, j));
        _mm512_mask_storeu_ps(x + j, FIRST(m - j), biased);
        sum[u] = _mm512_add_ps(sum[u], biased);
      }
    float mean = _mm512_reduce_add_ps((sum[0] + sum[1]) + (sum[2] + sum[3])) / (float)m;
    __m512 centre = _mm512_set1_ps(mean);
    for (int64_t from = 0; from < m; from += 64)
      _Pragma("GCC unroll 4") for (int u = 0; u < 4; u++) {
        int64_t j = from + 16 * u;
        __m512 off = _mm512_maskz_sub_ps(FIRST(m - j), PART(x, j), centre);
        square[u] = _mm512_fmadd_ps(off, off, square[u]);
      }
    float variance = _mm512_reduce_add_ps((square[0] + square[1]) + (square[2] + square[3])) / (float)m;
    __m512 by = _mm512_set1_ps(1 / sqrtf(variance + NORM_EPS));
    for (int64_t j = 0; j < m; j += 16) {
      __m512 z = _mm512_mul_ps(_mm512_sub_ps(PART(x, j), centre), by);
      __m512 y = _mm512_fmadd_ps(z, PART(l->scale, j), PART(l->shift, j));
      _mm512_mask_storeu_ps(x + j, FIRST(m - j), roughly_mish(y));
    }
  }
}

/* The weights of layers as panels, one after the other, whole(outputs, 64) deep(inputs) numbers each, and what to multiply
 * products of them by */
void OF(pack)(const struct normed *l, int64_t count, uint16_t *panels, float *back) {
  for (int64_t i = 0; i < count; i++) {
    float by = scale_of(WEIGHTS, l[i].outputs, l[i].inputs, l[i].weight, l[i].outputs);
    for (int64_t j = 0; j < l[i].outputs; j += ACROSS, panels += ACROSS * deep(l[i].inputs))
      pack_panel(0, MIN(ACROSS, l[i].outputs - j), l[i].inputs, l[i].weight + j, l[i].outputs, by, panels);
    back[i] = 1 / by;
  }
}

/* Rows from `at` on of what comes in, packed; `y` is room for them */
static void pack_inputs(int64_t lines, const struct inputs *in, int64_t at, float by, float *y, uint32_t *packed) {
  int64_t wide = in->wide, more = in->wide_more;
  const float *x = in->x + at * wide;
  if (more) {
    for (int64_t j = 0; j < lines; j++) {
      memcpy(y + j * (wide + more), x + j * wide, sizeof(float) * (size_t)wide);
      memcpy(y + j * (wide + more) + wide, in->more + (at + j) * more, sizeof(float) * (size_t)more);
    }
    x = y;
  }
  pack_rows(0, lines, wide + more, x, wide + more, by, packed);
}

/* What comes in, n rows, through layers with a norm and Mish and a last one, normed where it has a scale, to out
 * (n, outputs of the last): a portion of rows at a time, which stays in the cache between layers. `panels` and `back` are
 * what `pack` left. */
void OF(perceptron)(const struct normed *l, int64_t count, const uint16_t *panels, const float *back, int64_t n,
                    const struct inputs *in, float *out) {
  static _Thread_local struct room for_rows, for_lines;
  int64_t widest = l[0].inputs;
  for (int64_t i = 0; i < count; i++) widest = MAX(widest, l[i].outputs);
  int64_t pitch = words(widest);
  float by_x = scale_of(WEIGHTS, in->wide, n, in->x, in->wide);
  if (in->wide_more) by_x = fminf(by_x, scale_of(WEIGHTS, in->wide_more, n, in->more, in->wide_more));
  int64_t portions = MAX(1, whole(n, PORTION) / PORTION), portion = whole((n + portions - 1) / portions, ROWS);
  uint32_t *rows = room_for(&for_rows, (int64_t)sizeof(uint32_t) * portion * pitch);
  float *y = room_for(&for_lines, (int64_t)sizeof(float) * ROWS * widest);
  ENTER
  for (int64_t at = 0; at < n; at += portion) {
    const uint16_t *weights = panels;
    for (int64_t i = 0; i < count; i++) {
      int64_t m = l[i].outputs, last = i == count - 1, shared = i == 0 && in->shared;
      for (int64_t j = 0; j < MIN(portion, n - at); j += ROWS) {
        uint32_t *packed = rows + j * pitch; /* of these rows: what goes into the layer, then what comes out of it */
        int64_t lines = MIN(ROWS, n - at - j);
        float *to = last ? out + (at + j) * m : y;
        if (i == 0) pack_inputs(lines, in, at + j, by_x, y, packed);
        if (shared)
          for (int64_t row = 0; row < lines; row++)
            memcpy(to + row * m, in->shared + (at + j + row) / in->each % in->count * m, sizeof(float) * (size_t)m);
        block(lines, m, l[i].inputs, weights, packed, i ? back[i] : back[i] / by_x, (float)shared, to, m);
        if (!last)
          norm_mish(lines, l + i, to);
        else if (l[i].scale)
          layer_norm(lines, m, 0, to, l[i].bias, l[i].scale, l[i].shift, NULL, NULL, to);
        else
          for (int64_t row = 0; row < lines; row++)
            SIMD for (int64_t q = 0; q < m; q++) to[row * m + q] += l[i].bias[q];
        if (!last) pack_rows(0, lines, m, to, m, 1, packed);
      }
      weights += whole(m, ACROSS) * deep(l[i].inputs);
    }
  }
  LEAVE
}

void OF(ready)(int64_t *ready) { *ready = PERMITTED; }

#else /* nobody calls these where the format is not ready */

void OF(sgemm)(const char *turn_a, const char *turn_b, const int *m, const int *n, const int *k, const float *alpha,
               const float *a, const int *lda, const float *b, const int *ldb, const float *beta, float *c,
               const int *ldc) {
  sgemm(turn_a, turn_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

void OF(pack)(const struct normed *l, int64_t count, uint16_t *panels, float *back) {
  (void)l, (void)count, (void)panels, (void)back;
}

void OF(perceptron)(const struct normed *l, int64_t count, const uint16_t *panels, const float *back, int64_t n,
                    const struct inputs *in, float *out) {
  (void)l, (void)count, (void)panels, (void)back, (void)n, (void)in, (void)out;
}

void OF(ready)(int64_t *ready) { *ready = 0; }

#endif
