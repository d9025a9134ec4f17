/* How factors of bfloat16 are packed, for `bfloat.c` and `amx.c`, which say how `deep` their panels are: words hold two
 * neighbours along k, the first one below. A factor keeps 8 bits and the whole range of single precision. */

static int64_t words(int64_t k) { return whole(k, 32) / 2; }

static float scale_of(int below, int64_t rows, int64_t columns, const float *x, int64_t ld) {
  (void)below, (void)rows, (void)columns, (void)x, (void)ld;
  return 1;
}

/* 32 neighbouring floats, of which the first `count` are there: 16 words */
static inline __m512i words_along(int64_t count, const float *x) {
  __m512 first = _mm512_maskz_loadu_ps(FIRST(count), x), second = _mm512_maskz_loadu_ps(FIRST(count - 16), x + 16);
  return (__m512i)_mm512_cvtne2ps_pbh(second, first);
}

/* 16 columns, of which those in `mask` are there, of two rows, of which the second is `both`: 16 words */
static inline __m512i words_across(__mmask16 mask, int both, const float *x, int64_t ld) {
  __m512 second = _mm512_maskz_loadu_ps(both ? mask : 0, x + ld);
  __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, x)));
  __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(second));
  return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}

/* 16 x 16 words turned, in place: rows i and i + 8 interleaved, four times over */
static void turn(__m512i x[16]) {
  const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
  for (int round = 0; round < 4; round++) {
    __m512i was[16];
    memcpy(was, x, sizeof was);
    for (int i = 0; i < 8; i++) {
      x[2 * i] = _mm512_permutex2var_epi32(was[i], low, was[i + 8]);
      x[2 * i + 1] = _mm512_permutex2var_epi32(was[i], high, was[i + 8]);
    }
  }
}

/* 64 lines of a (lines, k) as panel (deep(k) / 2, 64) of words, zeros beyond `lines` and k; element (i, p) lies at i + p ld,
 * or turned at p + i ld */
static void pack_panel(int turned, int64_t lines, int64_t k, const float *a, int64_t ld, float by, uint16_t *to) {
  (void)by;
  uint32_t *panel = (uint32_t *)to;
  for (int64_t i = 0; i < ACROSS; i += 16) {
    int64_t left = lines - i;
    if (turned)
      for (int64_t p = 0; p < k; p += 32) {
        __m512i x[16];
        for (int64_t j = 0; j < 16; j++) x[j] = j < left ? words_along(k - p, a + p + (i + j) * ld) : _mm512_setzero_si512();
        turn(x);
        for (int64_t q = 0; q < MIN(16, (deep(k) - p) / 2); q++)
          _mm512_storeu_si512(panel + (p / 2 + q) * ACROSS + i, x[q]);
      }
    else
      for (int64_t p = 0; p < deep(k); p += 2) {
        __mmask16 mask = p < k ? FIRST(left) : 0;
        _mm512_storeu_si512(panel + p / 2 * ACROSS + i, words_across(mask, p + 1 < k, a + i + p * ld, ld));
      }
  }
}

/* ROWS lines of b (k, lines) as (ROWS, words of k), whatever beyond `lines`; (p, j) lies at p + j ld, or turned at
 * j + p ld */
static void pack_rows(int turned, int64_t lines, int64_t k, const float *b, int64_t ld, float by, uint32_t *to) {
  (void)by;
  int64_t pitch = words(k);
  for (int64_t p = 0; p < k; p += 32) {
    __m512i x[16];
    if (turned) {
      for (int64_t q = 0; q < 16; q++) {
        int64_t at = p + 2 * q;
        x[q] = at < k ? words_across(FIRST(lines), at + 1 < k, b + at * ld, ld) : _mm512_setzero_si512();
      }
      turn(x);
    }
    for (int64_t j = 0; j < lines; j++)
      _mm512_storeu_si512(to + j * pitch + p / 2, turned ? x[j] : words_along(k - p, b + p + j * ld));
  }
}
