#include "sharding/mailbox.h"

#include <limits>
#include <list>
#include <mutex>
#include <utility>

#include "sharding/idle_wait.h"
#include "sharding/mpi_handle.h"

namespace limn {

class Mailbox::Impl {
 public:
  explicit Impl(MpiComm comm) : comm_(std::move(comm)) {}

  ~Impl() {
    wait_idle([&] {
      forget_sent();
      return under_way_.empty();
    });
  }

  void send(int to, int tag, std::vector<std::byte> bytes) {
    check(
        bytes.size() <= static_cast<std::size_t>(std::numeric_limits<int>::max()),
        "a letter of {} bytes",
        bytes.size());
    forget_sent();
    const std::lock_guard lock(mutex_);
    SentLetter& letter = under_way_.emplace_back(std::move(bytes));
    check_mpi(
        MPI_Isend(
            letter.bytes.data(),
            static_cast<int>(letter.bytes.size()),
            MPI_BYTE,
            to,
            tag,
            comm_.get(),
            &letter.request),
        "MPI_Isend");
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
    wait_idle([&] { return is_complete(request); });
    return letter;
  }

 private:
  // A letter that may not have left yet. In a list, for MPI keeps addresses of its members.
  struct SentLetter {
    explicit SentLetter(std::vector<std::byte> content) : bytes(std::move(content)) {}

    std::vector<std::byte> bytes;
    MPI_Request request = MPI_REQUEST_NULL;
  };

  static bool is_complete(MPI_Request& request) {
    int done = 0;
    check_mpi(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "MPI_Test");
    return done != 0;
  }

  // Looks at a few letters, the ones not looked at for longest: their number must not grow, and
  // looking at all of them for each that is sent would cost the square of their number.
  void forget_sent() {
    constexpr int looks = 4;
    const std::lock_guard lock(mutex_);
    for (int look = 0; look < looks && !under_way_.empty(); ++look) {
      if (is_complete(under_way_.front().request)) {
        under_way_.pop_front();
      } else {
        under_way_.splice(under_way_.end(), under_way_, under_way_.begin());
      }
    }
  }

  MpiComm comm_;
  std::mutex mutex_;
  std::list<SentLetter> under_way_;  // guarded by mutex_
};

Mailbox::Mailbox(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Mailbox::~Mailbox() = default;

Mailbox::Mailbox(Mailbox&&) noexcept = default;

Mailbox& Mailbox::operator=(Mailbox&&) noexcept = default;

Mailbox Mailbox::open() {
  return Mailbox(std::make_unique<Impl>(MpiComm::duplicate_world()));
}

void Mailbox::send(int to, int tag, std::vector<std::byte> bytes) const {
  impl_->send(to, tag, std::move(bytes));
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
