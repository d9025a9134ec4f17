/* Matrix products of factors of half precision, and perceptrons of them, at up to twice the speed of single precision on
 * processors that multiply and add 32 halves at a time (AVX-512 FP16). `ops/products.py` and `nets/fused_half.py` call them.
 *
 * Each factor is first scaled by a power of two, so that no sum of DEPTH products overflows and nothing of consequence is
 * lost below. DEPTH products are summed in half precision, those sums in single. What comes out is off by 1.2e-3 of a
 * typical element of the product. */

#include <stdlib.h>
#include <string.h>

#include "rssm.h"

/* The same struct is in `nets/fused_half.py`. */
struct normed {
  const float *weight, *bias, *scale, *shift; /* (inputs, outputs), (outputs) */
  int64_t inputs, outputs;
};

void layer_norm(int64_t n, int64_t f, int64_t mish, float *x, const float *bias, const float *scale, const float *shift,
                float *normed, float *inverse, float *out);

#ifdef __AVX512FP16__
#include <immintrin.h>

#define MAX(a, b) ((a) > (b) ? (a) : (b))

enum { ACROSS = 64, ROWS = 12, DEPTH = 64, PANELS = 1 << 18 /* elements packed at a time: half a megabyte */ };
enum { PORTION = 96 }; /* rows that go through all layers together, a multiple of ROWS */
enum { ALIKE = 4, WEIGHTS = 1 }; /* largest elements: of both factors below 16; of weights, whose rows are normed, below 2 */

typedef _Float16 half;

/* A power of two that brings the largest of (columns, rows), `ld` apart, below 2^below and not below half of that; 1 for
 * zeros and what is not finite */
static float scale_of(int below, int64_t rows, int64_t columns, const float *x, int64_t ld) {
  float most = 0;
  for (int64_t j = 0; j < columns; j++, x += ld) {
    float here = 0;
    _Pragma("omp simd reduction(max : here)") for (int64_t i = 0; i < rows; i++) {
      float size = fabsf(x[i]);
      here = size > here ? size : here;
    }
    most = here > most ? here : most;
  }
  if (!(most > 1e-30f && most < 1e30f)) return 1;
  int exponent;
  frexpf(most, &exponent);
  return ldexpf(1, below - exponent);
}

/* 16 x 16 floats, rows `ld` apart, of which the first `lines` and `wide` columns are there: as halves, turned: out[column] */
static void turned_block(int64_t lines, int64_t wide, const float *x, int64_t ld, float by, __m256i *out) {
  __m256i x8[2][8];
  __mmask16 mask = wide >= 16 ? 0xffff : (__mmask16)((1u << wide) - 1);
  for (int64_t i = 0; i < 16; i++) {
    __m512 row = i < lines ? _mm512_maskz_loadu_ps(mask, x + i * ld) : _mm512_setzero_ps();
    x8[i / 8][i % 8] = _mm256_castph_si256(_mm512_cvtxps_ph(_mm512_mul_ps(row, _mm512_set1_ps(by))));
  }
  for (int g = 0; g < 2; g++)
    for (int round = 0; round < 3; round++) { /* rows i and i + 4 interleaved, three times over, are 8 columns */
      __m256i was[8];
      memcpy(was, x8[g], sizeof was);
      for (int i = 0; i < 4; i++) {
        x8[g][2 * i] = _mm256_unpacklo_epi16(was[i], was[i + 4]);
        x8[g][2 * i + 1] = _mm256_unpackhi_epi16(was[i], was[i + 4]);
      }
    }
  for (int i = 0; i < 8; i++) {
    out[i] = _mm256_permute2x128_si256(x8[0][i], x8[1][i], 0x20);
    out[i + 8] = _mm256_permute2x128_si256(x8[0][i], x8[1][i], 0x31);
  }
}

/* 64 lines of a (lines, k) as panel (k, 64), zeros beyond `lines`; element (i, p) lies at i + p ld, or turned at p + i ld */
static void pack_panel(int turned, int64_t lines, int64_t k, const float *a, int64_t ld, float by, half *to) {
  for (int64_t i = 0; i < ACROSS; i += 16) {
    int64_t left = MIN(16, lines - i);
    if (turned)
      for (int64_t p = 0; p < k; p += 16) {
        __m256i block[16];
        turned_block(left, k - p, a + p + i * ld, ld, by, block);
        for (int64_t q = 0; q < MIN(16, k - p); q++) _mm256_storeu_si256((__m256i *)(to + (p + q) * ACROSS + i), block[q]);
      }
    else {
      __mmask16 mask = left > 0 ? (__mmask16)((1u << left) - 1) : 0;
      for (int64_t p = 0; p < k; p++) {
        __m512 x = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, a + i + p * ld), _mm512_set1_ps(by));
        _mm256_storeu_ph(to + i + p * ACROSS, _mm512_cvtxps_ph(x));
      }
    }
  }
}

