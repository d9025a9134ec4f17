/* The inner loop of the engine over many worlds, on threads of its own that never ask for Python's global lock: they
 * step worlds while the calling thread, in Python, reads those that are ready. Nothing is computed here: every number
 * comes from MuJoCo's own functions, whose addresses `native.py` fills in; so no MuJoCo header is needed, and results
 * are those of the loop in Python, whoever steps which world when. */

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { SPINS = 2000 }; /* looks at the queue before a thread without work goes to sleep: tens of microseconds */

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

struct crew {
  const struct sweep *sweep;
  pthread_mutex_t lock; /* of all that follows */
  pthread_cond_t work;
  int64_t *queue, *done;           /* rows to step and rows stepped, in this turn's order */
  atomic_long queued;              /* length of the queue, also looked at without the lock */
  atomic_long taken;               /* of them, given to a thread */
  int64_t finished, returned, running;
  uint8_t *begun; /* (N,) whether the row has had its first interval of the turn */
  int leaving, asleep, threads;
  pthread_t *thread;
};

/* One control interval of row k; before its first, keep the world's state and hand it its controls. */
static void step(const struct sweep *s, int64_t k, uint8_t *begun) {
  int64_t w = s->slots[k];
  void *data = s->datas[w];
  if (!*begun) {
    s->get_state(s->model, data, s->before + w * s->state_size, s->spec);
    memcpy(s->ctrl[w], s->controls + k * s->control_size, (size_t)s->control_size * sizeof(double));
    *begun = 1;
  }
  if (s->status[k]) return;
  if (s->leads) s->second(s->model, data);
  for (int32_t i = 0; i < s->steps; i++) s->whole(s->model, data);
  if (s->trails) s->first(s->model, data);
  for (int32_t i = 0; i < s->bad_count && !s->status[k]; i++)
    if (s->warned[w][2 * (s->first_bad + i)]) s->status[k] = (uint8_t)(1 + i);
}

static void push(struct crew *c, int64_t k) {
  c->queue[c->queued] = k;
  c->queued++;
}

/* Take a row and step it; the lock is held on entry and on return. Returns the row. */
static int64_t take(struct crew *c) {
  int64_t k = c->queue[c->taken++];
  c->running++;
  pthread_mutex_unlock(&c->lock);
  step(c->sweep, k, &c->begun[k]);
  pthread_mutex_lock(&c->lock);
  c->running--;
  return k;
}

static void *labour(void *argument) {
  struct crew *c = argument;
  pthread_mutex_lock(&c->lock);
  while (!c->leaving) {
    if (c->taken < c->queued) {
      int64_t k = take(c);
      c->done[c->finished++] = k;
      continue;
    }
    pthread_mutex_unlock(&c->lock);
    for (int i = 0; i < SPINS && c->taken >= c->queued; i++) atomic_signal_fence(memory_order_seq_cst);
    pthread_mutex_lock(&c->lock);
    if (c->taken >= c->queued && !c->leaving) {
      c->asleep++;
      pthread_cond_wait(&c->work, &c->lock);
      c->asleep--;
    }
  }
  pthread_mutex_unlock(&c->lock);
  return NULL;
}

/* Forget what is queued and wait for what is being stepped. */
void rest(struct crew *c) {
  pthread_mutex_lock(&c->lock);
  c->queued = c->taken = 0;
  while (c->running) {
    pthread_mutex_unlock(&c->lock);
    sched_yield();
    pthread_mutex_lock(&c->lock);
  }
  c->finished = c->returned = 0;
  pthread_mutex_unlock(&c->lock);
}

/* A turn begins: rows 0..count-1 are to be stepped. */
void start(struct crew *c, int64_t count) {
  pthread_mutex_lock(&c->lock);
  memset(c->begun, 0, (size_t)count);
  for (int64_t k = 0; k < count; k++) push(c, k);
  if (c->asleep) pthread_cond_broadcast(&c->work);
  pthread_mutex_unlock(&c->lock);
}

/* Queue row `again` unless negative, then return a row that has been stepped; steps one itself if none is ready. */
int64_t next(struct crew *c, int64_t again) {
  pthread_mutex_lock(&c->lock);
  if (again >= 0) {
    push(c, again);
    if (c->asleep) pthread_cond_signal(&c->work);
  }
  for (;;) {
    int64_t k = -1;
    if (c->returned < c->finished)
      k = c->done[c->returned++];
    else if (c->taken < c->queued)
      k = take(c);
    if (k >= 0) {
      pthread_mutex_unlock(&c->lock);
      return k;
    }
    pthread_mutex_unlock(&c->lock);
    sched_yield();
    pthread_mutex_lock(&c->lock);
  }
}

/* Send the threads home and free everything. */
void dismiss(struct crew *c) {
  rest(c);
  pthread_mutex_lock(&c->lock);
  c->leaving = 1;
  pthread_cond_broadcast(&c->work);
  pthread_mutex_unlock(&c->lock);
  for (int i = 0; i < c->threads; i++) pthread_join(c->thread[i], NULL);
  pthread_cond_destroy(&c->work);
  pthread_mutex_destroy(&c->lock);
  free(c->queue), free(c->done), free(c->begun), free(c->thread), free(c);
}

/* Threads for turns of at most `jobs` control intervals of at most `rows` worlds; NULL where memory is out. */
struct crew *hire(const struct sweep *s, int64_t rows, int64_t jobs, int threads) {
  struct crew *c = calloc(1, sizeof *c);
  if (!c) return NULL;
  c->sweep = s;
  c->queue = calloc((size_t)jobs, sizeof *c->queue);
  c->done = calloc((size_t)jobs, sizeof *c->done);
  c->begun = calloc((size_t)rows, sizeof *c->begun);
  c->thread = calloc((size_t)threads + 1, sizeof *c->thread);
  pthread_mutex_init(&c->lock, NULL);
  pthread_cond_init(&c->work, NULL);
  if (!c->queue || !c->done || !c->begun || !c->thread) {
    dismiss(c);
    return NULL;
  }
  while (c->threads < threads && !pthread_create(&c->thread[c->threads], NULL, labour, c)) c->threads++;
  return c;
}
