#include "tests/emulated_gpu.h"

#include <ucontext.h>

#include <algorithm>
#include <csetjmp>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include <c10/util/Float8_e4m3fn.h>

namespace limn {

namespace test {

namespace {

constexpr int kLanes = 32;
constexpr std::size_t kStackBytes = 128 << 10;

struct Copy {
  void* to;
  const void* from;
  bool is_there;
};

// Where a number of threads meet.
struct Meeting {
  int arrived = 0;
  std::uint64_t number = 0;
  void* operands[kLanes] = {};
};

struct Fiber {
  std::unique_ptr<char[]> stack = std::make_unique_for_overwrite<char[]>(kStackBytes);
  ucontext_t start{};
  std::jmp_buf where{};
  bool has_started = false;
  bool has_ended = false;
  std::vector<Copy> open_copies;
  std::vector<std::vector<Copy>> copies;  // by group
};

// The block under way. Fibers take turns in the order of their indices.
struct Block {
  long long index = 0;
  const std::function<void()>* kernel = nullptr;
  std::vector<Fiber> fibers;
  std::vector<unsigned char> memory;  // shared
  std::vector<Meeting> of_warps;
  Meeting of_all;
  int current = 0;
  int num_running = 0;
  std::jmp_buf scheduler{};
};

Block* block = nullptr;

Fiber& current_fiber() {
  return block->fibers[static_cast<std::size_t>(block->current)];
}

// To the next fiber that has not ended.
[[noreturn]] void go_on_with_next() {
  if (block->num_running == 0) _longjmp(block->scheduler, 1);
  do {
    block->current = (block->current + 1) % static_cast<int>(block->fibers.size());
  } while (current_fiber().has_ended);
  Fiber& next = current_fiber();
  if (next.has_started) _longjmp(next.where, 1);
  next.has_started = true;
  setcontext(&next.start);
  throw std::logic_error("setcontext failed");
}

void yield() {
  if (_setjmp(current_fiber().where) == 0) go_on_with_next();
}

void run_fiber() {
  (*block->kernel)();
  current_fiber().has_ended = true;
  --block->num_running;
  go_on_with_next();
}

// Calls act(operands) once all threads of the meeting have come with theirs.
template <typename Act>
void meet(Meeting& meeting, int threads, int place, void* operand, const Act& act) {
  meeting.operands[place % kLanes] = operand;
  if (++meeting.arrived == threads) {
    act(meeting.operands);
    meeting.arrived = 0;
    ++meeting.number;
    return;
  }
  for (const std::uint64_t number = meeting.number; meeting.number == number;)
    yield();
}

template <typename Operand, typename Act>
void meet_warp(Operand& operand, const Act& act) {
  const int lane = block->current % kLanes;
  Meeting& meeting = block->of_warps[static_cast<std::size_t>(block->current / kLanes)];
  meet(meeting, kLanes, lane, &operand, [&](void** operands) {
    Operand* all[kLanes];
    for (int i = 0; i < kLanes; ++i)
      all[i] = static_cast<Operand*>(operands[i]);
    act(all);
  });
}

float low_half(unsigned pair) {
  return float_of_bits(pair << 16);
}

float high_half(unsigned pair) {
  return float_of_bits(pair & 0xffff0000U);
}

struct MatrixOperand {
  const unsigned short* row;
  unsigned* matrices;
};

// Element [i][j] of matrix m lies in row i, that of lane 8 m + i.
template <bool kTransposed>
void load_four(unsigned (&matrices)[4], const unsigned short* row) {
  MatrixOperand operand{row, matrices};
  meet_warp(operand, [](MatrixOperand** lanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      for (int m = 0; m < 4; ++m) {
        unsigned pair = 0;
        for (int e = 0; e < 2; ++e) {
          int i = lane / 4;
          int j = lane % 4 * 2 + e;
          if (kTransposed) std::swap(i, j);
          pair |= static_cast<unsigned>(lanes[8 * m + i]->row[j]) << (16 * e);
        }
        lanes[lane]->matrices[m] = pair;
      }
    }
  });
}

struct ProductOperand {
  float* c;
  const unsigned* a;
  unsigned b[2];
};

void multiply_warp(ProductOperand** lanes) {
  float a[16][16];
  float b[16][8];
  for (int lane = 0; lane < kLanes; ++lane) {
    const int group = lane / 4;
    const int pair = lane % 4 * 2;
    for (int i = 0; i < 4; ++i) {
      const int row = group + i % 2 * 8;
      const int k = pair + i / 2 * 8;
      a[row][k] = low_half(lanes[lane]->a[i]);
      a[row][k + 1] = high_half(lanes[lane]->a[i]);
    }
    for (int i = 0; i < 2; ++i) {
      b[pair + 8 * i][group] = low_half(lanes[lane]->b[i]);
      b[pair + 8 * i + 1][group] = high_half(lanes[lane]->b[i]);
    }
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + i / 2 * 8;
      const int column = lane % 4 * 2 + i % 2;
      float sum = lanes[lane]->c[i];
      for (int k = 0; k < 16; ++k)
        sum += a[row][k] * b[k][column];
      lanes[lane]->c[i] = sum;
    }
  }
}

void arrive(const std::vector<Copy>& copies) {
  constexpr std::size_t kBytes = 16;
  for (const Copy& copy : copies) {
    if (copy.is_there) {
      std::memcpy(copy.to, copy.from, kBytes);
    } else {
      std::memset(copy.to, 0, kBytes);
    }
  }
}

}  // namespace

