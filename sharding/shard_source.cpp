#include "sharding/shard_source.h"

namespace limn {

std::vector<std::int64_t> shard_shape(const ShardRequest& request) {
  std::vector<std::int64_t> shape = request.shape;
  if (request.dimension) shape[*request.dimension] = request.slice.size();
  return shape;
}

std::vector<std::int64_t> joined_shape(std::span<const ShardRequest> requests) {
  std::vector<std::int64_t> shape = shard_shape(requests.front());
  for (const ShardRequest& request : requests.subspan(1))
    shape[0] += shard_shape(request)[0];
  return shape;
}

}  // namespace limn
