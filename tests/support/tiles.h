/* What `ops/native/amx.c` asks of AMX, for processors that have none: to be put before a source by -include. The state is a
 * variable that a test can read. A tile of another shape than 16 rows of 64 bytes ends the program. */

#include <immintrin.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct tiles {
  uint8_t palette, start, unused[14];
  uint16_t bytes[16];
  uint8_t rows[16];
  uint8_t data[8][16][64];
};
__attribute__((weak)) struct tiles tiles;

static inline void whole_tile(int t) {
  if (tiles.palette != 1 || tiles.bytes[t] != 64 || tiles.rows[t] != 16) abort();
}

static inline void load_tile(int t, const void *from, int64_t apart) {
  whole_tile(t);
  for (int i = 0; i < 16; i++) memcpy(tiles.data[t][i], (const char *)from + i * apart, 64);
}

static inline void store_tile(int t, void *to, int64_t apart) {
  whole_tile(t);
  for (int i = 0; i < 16; i++) memcpy((char *)to + i * apart, tiles.data[t][i], 64);
}

static inline float of_bfloat(uint16_t x) {
  uint32_t bits = (uint32_t)x << 16;
  float y;
  memcpy(&y, &bits, sizeof y);
  return y;
}

/* TDPBF16PS: to (16, 16) += a (16, 32) b, whose rows hold pairs of neighbours (16, 16, 2) */
static inline void multiply_tiles(int to, int a, int b) {
  whole_tile(to), whole_tile(a), whole_tile(b);
  float(*sum)[16] = (float(*)[16])tiles.data[to];
  const uint16_t(*x)[32] = (const uint16_t(*)[32])tiles.data[a], (*y)[32] = (const uint16_t(*)[32])tiles.data[b];
  for (int i = 0; i < 16; i++)
    for (int k = 0; k < 16; k++)
      for (int j = 0; j < 16; j++)
        for (int q = 0; q < 2; q++) sum[i][j] += of_bfloat(x[i][2 * k + q]) * of_bfloat(y[k][2 * j + q]);
}

#undef _tile_loadconfig
#undef _tile_storeconfig
#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbf16ps
#define _tile_loadconfig(from) (memset(&tiles, 0, sizeof tiles), (void)memcpy(&tiles, from, 64))
#define _tile_storeconfig(to) (void)memcpy(to, &tiles, 64)
#define _tile_loadd(t, from, apart) load_tile(t, from, apart)
#define _tile_stored(t, to, apart) store_tile(t, to, apart)
#define _tile_zero(t) (whole_tile(t), (void)memset(tiles.data[t], 0, sizeof tiles.data[t]))
#define _tile_dpbf16ps(to, a, b) multiply_tiles(to, a, b)
#define syscall(number, ask, what) ((number) == SYS_arch_prctl && (ask) == 0x1023 && (what) == 18 ? 0 : -1)