/* 12 lines of b (k, lines), every number twice, as (k / DEPTH, 12, DEPTH), whatever beyond `lines`; (p, j) lies at p + j ld,
 * or turned at j + p ld */
static void pack_rows(int turned, int64_t lines, int64_t k, const float *b, int64_t ld, float by, uint32_t *to) {
  for (int64_t p = 0; p < k; p += 16) {
    uint32_t *at = to + p / DEPTH * DEPTH * ROWS + p % DEPTH;
    __mmask16 mask = k - p >= 16 ? 0xffff : (__mmask16)((1u << (k - p)) - 1);
    __m256i block[16];
    if (turned) turned_block(MIN(16, k - p), lines, b + p * ld, ld, by, block);
    for (int64_t j = 0; j < lines; j++) {
      if (!turned) {
        __m512 x = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, b + p + j * ld), _mm512_set1_ps(by));
        block[j] = _mm256_castph_si256(_mm512_cvtxps_ph(x));
      }
      __m512i one = _mm512_cvtepu16_epi32(block[j]);
      _mm512_storeu_si512(at + j * DEPTH, _mm512_or_si512(one, _mm512_slli_epi32(one, 16)));
    }
  }
}

/* sums (12, 64) of a panel (k, 64) and rows as `pack_rows` leaves them */
static void tile(int64_t k, const half *panel, const uint32_t *rows, float *sums) {
  for (int64_t from = 0; from < k; from += DEPTH) {
    int64_t to = MIN(from + DEPTH, k);
    __m512h a[ROWS][2];
    const uint32_t *at = rows + from * ROWS;
    for (int i = 0; i < ROWS; i++) a[i][0] = a[i][1] = _mm512_setzero_ph();
    for (int64_t p = from; p < to; p++, at++) {
      __m512h left = _mm512_loadu_ph(panel + p * ACROSS), right = _mm512_loadu_ph(panel + p * ACROSS + 32);
      _Pragma("GCC unroll 16") for (int i = 0; i < ROWS; i++) {
        __m512h b = _mm512_castsi512_ph(_mm512_set1_epi32((int)at[i * DEPTH]));
        a[i][0] = _mm512_fmadd_ph(b, left, a[i][0]);
        a[i][1] = _mm512_fmadd_ph(b, right, a[i][1]);
      }
    }
    _Pragma("GCC unroll 16") for (int i = 0; i < ROWS; i++)
      _Pragma("GCC unroll 2") for (int j = 0; j < 2; j++) {
        float *sum = sums + i * ACROSS + j * 32;
        __m512i bits = _mm512_castph_si512(a[i][j]);
        __m512 low = _mm512_cvtxph_ps(_mm256_castsi256_ph(_mm512_castsi512_si256(bits)));
        __m512 high = _mm512_cvtxph_ps(_mm256_castsi256_ph(_mm512_extracti64x4_epi64(bits, 1)));
        if (from) low = _mm512_add_ps(low, _mm512_loadu_ps(sum)), high = _mm512_add_ps(high, _mm512_loadu_ps(sum + 16));
        _mm512_storeu_ps(sum, low);
        _mm512_storeu_ps(sum + 16, high);
      }
  }
}

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

static int64_t whole(int64_t count, int64_t by) { return (count + by - 1) / by * by; }

/* c (12 of n lines, m) from packed panels and rows */
static void block(int64_t lines, int64_t m, int64_t k, const half *panels, const uint32_t *rows, float by, float beta,
                  float *c, int64_t ld) {
  float sums[ROWS * ACROSS] __attribute__((aligned(64)));
  for (int64_t i = 0; i < m; i += ACROSS) {
    tile(k, panels + i * k, rows, sums);
    put(lines, MIN(ACROSS, m - i), sums, by, beta, c + i, ld);
  }
}

/* As BLAS: c = alpha op(a) op(b) + beta c, all by columns */
void half_sgemm(const char *turn_a, const char *turn_b, const int *pm, const int *pn, const int *pk, const float *alpha,
                const float *a, const int *lda, const float *b, const int *ldb, const float *beta, float *c,
                const int *ldc) {
  static _Thread_local struct room for_panels, for_rows;
  int64_t m = *pm, n = *pn, k = *pk, turned_a = *turn_a != 'N', turned_b = *turn_b != 'N';
  int64_t wide = MAX(1, PANELS / (MAX(k, 1) * ACROSS)) * ACROSS; /* columns that are packed at a time */
  half *panels = room_for(&for_panels, (int64_t)sizeof(half) * wide * k);
  uint32_t *rows = room_for(&for_rows, (int64_t)sizeof(uint32_t) * whole(k, DEPTH) * ROWS);
  float by_a = turned_a ? scale_of(ALIKE, k, m, a, *lda) : scale_of(ALIKE, m, k, a, *lda);
  float by_b = turned_b ? scale_of(ALIKE, n, k, b, *ldb) : scale_of(ALIKE, k, n, b, *ldb);
  float back = *alpha / by_a / by_b;
  for (int64_t first = 0; first < m; first += wide) {
    int64_t end = MIN(first + wide, m);
    for (int64_t i = first; i < end; i += ACROSS)
      pack_panel((int)turned_a, MIN(ACROSS, m - i), k, a + (turned_a ? i * *lda : i), *lda, by_a, panels + (i - first) * k);
    for (int64_t j = 0; j < n; j += ROWS) {
      pack_rows((int)turned_b, MIN(ROWS, n - j), k, b + (turned_b ? j : j * *ldb), *ldb, by_b, rows);
      block(MIN(ROWS, n - j), end - first, k, panels, rows, back, *beta, c + first + j * *ldc, *ldc);
    }
  }
}

