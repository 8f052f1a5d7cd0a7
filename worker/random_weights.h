// Weights for models of which there is no checkpoint: how fast a model is does not depend on them.
#pragma once

#include <cstdint>

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include "sharding/communicator.h"
#include "worker/decoder_weights.h"
#include "worker/model_family.h"

namespace limn {

// The weights that load_decoder_weights() makes of a checkpoint, of the same shapes and dtypes,
// with values that leave a forward pass in range: normal with the standard deviation 0.02, norms'
// gains around 1, all else around 0. They depend on the seed, the tensor's name and where the slice
// begins, so what several ranks hold is the same on all. Made on the device itself. Borrows:
// `tensor_ranks`, for as long as the weights live. Throws JobError when there are more tensor ranks
// than heads.
DecoderWeights random_decoder_weights(
    const ModelConfig& model,
    Communicator& tensor_ranks,
    at::ScalarType dtype,
    at::Device device,
    std::uint64_t seed = 0);

// Of the whole model, as its family's checkpoints store it; a tied head is the embedding's.
std::int64_t num_parameters(const ModelConfig& model);

}  // namespace limn
