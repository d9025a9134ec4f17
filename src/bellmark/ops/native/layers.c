/* Layers of the dreamer family on states as rows of floats: products, which are BLAS's, handed in by `__init__.py`, and what
 * lies between them, fused. Everything here has a twin in PyTorch (`nets/rms.py`), to which tests hold it.
 *
 * Letters: n rows (states), k inputs, m outputs. */

#include "rssm.h"

gemm sgemm;
void use(gemm product) { sgemm = product; }

void through(int turned, int n, int m, int k, const float *x, int ldx, const float *w, int ldw, float beta, float *y,
             int ldy) {
  const float one = 1;
  sgemm(turned ? "N" : "T", "N", &m, &n, &k, &one, w, &ldw, x, &ldx, &beta, y, &ldy);
}

/* ---- RMSNorm and SiLU ---- */

/* normed = (x + bias) rms(x + bias), out = silu(scale normed), inverse (n), which may be NULL, as the bias may;
 * normed may be x itself, and out where nobody asks for it. Rows are ldx, ldn, ldo numbers apart. */
void norm_silu(int64_t n, int64_t f, const float *x, int64_t ldx, const float *bias, const float *scale, float *normed,
               int64_t ldn, float *out, int64_t ldo, float *inverse) {
  for (int64_t i = 0; i < n; i++, x += ldx, normed += ldn, out += ldo) {
    const float *from = x;
    float square = 0;
    if (bias) {
      from = normed;
      REDUCE(square) for (int64_t j = 0; j < f; j++) {
        float y = x[j] + bias[j];
        normed[j] = y;
        square += y * y;
      }
    } else {
      REDUCE(square) for (int64_t j = 0; j < f; j++) square += x[j] * x[j];
    }
    float by = 1 / sqrtf(square / (float)f + EPS);
    if (inverse) inverse[i] = by;
    SIMD for (int64_t j = 0; j < f; j++) {
      float y = from[j] * by, z = y * scale[j];
      normed[j] = y;
      out[j] = z * sigmoid(z);
    }
  }
}

/* From dy, rows ld apart: into, rows ldi apart, which may be dy; adds to dscale and dbias (f) each */
void norm_silu_back(int64_t n, int64_t f, const float *dy, int64_t ld, const float *normed, int64_t ldn,
                    const float *inverse, const float *scale, float *into, int64_t ldi, float *dscale, float *dbias) {
  for (int64_t i = 0; i < n; i++, dy += ld, normed += ldn, into += ldi) {
    float mean = 0;
    REDUCE(mean) for (int64_t j = 0; j < f; j++) {
      float z = normed[j] * scale[j], s = sigmoid(z), inner = dy[j] * s * (1 + z * (1 - s));
      float product = inner * normed[j];
      dscale[j] += product;
      mean += product * scale[j];
      into[j] = inner * scale[j];
    }
    mean /= (float)f;
    float by = inverse[i];
    SIMD for (int64_t j = 0; j < f; j++) {
      into[j] = by * (into[j] - normed[j] * mean);
      dbias[j] += into[j];
    }
  }
}

/* ---- layers without gradient ---- */

void activate(int64_t active, int64_t n, int64_t f, const float *x, int64_t ldx, const float *bias, float *before,
              float *out, int64_t ldo) {
  for (int64_t i = 0; i < n; i++, x += ldx, before += ldo, out += ldo) {
    if (bias)
      SIMD for (int64_t j = 0; j < f; j++) before[j] = x[j] + bias[j];
    if (active == SILU)
      SIMD for (int64_t j = 0; j < f; j++) out[j] = before[j] * sigmoid(before[j]);
    else if (active == RELU)
      SIMD for (int64_t j = 0; j < f; j++) out[j] = before[j] < 0 ? 0 : before[j];
  }
}

void activate_back(int64_t active, int64_t count, const float *dy, const float *before, float *into) {
  if (active == SILU)
    SIMD for (int64_t j = 0; j < count; j++) {
      float s = sigmoid(before[j]);
      into[j] = dy[j] * s * (1 + before[j] * (1 - s));
    }
  else
    SIMD for (int64_t j = 0; j < count; j++) into[j] = before[j] <= 0 ? 0 : dy[j];
}

void layer(const struct layer *l, int n, const float *x, int ldx, float *y, int ldy) {
  int m = (int)l->outputs, k = (int)l->inputs;
  through((int)l->turned, n, m, k, x, ldx, l->weight, l->turned ? m : k, 0, y, ldy);
  if (l->scale)
    norm_silu(n, m, y, ldy, l->bias, l->scale, y, ldy, y, ldy, 0);
  else if (l->bias)
    activate(l->active, n, m, y, ldy, l->bias, y, y, ldy);
}

void layers(const struct layer *l, int count, int n, const float *x, int ldx, float *const scratch[2], float *y) {
  for (int i = 0; i < count; i++, l++) {
    float *into = i == count - 1 ? y : scratch[i % 2];
    layer(l, n, x, ldx, into, (int)l->outputs);
    x = into;
    ldx = (int)l->outputs;
  }
}

/* x (n, inputs) through the layers to y (n, outputs), a portion of rows after the other: they stay in the cache. With
 * `upper` (see `mean_bin`), y (n) are the mean bins of the outputs, and `last` holds those of a portion. */
void perceptron(const struct layer *l, int64_t count, int64_t n, int64_t portion, int64_t ldx, const float *x,
                float *one, float *other, float *y, const float *upper, float *last) {
  float *scratch[2] = {one, other};
  int64_t outputs = l[count - 1].outputs;
  for (int64_t at = 0; at < n; at += portion, x += portion * ldx) {
    int rows = (int)MIN(portion, n - at);
    layers(l, (int)count, rows, x, (int)ldx, scratch, upper ? last : y + at * outputs);
    if (upper) mean_bin(rows, outputs, last, upper, one, y + at);
  }
}
