/* What `bfloat.c` computes, on processors that multiply tiles of bfloat16 (AMX): 16 rows of 32 numbers by 32 rows of 16. */

#include "reduced.h"

#define OF(name) amx_##name

#if defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__linux__)
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#define AVAILABLE
enum { ROWS = 16 };
enum { ASK_FOR = 0x1023, TILES = 18 }; /* arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) */

static int64_t deep(int64_t k) { return whole(k, 32); }

#include "pairs.h"

struct shapes {
  uint8_t palette, start, unused[14];
  uint16_t bytes[16]; /* of a row */
  uint8_t rows[16];
};

/* What is at x may have been written and will be read: the compiler's words for tiles tell it of eight bytes, or none. */
#define TOUCHED(x) __asm__ volatile("" ::"r"(x) : "memory")

/* Tiles 0 to 3 are sums, 4 is 16 rows, 5 to 7 are parts of a panel: all of 16 rows of 64 bytes. Shapes belong to a thread,
 * whose other users (PyTorch's own products) count on finding theirs again. */
static const struct shapes OURS = {.palette = 1,
                                   .bytes = {64, 64, 64, 64, 64, 64, 64, 64},
                                   .rows = {16, 16, 16, 16, 16, 16, 16, 16}};

#define ENTER                 \
  struct shapes former;       \
  _tile_storeconfig(&former); \
  TOUCHED(&former);           \
  _tile_loadconfig(&OURS);
#define LEAVE       \
  TOUCHED(&former); \
  _tile_loadconfig(&former);

/* sums (16, 64) of a panel (deep(k) / 2, 64) and rows as `pack_rows` leaves them */
static void tile(int64_t k, const uint16_t *panel, const uint32_t *rows, float *sums) {
  int64_t pitch = words(k), across = ACROSS * (int64_t)sizeof(uint32_t);
  TOUCHED(rows);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t p = 0; p < pitch; p += 16, panel += 32 * ACROSS) {
    _tile_loadd(4, rows + p, pitch * (int64_t)sizeof(uint32_t));
    _tile_loadd(5, panel, across);
    _tile_loadd(6, panel + 32, across);
    _tile_loadd(7, panel + 64, across);
    _tile_dpbf16ps(0, 4, 5);
    _tile_loadd(5, panel + 96, across);
    _tile_dpbf16ps(1, 4, 6);
    _tile_dpbf16ps(2, 4, 7);
    _tile_dpbf16ps(3, 4, 5);
  }
  _tile_stored(0, sums, across);
  _tile_stored(1, sums + 16, across);
  _tile_stored(2, sums + 32, across);
  _tile_stored(3, sums + 48, across);
}

/* Linux lets a process use tiles once it has asked. */
static int permitted(void) { return syscall(SYS_arch_prctl, ASK_FOR, TILES) == 0; }
#define PERMITTED permitted()
#endif

#include "packed.h"
