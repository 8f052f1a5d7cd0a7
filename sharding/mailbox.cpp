#include "sharding/mailbox.h"

#include <limits>
#include <utility>

#include "sharding/idle_wait.h"
#include "sharding/mpi_handle.h"

namespace limn {

class Mailbox::Impl {
 public:
  explicit Impl(MpiComm comm) : comm_(std::move(comm)) {}

  void send(int to, int tag, std::span<const std::byte> bytes) const {
    check(
        bytes.size() <= static_cast<std::size_t>(std::numeric_limits<int>::max()),
        "a letter of {} bytes",
        bytes.size());
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(
        MPI_Isend(
            bytes.data(), static_cast<int>(bytes.size()), MPI_BYTE, to, tag, comm_.get(), &request),
        "MPI_Isend");
    wait_for(request);
  }

  std::optional<Letter> try_receive(int tag) const {
    MPI_Message message = MPI_MESSAGE_NULL;
    MPI_Status status;
    int found = 0;
    // The second probe sees what the first one's progress brought in.
    for (int probe = 0; probe < 2 && found == 0; ++probe) {
      check_mpi(
          MPI_Improbe(MPI_ANY_SOURCE, tag, comm_.get(), &found, &message, &status), "MPI_Improbe");
    }
    if (found == 0) return std::nullopt;

    int count = 0;
    check_mpi(MPI_Get_count(&status, MPI_BYTE, &count), "MPI_Get_count");
    Letter letter{status.MPI_SOURCE, std::vector<std::byte>(static_cast<std::size_t>(count))};
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(MPI_Imrecv(letter.bytes.data(), count, MPI_BYTE, &message, &request), "MPI_Imrecv");
    wait_for(request);
    return letter;
  }

 private:
  static void wait_for(MPI_Request& request) {
    wait_idle([&] {
      int done = 0;
      check_mpi(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "MPI_Test");
      return done != 0;
    });
  }

  MpiComm comm_;
};

Mailbox::Mailbox(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Mailbox::~Mailbox() = default;

Mailbox::Mailbox(Mailbox&&) noexcept = default;

Mailbox& Mailbox::operator=(Mailbox&&) noexcept = default;

Mailbox Mailbox::open() {
  return Mailbox(std::make_unique<Impl>(MpiComm::duplicate_world()));
}

void Mailbox::send(int to, int tag, std::span<const std::byte> bytes) const {
  impl_->send(to, tag, bytes);
}

std::optional<Letter> Mailbox::try_receive(int tag) const {
  return impl_->try_receive(tag);
}

Letter Mailbox::receive(int tag) const {
  std::optional<Letter> letter;
  wait_idle([&] {
    letter = impl_->try_receive(tag);
    return letter.has_value();
  });
  return *std::move(letter);
}

std::optional<Letter> Mailbox::receive_within(int tag, std::chrono::milliseconds time) const {
  const auto deadline = std::chrono::steady_clock::now() + time;
  std::optional<Letter> letter;
  wait_idle([&] {
    letter = impl_->try_receive(tag);
    return letter.has_value() || std::chrono::steady_clock::now() >= deadline;
  });
  return letter;
}

}  // namespace limn
