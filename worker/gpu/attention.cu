// Attention of the segments of a sweep on a GPU (FlashAttention-2, Dao 2023, with the queries of all
// heads of a key/value head in one tile). Compiled with
//   LIMN_HEAD_DIM  of a head
//   LIMN_PIECES    bfloat16 that a float32 is split into: products have an error of 2^-(8 pieces) of
//                  their factors; 3 hold all of a float32
//   LIMN_WARPS     of a thread block
//   LIMN_TILES     of 16 queries, that a warp has: with 2 what it loads of keys and values serves twice
//   LIMN_KEYS      that are in shared memory at a time: a multiple of 16
// Sums, softmax and output are float32.

namespace limn {

namespace {

constexpr int kPieces = LIMN_PIECES;
constexpr int kDim = (LIMN_HEAD_DIM + 15) / 16 * 16;
constexpr int kRow = kPieces * kDim;  // bfloat16 of one key
constexpr int kStride = kRow + 8;     // of rows in shared memory: 8 of them lie in different banks
constexpr int kThreads = 32 * LIMN_WARPS;
constexpr int kTiles = LIMN_TILES;
constexpr int kQueries = 16 * kTiles * LIMN_WARPS;
constexpr int kOwn = 2 * kTiles;  // queries of a thread
constexpr int kKeys = LIMN_KEYS;
constexpr float kLog2E = 1.4426950408889634F;

// As SuppressionKind.
constexpr int kLogAdditive = 0;
constexpr int kMultiplicative = 1;
constexpr int kShifted = 2;
constexpr int kShiftedFull = 3;

// What few sweeps need is kept out of line, for it would be compiled once for every logit.
LIMN_SLOW_DEVICE float soft_capped(float s, float softcap) {
  return softcap * tanhf(s / softcap);
}

LIMN_SLOW_DEVICE float suppressed(float s, float f, int rule, float smallest) {
  if (rule == kLogAdditive) return s + logf(f);
  if (rule == kMultiplicative) return s * f;
  return smallest + f * (s - smallest);
}

// Of 16 queries, 8 columns.
using Products = float[4];

// The rest of x when its bfloat16 is taken away; exact.
LIMN_DEVICE float without_piece(float x) {
  return x - float_of_bits(static_cast<unsigned>(bfloat16_bits(x)) << 16);
}

LIMN_DEVICE void write_pieces(unsigned short* row, int column, float x) {
  for (int piece = 0; piece < kPieces; ++piece) {
    row[piece * kDim + column] = bfloat16_bits(x);
    x = without_piece(x);
  }
}

// c[m][n] += a[m] b[n] of numbers in pieces for 16 keys or columns, the smallest products first; those
// that are smaller than what the pieces leave of a number are not made. Successive products go to
// different sums, for each takes longer than the next one's start.
template <int kColumns>
LIMN_DEVICE void multiply_add_pieces(
    Products (&c)[kTiles][kColumns],
    const unsigned (&a)[kTiles][kPieces][4],
    const unsigned (&b)[kPieces][4],
    int column) {
#pragma unroll
  for (int sum = kPieces - 1; sum >= 0; --sum) {
#pragma unroll
    for (int i = 0; i <= sum; ++i) {
#pragma unroll
      for (int m = 0; m < kTiles; ++m) {
        const unsigned(&factor)[4] = b[sum - i];
        multiply_add(c[m][column], a[m][i], factor[0], factor[1]);
        multiply_add(c[m][column + 1], a[m][i], factor[2], factor[3]);
      }
    }
  }
}

// Keys that a thread block needs.
struct KeyRange {
  int begin;
  int end;
};

// One thread's share: of every 8 of its warp's queries number lane / 4, and of every 8 keys the two
// from 2 (lane % 4) on.
class Tile {
 public:
  LIMN_DEVICE Tile(const GpuAttentionTask& task)
      : task_(task),
        tile_(task.tiles[block_index()]),
        warp_(thread_index() / 32),
        lane_(thread_index() % 32),
        queries_(reinterpret_cast<unsigned short*>(shared_memory())),
        keys_(queries_ + kQueries * kStride),
        values_(keys_ + kKeys * kStride) {
    for (int r = 0; r < kOwn; ++r) {
      // A query that is not there sees no key.
      position_[r] =
          is_there(r) ? tile_.first_position + query(r) / tile_.num_query_heads : -1;
      smallest_[r] = 0;
      highest_[r] = -infinity();
      sum_[r] = 0;
    }
  }

