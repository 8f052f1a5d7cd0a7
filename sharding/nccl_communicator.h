// A group of ranks that talk through NCCL: GPUs.
#pragma once

#include <exception>
#include <memory>
#include <string>

#include <c10/core/Device.h>
#include <nccl.h>

#include "sharding/collective_watch.h"
#include "sharding/communicator.h"
#include "sharding/mpi_handle.h"

namespace limn {

// "2.28.9"
std::string nccl_version();

// Enqueues its collectives on the device's current stream, behind what computes their input, and
// returns once they are enqueued: the host never waits for a GPU but in synchronize(). Takes
// tensors on its own device alone, of float32, float64, bfloat16, float16 and int64. A call throws
// InternalError when NCCL reports a failure, of this call or of an earlier one, or when a partner
// does not come within `timeout_s`; then the group is aborted, so that the partners do not wait for
// this rank, and every later call throws.
//
// The end is collective, too: it waits for what was enqueued, then for the partners. While an
// exception unwinds, and after a failure, the group is aborted instead. Comes before MPI's end.
class NcclCommunicator : public Communicator {
 public:
  // The ranks of `ranks`, each on a GPU of its own, readied for use. Collective over `ranks`.
  // Throws InternalError, on every rank, when NCCL cannot connect them.
  NcclCommunicator(MpiComm ranks, at::Device device, Patience patience = {});
  ~NcclCommunicator() override;
  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;

  int rank() const override { return rank_; }

  int size() const override { return size_; }

  void all_reduce(at::Tensor& values, ReduceOp op) override;
  at::Tensor all_gather(const at::Tensor& values) override;
  void broadcast(at::Tensor& values, int root) override;
  void give_up() override;

  void meet() override {}

  void synchronize() override;

 private:
  struct Abort {
    void operator()(ncclComm* comm) const { ncclCommAbort(comm); }
  };

  ncclDataType_t datatype_of(const at::Tensor& values) const;

  // Calls `collective(stream)` and waits until NCCL has enqueued it.
  template <typename Collective>
  void enqueue(const char* call, Collective&& collective);

  // Waits until NCCL is done with a call that returned `result`.
  void complete(const char* call, ncclResult_t result);
  void throw_if_failed();
  void close();
  [[noreturn]] void fail(const char* call, const std::string& reason);

  double timeout_s_;
  CollectiveWatch watch_;
  int rank_;
  int size_;
  at::Device device_;
  int exceptions_in_flight_ = std::uncaught_exceptions();
  std::unique_ptr<ncclComm, Abort> comm_;  // null after a failure
};

}  // namespace limn
