// What a decoder costs for each row and key.
#pragma once

#include "coordinator/sweep_cost.h"
#include "worker/decoder_config.h"

namespace limn {

// Counts the matrix products of all layers, a multiplication and an addition as two operations:
// the projections of attention, the MLP (or the router and the experts that a row is given to), and
// attention itself. Leaves out the head, which is for target rows alone, and all that is not a
// product. Windows are left out, too: a row counts as seeing every key before it.
// Requires: at least one layer.
SweepCost sweep_cost(const DecoderConfig& config);

}  // namespace limn
