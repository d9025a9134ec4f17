/* Functions of one number, written so that compilers make vectors of them; NaN stays NaN. */

#include <math.h>
#include <stdint.h>

#define EPS 1e-4f /* of RMSNorm */
#define NORM_EPS 1e-5f /* of LayerNorm */
#define SIMD _Pragma("omp simd")
#define SUM_INTO(x) _Pragma(#x)
#define REDUCE(...) SUM_INTO(omp simd reduction(+ : __VA_ARGS__))

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

/* tanh to 3e-7, as x P(x^2) / Q(x^2) of degrees 4 and 4 on [-7.9, 7.9], fitted for least largest relative error
 * (6e-9 before rounding): half the time of `fast_tanh`, which is to a unit in the last place near zero */
static inline float quotient_tanh(float x) {
  x = x < -7.9f ? -7.9f : x;
  x = x > 7.9f ? 7.9f : x;
  float z = x * x, p = 1.54281176e-8f, q = 8.59883814e-7f;
  p = p * z + 2.20233458e-5f;
  p = p * z + 3.57899804e-3f;
  p = p * z + 0.134506256f;
  p = p * z + 0.999999994f;
  q = q * z + 3.42366045e-4f;
  q = q * z + 2.61922607e-2f;
  q = q * z + 0.467839536f;
  q = q * z + 1;
  return x * p / q;
}