  LIMN_DEVICE void attend() {
    load_queries();
    if (is_suppressed() && task_.rule >= kShifted) find_smallest();

    const KeyRange range = visible_keys();
    load(keys_, task_.base_keys, task_.own_keys, range.begin);
    for (int key = range.begin; key < range.end; key += kKeys) {
      load(values_, task_.base_values, task_.own_values, key);
      wait_for_copies<1>();
      sync_threads();
      multiply_keys();
      sync_threads();
      if (key + kKeys < range.end) {
        load(keys_, task_.base_keys, task_.own_keys, key + kKeys);
      } else {
        commit_copies();
      }
      take_softmax(key);
      wait_for_copies<1>();
      sync_threads();
      multiply_values();
      sync_threads();
    }
    wait_for_copies<0>();
    write_output();
  }

 private:
  // Few registers are left to keep these in.
  LIMN_DEVICE int query(int r) const {
    return tile_.first_query + 16 * kTiles * warp_ + lane_ / 4 + 8 * r;
  }

  LIMN_DEVICE bool is_there(int r) const {
    return query(r) < tile_.first_query + tile_.num_queries;
  }

  LIMN_DEVICE int head(int r) const {
    return tile_.first_query_head + query(r) % tile_.num_query_heads;
  }

  LIMN_DEVICE bool is_suppressed() const { return tile_.suppressed_end > 0; }

  LIMN_DEVICE KeyRange visible_keys() const {
    const int last_query = tile_.first_query + tile_.num_queries - 1;
    const int first = tile_.first_position + tile_.first_query / tile_.num_query_heads;
    const int last = tile_.first_position + last_query / tile_.num_query_heads;
    const int begin = task_.window > 0 ? max(first + 1 - task_.window, 0) : 0;
    return {begin / kKeys * kKeys, last + 1};
  }

  // The thread block's, into shared memory.
  LIMN_DEVICE void load_queries() {
    for (int i = thread_index(); i < kQueries * kDim; i += kThreads) {
      const int query = i / kDim;
      const int column = i % kDim;
      float x = 0;
      if (query < tile_.num_queries && column < LIMN_HEAD_DIM) {
        const int of_segment = tile_.first_query + query;
        const int row = tile_.query_row + of_segment / tile_.num_query_heads;
        const int head = tile_.first_query_head + of_segment % tile_.num_query_heads;
        x = task_.queries[row * task_.query_stride + head * LIMN_HEAD_DIM + column];
      }
      write_pieces(queries_ + query * kStride, column, x);
    }
  }

  // Starts loading keys or values into shared memory; behind the sample's last they are 0.
  LIMN_DEVICE void load(
      unsigned short* to, const unsigned short* base, const unsigned short* own, int first_key) {
    constexpr int kChunk = 8;
    for (int i = thread_index(); i < kKeys * kRow / kChunk; i += kThreads) {
      const int place = i / (kRow / kChunk);
      const int column = i % (kRow / kChunk) * kChunk;
      const int key = first_key + place;
      const bool is_there = key < tile_.row_end;
      const unsigned short* from = base;
      if (is_there) {
        const bool is_own = key >= tile_.row_begin;
        const long long row =
            is_own ? tile_.own_row + key - tile_.row_begin : tile_.base_row + key;
        from = (is_own ? own : base) + (row * task_.kv_heads + tile_.kv_head) * kRow + column;
      }
      copy_async(to + place * kStride + column, from, is_there);
    }
    commit_copies();
  }

  // The products of the warp's queries with the keys in shared memory.
  LIMN_DEVICE void multiply_keys() {
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n) {
        for (int i = 0; i < 4; ++i)
          logits_[m][n][i] = 0;
      }
    }
    const unsigned short* const from_queries =
        queries_ + (16 * kTiles * warp_ + lane_ % 16) * kStride;
    const unsigned short* const from_keys = keys_ + (lane_ % 8 + lane_ / 16 * 8) * kStride;
#pragma unroll
    for (int d = 0; d < kDim; d += 16) {
      unsigned a[kTiles][kPieces][4];
#pragma unroll
      for (int m = 0; m < kTiles; ++m) {
        for (int piece = 0; piece < kPieces; ++piece) {
          load_matrices(
              a[m][piece], from_queries + 16 * m * kStride + piece * kDim + d + lane_ / 16 * 8);
        }
      }
#pragma unroll
      for (int n = 0; n < kKeys / 8; n += 2) {
        unsigned b[kPieces][4];
        for (int piece = 0; piece < kPieces; ++piece)
          load_matrices(
              b[piece], from_keys + n * 8 * kStride + piece * kDim + d + lane_ / 8 % 2 * 8);
        multiply_add_pieces(logits_, a, b, n);
      }
    }
  }

