/* The inner loop of the engine over many worlds, so that a thread asks for Python's global lock once per control
 * interval instead of three times per world. Nothing is computed here: every number comes from MuJoCo's own functions,
 * whose addresses `native.py` fills in; so no MuJoCo header is needed, and results are those of the loop in Python. */

#include <stdint.h>
#include <string.h>

typedef void (*phase)(const void *model, void *data);
typedef void (*reading)(const void *model, const void *data, double *state, int spec);

struct sweep {
  const void *model;
  void *const *datas;         /* (N,) worlds */
  double *const *ctrl;        /* (N,) their controls */
  const int32_t *const *warned; /* (N,) their warning counters, two integers apart */
  double *before;             /* (N, state_size) */
  const int64_t *slots;       /* (K,) which world the k-th is */
  const double *controls;     /* (K, control_size) */
  uint8_t *status;            /* (K,) 0 while the world is going on, else why it is not */
  phase first, whole, second; /* mj_step1, mj_step, mj_step2 */
  reading get_state;
  int64_t state_size, control_size;
  int32_t spec, leads, steps, trails; /* state signature; interval = mj_step2 if leads, mj_steps, mj_step1 if trails */
  int32_t first_bad, bad_count; /* warnings after which the state is not to be trusted */
};

/* Keep the states of worlds low..high-1 and hand them their controls. */
void begin(const struct sweep *s, int64_t low, int64_t high) {
  for (int64_t k = low; k < high; k++) {
    int64_t w = s->slots[k];
    s->get_state(s->model, s->datas[w], s->before + w * s->state_size, s->spec);
    memcpy(s->ctrl[w], s->controls + k * s->control_size, (size_t)s->control_size * sizeof(double));
  }
}

/* One control interval of those among low..high-1 that are going on; a status becomes 1 + the warning raised. */
void interval(const struct sweep *s, int64_t low, int64_t high) {
  for (int64_t k = low; k < high; k++) {
    int64_t w = s->slots[k];
    void *data = s->datas[w];
    if (s->status[k]) continue;
    if (s->leads) s->second(s->model, data);
    for (int32_t i = 0; i < s->steps; i++) s->whole(s->model, data);
    if (s->trails) s->first(s->model, data);
    for (int32_t i = 0; i < s->bad_count && !s->status[k]; i++)
      if (s->warned[w][2 * (s->first_bad + i)]) s->status[k] = (uint8_t)(1 + i);
  }
}
