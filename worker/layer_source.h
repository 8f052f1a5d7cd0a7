// The layers of a decoder, one after the other.
#pragma once

#include <cstddef>
#include <span>

#include "worker/decoder_weights.h"

namespace limn {

// Threads: one thread at a time.
class LayerSource {
 public:
  virtual ~LayerSource() = default;

  // The next layer that is asked for is 0, though the last pass may have ended before its last
  // layer, by an exception.
  virtual void rewind() = 0;

  // The layer with this index, from 0 on: a sweep asks for all in their order. Its tensors are
  // those of the current stream and may be shared, so nobody writes to them; whoever drops a layer
  // before asking for the next keeps memory at its least.
  virtual LayerWeights layer(std::size_t index) = 0;
};

// All in memory. Borrows: the layers.
class ResidentLayers : public LayerSource {
 public:
  explicit ResidentLayers(std::span<const LayerWeights> layers) : layers_(layers) {}

  void rewind() override {}

  LayerWeights layer(std::size_t index) override { return layers_[index]; }

 private:
  std::span<const LayerWeights> layers_;
};

}  // namespace limn
