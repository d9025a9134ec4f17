/* Matrix products of factors of bfloat16, and perceptrons of them, at up to twice the speed of single precision on
 * processors that multiply pairs of them (AVX-512 BF16). `ops/products.py` and `nets/fused_reduced.py` call them.
 *
 * Everything is summed in single precision. What comes out is off by 2.3e-3 of a typical element of the product. */

#include "reduced.h"

#define OF(name) bfloat_##name

#ifdef __AVX512BF16__
#include <immintrin.h>

#define AVAILABLE
enum { ROWS = 6 };

static int64_t deep(int64_t k) { return whole(k, 2); }
#include "pairs.h"

/* sums (ROWS, 64) of a panel (k / 2, 64) and rows as `pack_rows` leaves them */
static void tile(int64_t k, const uint16_t *panel, const uint32_t *rows, float *sums) {
  int64_t pitch = words(k);
  __m512 a[ROWS][4];
  _Pragma("GCC unroll 8") for (int i = 0; i < ROWS; i++)
    _Pragma("GCC unroll 4") for (int j = 0; j < 4; j++) a[i][j] = _mm512_setzero_ps();
  for (int64_t p = 0; p < deep(k) / 2; p++, panel += 2 * ACROSS) {
    __m512bh part[4];
    _Pragma("GCC unroll 4") for (int j = 0; j < 4; j++) part[j] = (__m512bh)_mm512_loadu_si512(panel + 32 * j);
    _Pragma("GCC unroll 8") for (int i = 0; i < ROWS; i++) {
      __m512bh b = (__m512bh)_mm512_set1_epi32((int)rows[i * pitch + p]);
      _Pragma("GCC unroll 4") for (int j = 0; j < 4; j++) a[i][j] = _mm512_dpbf16_ps(a[i][j], b, part[j]);
    }
  }
  _Pragma("GCC unroll 8") for (int i = 0; i < ROWS; i++)
    _Pragma("GCC unroll 4") for (int j = 0; j < 4; j++) _mm512_storeu_ps(sums + i * ACROSS + 16 * j, a[i][j]);
}
#endif

#include "packed.h"
