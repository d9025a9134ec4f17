/* RMSNorm over few channels at many places of pictures, and SiLU: rows of f numbers are shorter than the processor's
 * vectors, so WIDE places are worked on at a time, one per lane. Twin: `nets/rms.py`.
 *
 * n places, f <= NARROW channels; rows are contiguous. */

#include "rssm.h"

#define WIDE 16
#define NARROW 32

/* normed = x rms(x), out = silu(scale normed), inverse (n); normed may be x */
void norm_silu_narrow(int64_t n, int64_t f, const float *x, const float *scale, float *normed, float *out,
                      float *inverse) {
  for (; n >= WIDE; n -= WIDE, x += WIDE * f, normed += WIDE * f, out += WIDE * f, inverse += WIDE) {
    float turned[NARROW][WIDE], square[WIDE] = {0};
    for (int64_t j = 0; j < f; j++) {
      SIMD for (int r = 0; r < WIDE; r++) {
        turned[j][r] = x[r * f + j];
        square[r] += turned[j][r] * turned[j][r];
      }
    }
    SIMD for (int r = 0; r < WIDE; r++) inverse[r] = 1 / sqrtf(square[r] / (float)f + EPS);
    for (int64_t j = 0; j < f; j++) {
      SIMD for (int r = 0; r < WIDE; r++) {
        float y = turned[j][r] * inverse[r], z = y * scale[j];
        normed[r * f + j] = y;
        out[r * f + j] = z * sigmoid(z);
      }
    }
  }
  norm_silu(n, f, x, f, 0, scale, normed, f, out, f, inverse);
}

/* From dy: into, and adds to dscale (f) */
void norm_silu_narrow_back(int64_t n, int64_t f, const float *dy, const float *normed, const float *inverse,
                           const float *scale, float *into, float *dscale) {
  float sums[NARROW][WIDE] = {{0}}, unused[NARROW] = {0};
  for (; n >= WIDE; n -= WIDE, dy += WIDE * f, normed += WIDE * f, into += WIDE * f, inverse += WIDE) {
    float turned[NARROW][WIDE], through[NARROW][WIDE], mean[WIDE] = {0};
    for (int64_t j = 0; j < f; j++) {
      SIMD for (int r = 0; r < WIDE; r++) {
        float y = normed[r * f + j], z = y * scale[j], s = sigmoid(z);
        float inner = dy[r * f + j] * s * (1 + z * (1 - s));
        turned[j][r] = y;
        through[j][r] = inner * scale[j];
        sums[j][r] += inner * y;
        mean[r] += through[j][r] * y;
      }
    }
    for (int64_t j = 0; j < f; j++) {
      SIMD for (int r = 0; r < WIDE; r++) {
        into[r * f + j] = inverse[r] * (through[j][r] - turned[j][r] * mean[r] / (float)f);
      }
    }
  }
  for (int64_t j = 0; j < f; j++) {
    for (int r = 0; r < WIDE; r++) dscale[j] += sums[j][r];
  }
  norm_silu_back(n, f, dy, f, normed, f, inverse, scale, into, f, dscale, unused);
}
