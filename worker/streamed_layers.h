// Layers that are read while others compute, for models that memory does not hold.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>

#include <c10/core/Event.h>
#include <c10/core/Stream.h>

#include "sharding/communicator.h"
#include "storage/checkpoint.h"
#include "worker/layer_source.h"
#include "worker/model_family.h"

namespace limn {

// Since the beginning.
struct StreamingTimes {
  std::int64_t num_layers = 0;  // that were read
  std::int64_t num_bytes = 0;   // of them, as this rank keeps them
  double reading_s = 0;         // that the reader was at it
  double waiting_s = 0;         // that layer() waited for the reader
};

// Reads layer after layer of a checkpoint on a thread of its own, the next one while the last one
// that was handed out computes, and layer 0 again behind the last: each layer once for each sweep.
// In memory are at most these two (of stacked experts a third, while they are put in order). On a
// CPU the reader takes one thread, for the others compute; on a GPU it copies by all of ATen's
// threads to page-locked memory, and from there on a stream of its own.
//
// Borrows: all but the dtype. Threads: one thread at a time.
class StreamedLayers : public LayerSource {
 public:
  // Begins to read. Requires: load_decoder_weights() has found nothing wrong with the checkpoint.
  StreamedLayers(
      const Checkpoint& checkpoint,
      const ModelConfig& model,
      Communicator& tensor_ranks,
      at::ScalarType dtype,
      at::Device device = at::kCPU);

  // At any time, in the middle of a sweep or of a read: waits for the tensor that is being read.
  ~StreamedLayers() override = default;
  StreamedLayers(const StreamedLayers&) = delete;
  StreamedLayers& operator=(const StreamedLayers&) = delete;

  // Reads what is left of the pass.
  void rewind() override;

  // Waits until it is read; on a GPU the host waits, and the current stream behind it. Requires: in
  // order, from 0 to the last and then from 0 again. Throws what ended the reading: IoError when a
  // file has become too short or can no longer be read.
  LayerWeights layer(std::size_t index) override;

  StreamingTimes times() const;

 private:
  // On a GPU, where host and streams are at different places.
  struct GpuOrder {
    c10::Stream reading;
    c10::Event is_read;     // on the reading stream: the layer that is handed out next
    c10::Event was_in_use;  // on the computing stream: all layers that were handed out before
  };

  void read_on(const std::stop_token& stop);

  const Checkpoint& checkpoint_;
  const ModelConfig& model_;
  Communicator& tensor_ranks_;
  at::ScalarType dtype_;
  at::Device device_;
  std::size_t expected_ = 0;  // what layer() is asked for next
  // Handed out last. Who has it may drop it while a GPU still computes with it, and the reader
  // would take its memory without waiting.
  LayerWeights held_;

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable_any changed_;
  std::optional<GpuOrder> gpu_;       // the reader's while there is no next_, else the caller's
  std::optional<LayerWeights> next_;  // read and not asked for yet
  std::exception_ptr failure_;        // the reader has ended by it
  StreamingTimes times_;

  std::jthread reader_;  // last: it uses all of the above
};

}  // namespace limn
