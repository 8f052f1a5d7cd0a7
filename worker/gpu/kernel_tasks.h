// What the GPU's kernels are given: read by the host's compiler and, at run time, by NVRTC, which
// has no standard library.
#pragma once

namespace limn {

// Successive queries of one segment, for the query heads that share one key/value head: what one
// thread block computes. Queries are ordered by row, then by head.
struct GpuAttentionTile {
  int first_query;  // of the segment's
  int num_queries;
  int query_row;       // of the given query rows: that of query 0
  int first_position;  // of query 0
  int row_begin;       // keys before this position are the base's
  int row_end;         // of the sample
  int base_row;        // of the base's rows: that of position 0
  int own_row;         // of the block's rows: that of position row_begin
  int kv_head;
  int first_query_head;
  int num_query_heads;
  int suppressed_end;  // behind the last suppressed position; 0: none is
  int first_factor;    // that of position row_begin
};

// Keys and values are pieces, [rows, kv_heads, pieces, head_dim up to a multiple of 16] bfloat16:
// x as the sum of `pieces` bfloat16.
struct GpuAttentionTask {
  const GpuAttentionTile* tiles;  // [thread blocks]
  const float* queries;           // [query rows, heads, head_dim]
  float* output;                  // [query rows, heads * head_dim]
  long long query_stride;         // floats from row to row
  long long output_stride;
  const unsigned short* base_keys;
  const unsigned short* base_values;
  const unsigned short* own_keys;
  const unsigned short* own_values;
  const float* factors;   // of every row's own key
  const float* key_bias;  // [heads, key_bias_stride]; null: none
  const float* sinks;     // [heads]; null: none
  int key_bias_stride;
  int kv_heads;
  int window;  // 0: none
  int rule;    // a SuppressionKind
  float scale;
  float softcap;  // 0: none
};

// Heads of rows to be written as pieces.
struct GpuPackTask {
  const float* from;     // [rows, heads, head_dim]
  unsigned short* to;    // [rows, heads, pieces, head_dim up to a multiple of 16]
  long long row_stride;  // floats of `from` from row to row
  long long num_heads;   // of all rows
  int heads;             // of a row
};

// As RowSource, or absent where `data` is null. Rows may come in groups, as the heads of a wider
// row do.
struct GpuRows {
  const void* data;
  const long long* row;
  long long stride;        // of the rows of a group
  long long group_stride;  // from group to group
  int group;               // rows of a group
  int is_bfloat16;
};

// As RowTask, with as many threads for each row.
struct GpuRowTask {
  GpuRows x;
  GpuRows base;
  GpuRows minus;
  void* out;
  long long out_stride;
  const int* order;  // in which the rows are computed; null: as they lie
  long long num_rows;
  int width;
  int threads_per_row;
  int out_is_bfloat16;
  int is_vectorizable;   // elements lie so that four can be taken at a time
  int minus_is_of_base;  // subtract the function of the base instead of `minus`
};

// As NormFunction.
struct GpuNorm {
  const float* weight;
  const float* bias;
  float epsilon;
  int subtracts_mean;
};

enum class GpuActivation { Silu, GeluTanh, Gelu, Relu };

// As RotationTask.
struct GpuRotationTask {
  float* x;
  const long long* table_row;
  const float* cos;
  const float* sin;
  long long row_stride;
  long long num_rows;
  int num_heads;
  int head_dim;
  int num_pairs;
  int pairs_neighbours;
};

}  // namespace limn
