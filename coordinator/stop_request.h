// What a person or a cluster may ask of a run.
#pragma once

namespace limn {

// In the order of growing urgency.
enum class StopRequest {
  None,
  FinishPart,  // compute no further batch, seal what is under way, stop
  Now,         // seal what is complete and leave
};

}  // namespace limn