  // Calls f(logit, r, key) for each of the thread's.
  template <typename F>
  LIMN_DEVICE void for_logits(int first_key, const F& f) {
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i)
          f(logits_[m][n][i], 2 * m + i / 2, first_key + n * 8 + lane_ % 4 * 2 + i % 2);
      }
    }
  }

  LIMN_DEVICE bool sees(int r, int key) const {
    return key <= position_[r] && (task_.window == 0 || key > position_[r] - task_.window);
  }

  // Scaled, biased and soft-capped.
  LIMN_DEVICE float logit(float product, int r, int key) const {
    float s = product * task_.scale;
    if (task_.key_bias != nullptr && key < tile_.row_end) {
      s += task_.key_bias[static_cast<long long>(head(r)) * task_.key_bias_stride + key];
    }
    if (task_.softcap > 0) s = soft_capped(s, task_.softcap);
    return s;
  }

  LIMN_DEVICE float factor_of(int key) const {
    if (key < tile_.row_begin || key >= tile_.suppressed_end) return 1;
    return task_.factors[tile_.first_factor + key - tile_.row_begin];
  }

  // Of the logits that `shifted` and `shifted_full` shift towards: a pass of its own.
  LIMN_DEVICE void find_smallest() {
    const bool of_all = task_.rule == kShiftedFull;
    const KeyRange range = of_all ? KeyRange{0, tile_.row_end} : visible_keys();
    for (int r = 0; r < kOwn; ++r)
      smallest_[r] = infinity();
    for (int first = range.begin; first < range.end; first += kKeys) {
      load(keys_, task_.base_keys, task_.own_keys, first);
      wait_for_copies<0>();
      sync_threads();
      multiply_keys();
      for_logits(first, [&](float product, int r, int key) {
        if (of_all ? key < tile_.row_end : sees(r, key)) {
          smallest_[r] = fminf(smallest_[r], logit(product, r, key));
        }
      });
      sync_threads();
    }
    for (int r = 0; r < kOwn; ++r) {
      smallest_[r] = fminf(smallest_[r], shuffle_xor(smallest_[r], 1));
      smallest_[r] = fminf(smallest_[r], shuffle_xor(smallest_[r], 2));
    }
  }

  // Whether some of the keys are suppressed.
  LIMN_DEVICE bool has_suppressed(int first_key) const {
    return first_key < tile_.suppressed_end && first_key + kKeys > tile_.row_begin;
  }

  // Whether all of the warp's queries see all of the keys, as they are.
  LIMN_DEVICE bool is_plain(int first_key) const {
    const int last_query = tile_.first_query + tile_.num_queries - 1;
    const int first_of_warp = tile_.first_query + 16 * kTiles * warp_;
    return first_of_warp + 16 * kTiles - 1 <= last_query && task_.window == 0 &&
           first_key + kKeys - 1 <=
               tile_.first_position + first_of_warp / tile_.num_query_heads &&
           !has_suppressed(first_key) && task_.key_bias == nullptr && task_.softcap == 0;
  }

  // Turns products into the softmax's numerators, and what was summed so far to the new maximum.
  // Logits are those of base 2 from here on.
  LIMN_DEVICE void take_softmax(int first_key) {
    float highest[kOwn];
    for (int r = 0; r < kOwn; ++r)
      highest[r] = highest_[r];
    if (is_plain(first_key)) {
      const float scale = task_.scale * kLog2E;
      for_logits(first_key, [&](float& s, int r, int) {
        s *= scale;
        highest[r] = fmaxf(highest[r], s);
      });
    } else {
      for_logits(first_key, [&](float& s, int r, int key) {
        s = logit(s, r, key);
        const float f = factor_of(key);
        if (f != 1) s = suppressed(s, f, task_.rule, smallest_[r]);
        s = sees(r, key) ? s * kLog2E : -infinity();
        highest[r] = fmaxf(highest[r], s);
      });
    }
    float rescale[kOwn];
    bool is_higher = false;
    for (int r = 0; r < kOwn; ++r) {
      highest[r] = fmaxf(highest[r], shuffle_xor(highest[r], 1));
      highest[r] = fmaxf(highest[r], shuffle_xor(highest[r], 2));
      is_higher = is_higher || highest[r] != highest_[r];
      // Where all keys so far are hidden any finite value makes all numerators 0.
      const float finite = highest[r] == -infinity() ? 0 : highest[r];
      rescale[r] = exp2_fast(highest_[r] - finite);
      highest_[r] = highest[r];
      highest[r] = finite;
    }
    // Rarely, once the first keys have been seen.
    if (any_of_warp(is_higher)) {
#pragma unroll
      for (int m = 0; m < kTiles; ++m) {
        for (int r = 2 * m; r < 2 * m + 2; ++r)
          sum_[r] *= rescale[r];
#pragma unroll
        for (int n = 0; n < kDim / 8; ++n) {
          for (int i = 0; i < 4; ++i)
            output_[m][n][i] *= rescale[2 * m + i / 2];
        }
      }
    }
    for_logits(first_key, [&](float& s, int r, int) {
      s = exp2_fast(s - highest[r]);
      sum_[r] += s;
    });
  }

  // Adds the numerators' products with the values in shared memory.
  LIMN_DEVICE void multiply_values() {
    const unsigned short* const value = values_ + lane_ % 16 * kStride + lane_ / 16 * 8;
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
      unsigned a[kTiles][kPieces][4];
#pragma unroll
      for (int m = 0; m < kTiles; ++m) {
        for (int i = 0; i < 4; ++i) {
          float first = logits_[m][2 * k + i / 2][i % 2 * 2];
          float second = logits_[m][2 * k + i / 2][i % 2 * 2 + 1];
          for (int piece = 0; piece < kPieces; ++piece) {
            const unsigned pair = bfloat16_pair(first, second);
            a[m][piece][i] = pair;
            first -= float_of_bits(pair << 16);
            second -= float_of_bits(pair & 0xffff0000U);
          }
        }
      }
#pragma unroll
      for (int n = 0; n < kDim / 8; n += 2) {
        unsigned b[kPieces][4];
        for (int piece = 0; piece < kPieces; ++piece)
          load_transposed(b[piece], value + 16 * k * kStride + piece * kDim + n * 8);
        multiply_add_pieces(output_, a, b, n);
      }
    }
  }

  LIMN_DEVICE void write_output() {
#pragma unroll
    for (int r = 0; r < kOwn; ++r) {
      float total = sum_[r];
      total += shuffle_xor(total, 1);
      total += shuffle_xor(total, 2);
      float scale = 1;
      if (task_.sinks != nullptr) {
        const float sink = task_.sinks[head(r)] * kLog2E;
        const float highest = fmaxf(highest_[r], sink);
        scale = exp2_fast(highest_[r] - highest);
        total = total * scale + exp2_fast(sink - highest);
      }
      // Nothing, where all that the row sees is hidden.
      scale = total > 0 ? scale / total : 0;
      if (!is_there(r)) continue;
      const int row = tile_.query_row + query(r) / tile_.num_query_heads;
      float* const to = task_.output + row * task_.output_stride + head(r) * LIMN_HEAD_DIM;
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        for (int i = 0; i < 2; ++i) {
          const int column = n * 8 + lane_ % 4 * 2 + i;
          if (column < LIMN_HEAD_DIM) to[column] = output_[r / 2][n][r % 2 * 2 + i] * scale;
        }
      }
    }
  }

  const GpuAttentionTask& task_;
  const GpuAttentionTile& tile_;
  int warp_;
  int lane_;
  unsigned short* queries_;  // [kQueries, kStride] in shared memory
  unsigned short* keys_;     // [kKeys, kStride]
  unsigned short* values_;   // [kKeys, kStride]
  int position_[kOwn];
  float smallest_[kOwn];
  float highest_[kOwn];
  float sum_[kOwn];
  Products logits_[kTiles][kKeys / 8];  // then the numerators
  Products output_[kTiles][kDim / 8] = {};
};

}  // namespace

LIMN_KERNEL void limn_attend(GpuAttentionTask task) {
  Tile(task).attend();
}

LIMN_KERNEL void limn_pack(GpuPackTask task) {
  const long long i = static_cast<long long>(block_index()) * 256 + thread_index();
  const long long head = i / kDim;
  const int column = static_cast<int>(i % kDim);
  if (head >= task.num_heads) return;
  const float* const from =
      task.from + head / task.heads * task.row_stride + head % task.heads * LIMN_HEAD_DIM;
  write_pieces(task.to + head * kRow, column, column < LIMN_HEAD_DIM ? from[column] : 0);
}

}  // namespace limn
