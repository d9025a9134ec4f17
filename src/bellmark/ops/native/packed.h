/* Products and perceptrons of a format, which has said, where it is AVAILABLE: how many ROWS a tile has, how `deep` its
 * panels are and how many `words` a row has for k products, what `scale_of` a factor is, `pack_panel`, `pack_rows`, `tile`. */

#ifdef AVAILABLE

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

/* c (12 of n lines, m) from packed panels and rows */
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
}

/* x (n, inputs of the first layer), or with `joined` what the first layer's weights made of it, through layers with a norm
 * and Mish and a last one, normed where it has a scale, to out (n, outputs of the last): a portion of rows at a time, which
 * stays in the cache between layers. x is kept as it is. */
void OF(perceptron)(const struct normed *l, int64_t count, int64_t n, const float *x, int64_t joined, float *out) {
  static _Thread_local struct room for_panels, for_rows, for_lines;
  int64_t widest = joined ? 0 : l[0].inputs, size = 0;
  for (int64_t i = 0; i < count; i++) {
    widest = MAX(widest, l[i].outputs);
    size += whole(l[i].outputs, ACROSS) * deep(l[i].inputs);
  }
  uint16_t *panels = room_for(&for_panels, (int64_t)sizeof(uint16_t) * size), *into = panels;
  float back[count];
  for (int64_t i = joined; i < count; i++) {
    float by = scale_of(WEIGHTS, l[i].outputs, l[i].inputs, l[i].weight, l[i].outputs);
    for (int64_t j = 0; j < l[i].outputs; j += ACROSS, into += ACROSS * deep(l[i].inputs))
      pack_panel(0, MIN(ACROSS, l[i].outputs - j), l[i].inputs, l[i].weight + j, l[i].outputs, by, into);
    back[i] = 1 / by;
  }
  int64_t pitch = words(widest), given = joined ? l[0].outputs : l[0].inputs;
  float by_x = joined ? 1 : scale_of(WEIGHTS, given, n, x, given);
  if (!joined) back[0] /= by_x;
  uint32_t *rows = room_for(&for_rows, 2 * (int64_t)sizeof(uint32_t) * PORTION * pitch);
  float *y = room_for(&for_lines, (int64_t)sizeof(float) * ROWS * widest);
  for (int64_t at = 0; at < n; at += PORTION) {
    const uint16_t *weights = panels;
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
      if (i >= joined) weights += whole(m, ACROSS) * deep(l[i].inputs);
    }
  }
}

void OF(ready)(int64_t *ready) { *ready = 1; }

#else /* nobody calls these where the format is not ready */

void OF(sgemm)(const char *turn_a, const char *turn_b, const int *m, const int *n, const int *k, const float *alpha,
               const float *a, const int *lda, const float *b, const int *ldb, const float *beta, float *c,
               const int *ldc) {
  sgemm(turn_a, turn_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

void OF(perceptron)(const struct normed *l, int64_t count, int64_t n, const float *x, int64_t joined, float *out) {
  (void)l, (void)count, (void)n, (void)x, (void)joined, (void)out;
}

void OF(ready)(int64_t *ready) { *ready = 0; }

#endif
