/* Layers of the tdmpc family: LayerNorm, with Mish or without, and SimNorm, in one pass each way; `ops/activations.py` has
 * the same in PyTorch.
 *
 * With w = e^y and d = w^2 + 2 w + 2, Mish is y w (w + 2) / d, its slope w (4 (y + 1) + 4 w^2 + w^3 + w (4 y + 6)) / d^2.
 * Beyond y = 20 both are, in single precision, those of a straight line. */

#include "numbers.h"

#define LANES 16 /* groups that are worked on at a time */
#define INLINE static inline __attribute__((always_inline))

INLINE float grown(float y) { return fast_exp(y > 20 ? 20 : y); }

INLINE float active(float y) {
  float w = grown(y), up = w * (w + 2);
  return y * (up / (up + 2));
}

INLINE float slope(float y) {
  float w = grown(y), d = 1 / (w * (w + 2) + 2);
  return (w * d) * ((4 * (y + 1) + w * (4 * y + 6 + w * (4 + w))) * d);
}

INLINE void rows(int mish, int64_t n, int64_t f, float *x, const float *bias, const float *scale, const float *shift,
                 float *normed, float *inverse, float *out) {
  for (int64_t i = 0; i < n; i++, x += f, out += f) {
    float sum = 0, square = 0;
    if (bias) SIMD for (int64_t j = 0; j < f; j++) x[j] += bias[j];
    REDUCE(sum) for (int64_t j = 0; j < f; j++) sum += x[j];
    float mean = sum / (float)f;
    REDUCE(square) for (int64_t j = 0; j < f; j++) square += (x[j] - mean) * (x[j] - mean);
    float by = 1 / sqrtf(square / (float)f + NORM_EPS);
    float *kept = normed ? normed + i * f : x;
    SIMD for (int64_t j = 0; j < f; j++) {
      float z = (x[j] - mean) * by, y = z * scale[j] + shift[j];
      kept[j] = z;
      out[j] = mish ? active(y) : y;
    }
    if (inverse) inverse[i] = by;
  }
}

/* out (n, f) = scale norm(x + bias) + shift, or Mish of it; the bias may be missing; x is used up, and out may be x. For
 * the gradient: `normed` (n, f) and `inverse` (n) deviations, or nothing. */
void layer_norm(int64_t n, int64_t f, int64_t mish, float *x, const float *bias, const float *scale, const float *shift,
                float *normed, float *inverse, float *out) {
  if (mish)
    rows(1, n, f, x, bias, scale, shift, normed, inverse, out);
  else
    rows(0, n, f, x, bias, scale, shift, normed, inverse, out);
}

INLINE void rows_back(int mish, int64_t n, int64_t f, const float *dout, const float *normed, const float *inverse,
                      const float *scale, const float *shift, float *into, float *sums) {
  float *dscale = sums, *dshift = sums + f, *dbias = sums + 2 * f;
  for (int64_t i = 0; i < n; i++, dout += f, normed += f, into += f) {
    float mean = 0, along = 0;
    REDUCE(mean, along) for (int64_t j = 0; j < f; j++) {
      float z = normed[j], dy = mish ? dout[j] * slope(z * scale[j] + shift[j]) : dout[j], dz = dy * scale[j];
      dshift[j] += dy;
      dscale[j] += dy * z;
      into[j] = dz;
      mean += dz;
      along += dz * z;
    }
    mean /= (float)f, along /= (float)f;
    SIMD for (int64_t j = 0; j < f; j++) {
      into[j] = inverse[i] * (into[j] - mean - normed[j] * along);
      dbias[j] += into[j];
    }
  }
}

/* From dout: into (n, f), the gradient of x, and, added to three rows of f, those of scale, shift and bias */
void layer_norm_back(int64_t n, int64_t f, int64_t mish, const float *dout, const float *normed, const float *inverse,
                     const float *scale, const float *shift, float *into, float *sums) {
  if (mish)
    rows_back(1, n, f, dout, normed, inverse, scale, shift, into, sums);
  else
    rows_back(0, n, f, dout, normed, inverse, scale, shift, into, sums);
}

/* `lanes` neighbouring groups: softmax over the middle axis of (group, stride) */
INLINE void simplices(int lanes, int64_t stride, int64_t group, const float *x, float *out) {
  float most[LANES], total[LANES];
  SIMD for (int j = 0; j < lanes; j++) most[j] = x[j];
  for (int64_t g = 1; g < group; g++)
    SIMD for (int j = 0; j < lanes; j++) most[j] = x[g * stride + j] > most[j] ? x[g * stride + j] : most[j];
  SIMD for (int j = 0; j < lanes; j++) total[j] = 0;
  for (int64_t g = 0; g < group; g++)
    SIMD for (int j = 0; j < lanes; j++) {
      float e = fast_exp(x[g * stride + j] - most[j]);
      out[g * stride + j] = e;
      total[j] += e;
    }
  SIMD for (int j = 0; j < lanes; j++) total[j] = 1 / total[j];
  for (int64_t g = 0; g < group; g++)
    SIMD for (int j = 0; j < lanes; j++) out[g * stride + j] *= total[j];
}

/* Softmax of (n, group, stride) over the middle axis */
void simnorm(int64_t n, int64_t stride, int64_t group, const float *x, float *out) {
  for (int64_t i = 0; i < n; i++, x += group * stride, out += group * stride) {
    int64_t j = 0;
    for (; j + LANES <= stride; j += LANES) simplices(LANES, stride, group, x + j, out + j);
    if (j < stride) simplices((int)(stride - j), stride, group, x + j, out + j);
  }
}

/* From dout and the softmax p: the gradient of x */
INLINE void simplices_back(int lanes, int64_t stride, int64_t group, const float *dout, const float *p, float *into) {
  float along[LANES];
  SIMD for (int j = 0; j < lanes; j++) along[j] = 0;
  for (int64_t g = 0; g < group * stride; g += stride)
    SIMD for (int j = 0; j < lanes; j++) along[j] += dout[g + j] * p[g + j];
  for (int64_t g = 0; g < group * stride; g += stride)
    SIMD for (int j = 0; j < lanes; j++) into[g + j] = p[g + j] * (dout[g + j] - along[j]);
}

void simnorm_back(int64_t n, int64_t stride, int64_t group, const float *dout, const float *p, float *into) {
  for (int64_t i = 0; i < n; i++, dout += group * stride, p += group * stride, into += group * stride) {
    int64_t j = 0;
    for (; j + LANES <= stride; j += LANES) simplices_back(LANES, stride, group, dout + j, p + j, into + j);
    if (j < stride) simplices_back((int)(stride - j), stride, group, dout + j, p + j, into + j);
  }
}
