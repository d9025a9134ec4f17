/* Matrix products of factors of half precision, and perceptrons of them, at up to twice the speed of single precision on
 * processors that multiply and add 32 halves at a time (AVX-512 FP16). `ops/products.py` and `nets/fused_reduced.py` call them.
 *
 * Each factor is first scaled by a power of two, so that no sum of DEPTH products overflows and nothing of consequence is
 * lost below. DEPTH products are summed in half precision, those sums in single. What comes out is off by 1.2e-3 of a
 * typical element of the product. */

#include "reduced.h"

#define OF(name) half_##name

#ifdef __AVX512FP16__
#include <immintrin.h>

#define AVAILABLE
enum { ROWS = 12, DEPTH = 64 };

static int64_t deep(int64_t k) { return k; }
static int64_t words(int64_t k) { return whole(k, DEPTH); }

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
  __mmask16 mask = FIRST(wide);
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
static void pack_panel(int turned, int64_t lines, int64_t k, const float *a, int64_t ld, float by, uint16_t *to) {
  for (int64_t i = 0; i < ACROSS; i += 16) {
    int64_t left = MIN(16, lines - i);
    if (turned)
      for (int64_t p = 0; p < k; p += 16) {
        __m256i block[16];
        turned_block(left, k - p, a + p + i * ld, ld, by, block);
        for (int64_t q = 0; q < MIN(16, k - p); q++) _mm256_storeu_si256((__m256i *)(to + (p + q) * ACROSS + i), block[q]);
      }
    else {
      __mmask16 mask = FIRST(left);
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
    __mmask16 mask = FIRST(k - p);
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
static void tile(int64_t k, const uint16_t *panel, const uint32_t *rows, float *sums) {
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
#endif

#include "packed.h"
