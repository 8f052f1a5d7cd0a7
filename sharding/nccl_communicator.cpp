#include "sharding/nccl_communicator.h"

#include <chrono>
#include <cstdint>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <spdlog/spdlog.h>

#include "sharding/idle_wait.h"

namespace limn {

namespace {

// NCCL's own word, and the last thing that went wrong in this process as far as it knows.
std::string text_of(ncclResult_t result, ncclComm* comm) {
  const char* const detail = ncclGetLastError(comm);
  if (detail == nullptr || *detail == '\0') return ncclGetErrorString(result);
  return fmt::format("{}: {}", ncclGetErrorString(result), detail);
}

// What rank 0 makes up for the group. Throws on every rank when it cannot. Collective.
ncclUniqueId agree_on_id(const MpiComm& ranks) {
  struct Message {
    ncclResult_t result;
    ncclUniqueId id;
  };

  Message message{};
  if (ranks.rank() == 0) message.result = ncclGetUniqueId(&message.id);
  check_mpi(MPI_Bcast(&message, sizeof message, MPI_BYTE, 0, ranks.get()), "MPI_Bcast");
  if (message.result != ncclSuccess) {
    throw InternalError(
        fmt::format("ncclGetUniqueId failed: {}", text_of(message.result, nullptr)));
  }
  return message.id;
}

}  // namespace

std::string nccl_version() {
  int version = 0;
  const ncclResult_t result = ncclGetVersion(&version);
  check(result == ncclSuccess, "ncclGetVersion failed: {}", ncclGetErrorString(result));
  return fmt::format("{}.{}.{}", version / 10000, version % 10000 / 100, version % 100);
}

NcclCommunicator::NcclCommunicator(MpiComm ranks, at::Device device, Patience patience)
    : timeout_s_(patience.timeout_s),
      watch_(ranks.duplicate(), std::move(patience)),
      rank_(ranks.rank()),
      size_(ranks.size()),
      device_(device) {
  check(device.is_cuda() && device.has_index(), "NCCL does not run on {}", device.str());
  const ncclUniqueId id = agree_on_id(ranks);
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  // No call waits inside of NCCL for a partner, where nothing could end the wait.
  config.blocking = 0;
  const c10::cuda::CUDAGuard guard(device_);  // the current GPU is the one that NCCL takes
  ncclComm_t comm = nullptr;
  const ncclResult_t result = ncclCommInitRankConfig(&comm, size_, id, rank_, &config);
  comm_.reset(comm);
  complete("ncclCommInitRankConfig", result);
}

NcclCommunicator::~NcclCommunicator() {
  const bool unwinds = std::uncaught_exceptions() > exceptions_in_flight_;
  if (unwinds || comm_ == nullptr) return;
  try {
    close();
  } catch (const std::exception& error) {
    spdlog::warn("the group's end: {}", error.what());
  }
}

void NcclCommunicator::close() {
  synchronize();
  const c10::cuda::CUDAGuard guard(device_);
  complete("ncclCommFinalize", ncclCommFinalize(comm_.get()));
  // Whatever it returns, the handle is gone.
  const ncclResult_t result = ncclCommDestroy(comm_.release());
  if (result != ncclSuccess && result != ncclInProgress) {
    fail("ncclCommDestroy", text_of(result, nullptr));
  }
}

void NcclCommunicator::fail(const char* call, const std::string& reason) {
  // At once: the partners' calls then fail, too, and their GPUs do not wait for this one.
  comm_.reset();
  throw InternalError(
      fmt::format("{} failed: {}: tensor rank {} of {}", call, reason, rank_, size_));
}

void NcclCommunicator::complete(const char* call, ncclResult_t result) {
  if (result != ncclSuccess && result != ncclInProgress) fail(call, text_of(result, comm_.get()));
  // NCCL may still be at it on a thread of its own: until it is done, no other call may be made
  // and nothing may be enqueued behind this one. Asked even after a success, for what was enqueued
  // before may have failed since.
  const auto start = std::chrono::steady_clock::now();
  wait_idle([&] {
    ncclResult_t state = ncclSuccess;
    const ncclResult_t asked = ncclCommGetAsyncError(comm_.get(), &state);
    if (asked != ncclSuccess) fail("ncclCommGetAsyncError", text_of(asked, comm_.get()));
    if (state == ncclSuccess) return true;
    if (state != ncclInProgress) fail(call, text_of(state, comm_.get()));
    const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - start;
    if (waited.count() > timeout_s_) {
      fail(call, fmt::format("a partner did not come within {:.0f} s", timeout_s_));
    }
    return false;
  });
}

void NcclCommunicator::throw_if_failed() {
  check(comm_ != nullptr, "the group has failed before");
  ncclResult_t state = ncclSuccess;
  const ncclResult_t asked = ncclCommGetAsyncError(comm_.get(), &state);
  if (asked != ncclSuccess) fail("ncclCommGetAsyncError", text_of(asked, comm_.get()));
  if (state != ncclSuccess && state != ncclInProgress) {
    fail("a collective", text_of(state, comm_.get()));
  }
}

ncclDataType_t NcclCommunicator::datatype_of(const at::Tensor& values) const {
  check(
      values.is_contiguous() && values.device() == device_,
      "collectives of this group want contiguous tensors on {}, not on {}",
      device_.str(),
      values.device().str());
  switch (values.scalar_type()) {
    case at::kFloat:
      return ncclFloat32;
    case at::kDouble:
      return ncclFloat64;
    case at::kBFloat16:
      return ncclBfloat16;
    case at::kHalf:
      return ncclFloat16;
    case at::kLong:
      return ncclInt64;
    default:
      throw InternalError(
          fmt::format("collectives do not take {}", c10::toString(values.scalar_type())));
  }
}

template <typename Collective>
void NcclCommunicator::enqueue(const char* call, Collective&& collective) {
  check(comm_ != nullptr, "{} of a group that has failed before", call);
  const c10::cuda::CUDAGuard guard(device_);
  complete(call, collective(c10::cuda::getCurrentCUDAStream(device_.index()).stream()));
}

void NcclCommunicator::all_reduce(at::Tensor& values, ReduceOp op) {
  const ncclDataType_t datatype = datatype_of(values);
  if (values.numel() == 0) return;
  void* const data = values.data_ptr();
  const auto count = static_cast<std::size_t>(values.numel());
  const ncclRedOp_t nccl_op = op == ReduceOp::Sum ? ncclSum : ncclMax;
  enqueue("ncclAllReduce", [&](cudaStream_t stream) {
    return ncclAllReduce(data, data, count, datatype, nccl_op, comm_.get(), stream);
  });
}

at::Tensor NcclCommunicator::all_gather(const at::Tensor& values) {
  const ncclDataType_t datatype = datatype_of(values);
  std::vector<std::int64_t> shape{size_};
  shape.insert(shape.end(), values.sizes().begin(), values.sizes().end());
  at::Tensor gathered = at::empty(shape, values.options());  // [size, ...]
  if (values.numel() == 0) return gathered;
  const auto count = static_cast<std::size_t>(values.numel());
  enqueue("ncclAllGather", [&](cudaStream_t stream) {
    return ncclAllGather(
        values.const_data_ptr(), gathered.data_ptr(), count, datatype, comm_.get(), stream);
  });
  return gathered;
}

void NcclCommunicator::broadcast(at::Tensor& values, int root) {
  const ncclDataType_t datatype = datatype_of(values);
  if (values.numel() == 0) return;
  void* const data = values.data_ptr();
  const auto count = static_cast<std::size_t>(values.numel());
  enqueue("ncclBroadcast", [&](cudaStream_t stream) {
    return ncclBroadcast(data, data, count, datatype, root, comm_.get(), stream);
  });
}

// What partners have enqueued waits for this rank: nothing is left but to abort.
void NcclCommunicator::give_up() {
  if (size_ > 1) fail("a sweep", "this rank gave up");
}

// A host that is far ahead of its GPU waits here for a whole batch; partners that have come as far
// answer the watch.
void NcclCommunicator::synchronize() {
  const c10::cuda::CUDAStream stream = c10::cuda::getCurrentCUDAStream(device_.index());
  const CollectiveWatch::Visit visit(watch_);
  wait_idle([&] {
    throw_if_failed();
    return stream.query();
  });
}

}  // namespace limn