/* x (n, inputs of the first layer), or with `joined` what the first layer's weights made of it, through layers with a norm
 * and Mish and a last one, normed where it has a scale, to out (n, outputs of the last): a portion of rows at a time, which
 * stays in the cache between layers. x is kept as it is. */
void half_perceptron(const struct normed *l, int64_t count, int64_t n, const float *x, int64_t joined, float *out) {
  static _Thread_local struct room for_panels, for_rows, for_lines;
  int64_t widest = joined ? 0 : l[0].inputs, size = 0;
  for (int64_t i = 0; i < count; i++) {
    widest = MAX(widest, l[i].outputs);
    size += whole(l[i].outputs, ACROSS) * l[i].inputs;
  }
  half *panels = room_for(&for_panels, (int64_t)sizeof(half) * size), *into = panels;
  float back[count];
  for (int64_t i = joined; i < count; i++) {
    float by = scale_of(WEIGHTS, l[i].outputs, l[i].inputs, l[i].weight, l[i].outputs);
    for (int64_t j = 0; j < l[i].outputs; j += ACROSS, into += ACROSS * l[i].inputs)
      pack_panel(0, MIN(ACROSS, l[i].outputs - j), l[i].inputs, l[i].weight + j, l[i].outputs, by, into);
    back[i] = 1 / by;
  }
  int64_t pitch = whole(widest, DEPTH), given = joined ? l[0].outputs : l[0].inputs;
  float by_x = joined ? 1 : scale_of(WEIGHTS, given, n, x, given);
  if (!joined) back[0] /= by_x;
  uint32_t *rows = room_for(&for_rows, 2 * (int64_t)sizeof(uint32_t) * PORTION * pitch);
  float *y = room_for(&for_lines, (int64_t)sizeof(float) * ROWS * pitch);
  for (int64_t at = 0; at < n; at += PORTION) {
    const half *weights = panels;
    for (int64_t i = 0; i < count; i++) {
      const uint32_t *from = rows + (i % 2) * PORTION * pitch;
      uint32_t *next = rows + (1 - i % 2) * PORTION * pitch;
      int64_t m = l[i].outputs, last = i == count - 1;
      for (int64_t j = 0; j < MIN(PORTION, n - at); j += ROWS) {
        int64_t lines = MIN(ROWS, n - at - j);
        const float *in = x + (at + j) * given;
        float *to = last ? out + (at + j) * m : y;
        if (i == 0 && joined) {
          memcpy(to, in, sizeof(float) * (size_t)(lines * m));
        } else {
          if (i == 0) pack_rows(0, lines, given, in, given, by_x, (uint32_t *)from + j * pitch);
          block(lines, m, l[i].inputs, weights, from + j * pitch, back[i], 0, to, m);
        }
        if (l[i].scale)
          layer_norm(lines, m, !last, to, l[i].bias, l[i].scale, l[i].shift, NULL, NULL, to);
        else
          for (int64_t row = 0; row < lines; row++)
            SIMD for (int64_t q = 0; q < m; q++) to[row * m + q] += l[i].bias[q];
        if (!last) pack_rows(0, lines, m, to, m, 1, next + j * pitch);
      }
      if (i >= joined) weights += whole(m, ACROSS) * l[i].inputs;
    }
  }
}

void half_ready(int64_t *ready) { *ready = 1; }
#else
void half_sgemm(const char *turn_a, const char *turn_b, const int *m, const int *n, const int *k, const float *alpha,
                const float *a, const int *lda, const float *b, const int *ldb, const float *beta, float *c,
                const int *ldc) {
  sgemm(turn_a, turn_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

void half_perceptron(const struct normed *l, int64_t count, int64_t n, const float *x, int64_t joined, float *out) {
  (void)l, (void)count, (void)n, (void)x, (void)joined, (void)out; /* nobody calls it where halves are not ready */
}

void half_ready(int64_t *ready) { *ready = 0; }
#endif
