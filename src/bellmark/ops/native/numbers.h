/* Functions of one number, written so that compilers make vectors of them; NaN stays NaN. */

#include <math.h>
#include <stdint.h>

#define EPS 1e-4f /* of RMSNorm */
#define SIMD _Pragma("omp simd")
#define SUM_INTO(x) _Pragma(#x)
#define REDUCE(x) SUM_INTO(omp simd reduction(+ : x))

/* e^r - 1 for |r| <= ln 2 / 2, to a unit in the last place */
static inline float small_expm1(float r) {
  float p = 1.9841270e-4f;
  p = p * r + 1.3888889e-3f;
  p = p * r + 8.3333333e-3f;
  p = p * r + 4.1666667e-2f;
  p = p * r + 1.6666667e-1f;
  p = p * r + 0.5f;
  return p * r * r + r;
}

static inline float two_to(int n) {
  union { uint32_t i; float f; } u = {(uint32_t)(n + 127) << 23};
  return u.f;
}

/* n and r of x = n ln 2 + r */
static inline float reduced(float x, int *n) {
  float k = rintf(x * 1.44269504f);
  *n = (int)k;
  return (x - k * 0.693359375f) + k * 2.12194440e-4f;
}

static inline float fast_exp(float x) {
  int n;
  x = x < -87.3f ? -87.3f : x;
  x = x > 88.3f ? 88.3f : x;
  float r = reduced(x, &n);
  return two_to(n) * (1 + small_expm1(r));
}

static inline float sigmoid(float x) { return 1 / (1 + fast_exp(-x)); }

static inline float fast_tanh(float x) {
  int n;
  float y = 2 * x;
  y = y < -30 ? -30 : y;
  y = y > 30 ? 30 : y;
  float r = reduced(y, &n), scale = two_to(n), e = scale * small_expm1(r) + (scale - 1);
  return e / (e + 2);
}
