#include "coordinator/dealer.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "coordinator/protocol.h"
#include "storage/error.h"

namespace limn {

namespace {

// How long to wait for a letter before looking whether a stop was asked for.
constexpr auto kPatience = std::chrono::milliseconds(50);

}  // namespace

Dealer::Dealer(const Mailbox& mailbox, const std::vector<int>& leaders) : mailbox_(mailbox) {
  for (const int rank : leaders)
    leaders_.push_back({.rank = rank});
  num_letters_due_ = std::ssize(leaders_) * kBatchesHeld;
}

// Where there are few batches, the first leader to ask must not get its second one while another
// has none yet.
std::optional<std::size_t> Dealer::next_taker() const {
  const int fewest = std::ranges::min(leaders_, {}, &Leader::num_held).num_held;
  const auto found = std::ranges::find_if(leaders_, [&](const Leader& leader) {
    return leader.num_held == fewest && leader.num_asked_for > 0;
  });
  if (found == leaders_.end()) return std::nullopt;
  return static_cast<std::size_t>(found - leaders_.begin());
}

bool Dealer::has_taker() const {
  return next_taker().has_value();
}

void Dealer::deal(std::vector<std::byte> batch) {
  const auto taker = next_taker();
  check(taker.has_value() && !batch.empty(), "a batch that goes to nobody");
  Leader& leader = leaders_[*taker];
  mailbox_.send(leader.rank, static_cast<int>(LetterTag::ToLeader), std::move(batch));
  ++leader.num_held;
  --leader.num_asked_for;
  ++num_letters_due_;
}

void Dealer::receive(const std::function<void(std::span<const std::byte>)>& take) {
  auto letter = letter_within(kPatience);
  for (; letter; letter = letter_within(std::chrono::milliseconds(0))) {
    const auto leader = std::ranges::find(leaders_, letter->from, &Leader::rank);
    check(leader != leaders_.end(), "a letter from rank {}, which leads no group", letter->from);
    if (!letter->bytes.empty()) {
      take(letter->bytes);
      --leader->num_held;
    }
    ++leader->num_asked_for;
  }
}

std::optional<Letter> Dealer::letter_within(std::chrono::milliseconds time) {
  auto letter = mailbox_.receive_within(static_cast<int>(LetterTag::ToCoordinator), time);
  if (letter) --num_letters_due_;
  return letter;
}

void Dealer::dismiss() {
  while (num_letters_due_ > 0 && !is_abandoned())
    letter_within(kPatience);
  for (const Leader& leader : leaders_) {
    mailbox_.send(leader.rank, static_cast<int>(LetterTag::ToLeader), {});
  }
}

}  // namespace limn
