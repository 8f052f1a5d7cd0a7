#include "sharding/mpi_communicator.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include <ATen/ATen.h>

#include "sharding/idle_wait.h"

namespace limn {

namespace {

// MPI counts elements with an int.
constexpr std::int64_t kLargestCount = std::int64_t{1} << 30;

MPI_Datatype datatype_of(const at::Tensor& values) {
  check(
      values.is_contiguous() && values.device().is_cpu(),
      "collectives want contiguous tensors on the CPU");
  switch (values.scalar_type()) {
    case at::kFloat:
      return MPI_FLOAT;
    case at::kDouble:
      return MPI_DOUBLE;
    case at::kLong:
      return MPI_INT64_T;
    default:
      throw InternalError(
          fmt::format("collectives do not take {}", c10::toString(values.scalar_type())));
  }
}

// Calls `collective(pointer, count)` on successive pieces of `values` that MPI can count.
template <typename Collective>
void in_countable_pieces(at::Tensor& values, Collective&& collective) {
  auto* const begin = static_cast<std::byte*>(values.data_ptr());
  for (std::int64_t done = 0; done < values.numel(); done += kLargestCount) {
    const std::int64_t count = std::min(kLargestCount, values.numel() - done);
    collective(begin + done * values.element_size(), static_cast<int>(count));
  }
}

}  // namespace

MpiCommunicator::MpiCommunicator(MpiComm comm, Patience patience)
    : comm_(std::move(comm)),
      watch_(comm_.duplicate(), std::move(patience)),
      rank_(comm_.rank()),
      size_(comm_.size()) {}

void MpiCommunicator::wait_for_partners() {
  if (somebody_gives_up(false)) throw PartnerGaveUp();
}

void MpiCommunicator::give_up() {
  const CollectiveWatch::Visit visit(watch_);
  somebody_gives_up(true);
}

void MpiCommunicator::meet() {
  const CollectiveWatch::Visit visit(watch_);
  wait_for_partners();
}

bool MpiCommunicator::somebody_gives_up(bool i_do) {
  i_give_up_ = i_do ? 1 : 0;
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(
      MPI_Iallreduce(&i_give_up_, &somebody_gives_up_, 1, MPI_INT, MPI_MAX, comm_.get(), &request),
      "MPI_Iallreduce");
  wait_idle([&] {
    int arrived = 0;
    check_mpi(MPI_Test(&request, &arrived, MPI_STATUS_IGNORE), "MPI_Test");
    return arrived != 0;
  });
  return somebody_gives_up_ != 0;
}

void MpiCommunicator::all_reduce(at::Tensor& values, ReduceOp op) {
  const MPI_Datatype datatype = datatype_of(values);
  const CollectiveWatch::Visit visit(watch_);
  const MPI_Op mpi_op = op == ReduceOp::Sum ? MPI_SUM : MPI_MAX;
  wait_for_partners();
  in_countable_pieces(values, [&](void* data, int count) {
    check_mpi(
        MPI_Allreduce(MPI_IN_PLACE, data, count, datatype, mpi_op, comm_.get()), "MPI_Allreduce");
  });
}

at::Tensor MpiCommunicator::all_gather(const at::Tensor& values) {
  const MPI_Datatype datatype = datatype_of(values);
  check(values.numel() <= kLargestCount, "all_gather of {} elements", values.numel());
  std::vector<std::int64_t> shape{size_};
  shape.insert(shape.end(), values.sizes().begin(), values.sizes().end());
  at::Tensor gathered = at::empty(shape, values.options());  // [size, ...]
  const int count = static_cast<int>(values.numel());
  const CollectiveWatch::Visit visit(watch_);
  wait_for_partners();
  check_mpi(
      MPI_Allgather(
          values.const_data_ptr(),
          count,
          datatype,
          gathered.data_ptr(),
          count,
          datatype,
          comm_.get()),
      "MPI_Allgather");
  return gathered;
}

void MpiCommunicator::broadcast(at::Tensor& values, int root) {
  const MPI_Datatype datatype = datatype_of(values);
  const CollectiveWatch::Visit visit(watch_);
  wait_for_partners();
  in_countable_pieces(values, [&](void* data, int count) {
    check_mpi(MPI_Bcast(data, count, datatype, root, comm_.get()), "MPI_Bcast");
  });
}

}  // namespace limn