void run_emulated(
    long long blocks, int threads, int shared_bytes, const std::function<void()>& kernel) {
  Block running;
  running.kernel = &kernel;
  running.fibers.resize(static_cast<std::size_t>(threads));
  running.of_warps.resize(static_cast<std::size_t>(threads / kLanes));
  block = &running;
  for (running.index = 0; running.index < blocks; ++running.index) {
    running.memory.assign(static_cast<std::size_t>(shared_bytes) + 16, 0xff);
    running.num_running = threads;
    running.current = threads - 1;
    for (Fiber& fiber : running.fibers) {
      fiber.has_started = false;
      fiber.has_ended = false;
      getcontext(&fiber.start);
      fiber.start.uc_stack.ss_sp = fiber.stack.get();
      fiber.start.uc_stack.ss_size = kStackBytes;
      makecontext(&fiber.start, run_fiber, 0);
    }
    if (_setjmp(running.scheduler) == 0) {
      // The first of all is number 0.
      go_on_with_next();
    }
    for (const Fiber& fiber : running.fibers) {
      for (const auto& group : fiber.copies) {
        if (!group.empty()) throw std::logic_error("a thread ended while copies were under way");
      }
    }
    for (Fiber& fiber : running.fibers)
      fiber.copies.clear();
  }
  block = nullptr;
}

void wait_for_copies(int pending) {
  auto& groups = current_fiber().copies;
  while (groups.size() > static_cast<std::size_t>(pending)) {
    arrive(groups.front());
    groups.erase(groups.begin());
  }
}

}  // namespace test

int block_index() {
  return static_cast<int>(test::block->index);
}

int thread_index() {
  return test::block->current;
}

void sync_threads() {
  const auto threads = static_cast<int>(test::block->fibers.size());
  test::meet(test::block->of_all, threads, 0, nullptr, [](void**) {});
}

unsigned char* shared_memory() {
  unsigned char* const memory = test::block->memory.data();
  return memory + (16 - reinterpret_cast<std::uintptr_t>(memory) % 16) % 16;
}

float shuffle_xor(float value, int mask) {
  struct Operand {
    float value;
    int mask;
    float other;
  } operand{value, mask, 0};

  test::meet_warp(operand, [](Operand** lanes) {
    for (int lane = 0; lane < test::kLanes; ++lane)
      lanes[lane]->other = lanes[lane ^ lanes[lane]->mask]->value;
  });
  return operand.other;
}

bool any_of_warp(bool value) {
  struct Operand {
    bool value;
    bool any;
  } operand{value, false};

  test::meet_warp(operand, [](Operand** lanes) {
    bool any = false;
    for (int lane = 0; lane < test::kLanes; ++lane)
      any = any || lanes[lane]->value;
    for (int lane = 0; lane < test::kLanes; ++lane)
      lanes[lane]->any = any;
  });
  return operand.any;
}

float infinity() {
  return std::numeric_limits<float>::infinity();
}

float float_of_bits(unsigned bits) {
  float x = 0;
  std::memcpy(&x, &bits, sizeof(x));
  return x;
}

unsigned short bfloat16_bits(float x) {
  unsigned bits = 0;
  std::memcpy(&bits, &x, sizeof(x));
  if (std::isnan(x)) return 0x7fff;
  // To the nearest, ties to even.
  bits += 0x7fffU + (bits >> 16 & 1U);
  return static_cast<unsigned short>(bits >> 16);
}

unsigned bfloat16_pair(float first, float second) {
  return bfloat16_bits(first) | static_cast<unsigned>(bfloat16_bits(second)) << 16;
}

unsigned short float8_pair(float first, float second) {
  // Float8's largest is where these end, not infinity.
  const auto bits = [](float x) { return c10::Float8_e4m3fn(std::clamp(x, -448.0F, 448.0F)).x; };
  return static_cast<unsigned short>(bits(first) | bits(second) << 8);
}

float exp2_fast(float x) {
  return std::exp2(x);
}

void copy_async(void* to, const void* from, bool is_there) {
  test::current_fiber().open_copies.push_back({to, from, is_there});
}

void commit_copies() {
  test::Fiber& fiber = test::current_fiber();
  fiber.copies.push_back(std::exchange(fiber.open_copies, {}));
}

void load_matrices(unsigned (&matrices)[4], const unsigned short* row) {
  test::load_four<false>(matrices, row);
}

void load_transposed(unsigned (&matrices)[4], const unsigned short* row) {
  test::load_four<true>(matrices, row);
}

void multiply_add(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  test::ProductOperand operand{c, a, {b0, b1}};
  test::meet_warp(operand, test::multiply_warp);
}

}  // namespace limn
