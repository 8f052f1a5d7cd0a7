// Who owns a run: one live process, told apart from all that came before it by its epoch.
//
//   RUN/lock           flock of the owner; one line of JSON for a person: who it is
//   RUN/epochs/NNNNNN  the claim of epoch NNNNNN: the same line, and one that changes while it
//   lives
//
// Where flock reaches all hosts it alone says who owns the run. Where there is none, or one of each
// host's own (NFS with local_lock, Lustre with localflock), the epochs do: a start claims the next
// number, which only one process can get, and whoever finds a higher number than its own has lost
// the run and may write nothing more. docs/run-directory.md specifies both.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

namespace limn {

struct RunOwner {
  std::string host;
  std::string job_id;        // of Slurm, "JOB_TASK" in an array; empty: none
  std::int64_t process = 0;  // on the host
  std::int64_t epoch = 0;    // counts the starts of the run from 1
  std::string started;       // UTC, ISO 8601: "2026-03-14T09:26:53Z"

  bool operator==(const RunOwner&) const = default;
};

// "process 4711 on node12, Slurm job 815_3, since 2026-03-14T09:26:53Z", for messages; of an owner
// without a host "an unknown process".
std::string describe(const RunOwner& owner);

// Whether flock is asked, or taken to be missing, as it is on some file systems.
enum class OwnerLock { Flock, None };

struct OwnershipOptions {
  // How long a start waits for an owner that lives: ranks outlive a launcher that was killed by a
  // second or two, and who starts the same command again at once need not know.
  std::chrono::milliseconds patience = std::chrono::seconds(5);
  // Between two signs of life of an owner.
  std::chrono::milliseconds heartbeat = std::chrono::seconds(2);
  // An owner that gave none for so long, by the watcher's own clock, has died.
  std::chrono::milliseconds silence = std::chrono::seconds(15);
  OwnerLock lock = OwnerLock::Flock;
  // What tells whether a process number means the same process here and there; empty: this kernel
  // and its process namespace. Given by a test that plays several hosts.
  std::string machine;
};

// Owns: the run, from acquire() until destruction or the end of the process, and a thread that
// gives signs of life. Threads: one thread at a time, but for what is const: any thread.
class RunOwnership {
 public:
  // Waits until the owner, if there is one, has ended, at most `patience`. Where flock cannot tell
  // and the last owner did not say that it ended, watches it for up to `silence`; one whose process
  // is known to be gone is not watched. Creates what is missing but RUN itself.
  // Throws IoError naming the owner when there is one, or when nothing can be written.
  static RunOwnership acquire(
      const std::filesystem::path& run, const OwnershipOptions& options = {});
  ~RunOwnership();
  RunOwnership(RunOwnership&&) noexcept;
  RunOwnership& operator=(RunOwnership&&) noexcept;

  const RunOwner& owner() const;

  std::int64_t epoch() const { return owner().epoch; }

  // Throws IoError naming the other when a higher epoch was claimed: whatever is written from then
  // on is another's. To be called before anything gets its final name.
  void check_still_owner() const;

 private:
  class Impl;
  explicit RunOwnership(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Who owns the run now; nothing if nobody does. Without a host where it is not known yet: a start
// that waits for signs of life of the one before. For readers: needs no permission to write and
// disturbs no owner. Returns at once, but where only signs of life can tell (the last owner was on
// another host, did not say that it ended, and no flock shows it): after up to three heartbeats.
// Throws IoError.
std::optional<RunOwner> live_owner(
    const std::filesystem::path& run, const OwnershipOptions& options = {});

// Who owned the run last, or does now; nothing when nobody ever did, or nothing tells any more.
// Throws IoError.
std::optional<RunOwner> last_owner(const std::filesystem::path& run);

}  // namespace limn
