// How a long call ends early: the thread that called asks now and then whether it shall, and all
// of its threads look at the answer between pieces of work of a millisecond or so.

#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>

namespace phiid {

struct Stopped : std::exception {
    const char* what() const noexcept override { return "interrupted"; }
};

// Of one call, shared by its threads.
class Watch {
   public:
    static constexpr std::chrono::milliseconds PERIOD{50};

    // `asked`: whether the call shall end.
    explicit Watch(bool (*asked)()) : asked_(asked) {}

    // Only in the thread that called: a signal is handled there.
    void look() {
        const auto now = std::chrono::steady_clock::now();
        if (now < due_) return;
        due_ = now + PERIOD;
        if (asked_()) stop_.store(true, std::memory_order_relaxed);
    }
    bool stopped() const { return stop_.load(std::memory_order_relaxed); }

   private:
    bool (*asked_)();
    std::chrono::steady_clock::time_point due_ = std::chrono::steady_clock::now() + PERIOD;
    std::atomic<bool> stop_{false};
};

// What this thread works for.
struct Duty {
    Watch* watch;
    bool calling;  // whether it is the thread that called
    int64_t work;  // done since it looked
};
inline thread_local Duty duty{nullptr, false, 0};

// This thread's duty as long as it lives.
class OnDuty {
   public:
    OnDuty(Watch* watch, bool calling) : before_(duty) { duty = {watch, calling, 0}; }
    ~OnDuty() { duty = before_; }
    OnDuty(const OnDuty&) = delete;
    OnDuty& operator=(const OnDuty&) = delete;

   private:
    const Duty before_;
};

// Throws Stopped if the call shall end. `work` is about how many multiply-adds were done since
// the last time: it looks when they have become many, and costs an addition until then.
inline void checkpoint(int64_t work) {
    constexpr int64_t MANY = 1 << 20;
    if ((duty.work += work) < MANY) return;
    duty.work = 0;
    if (duty.watch == nullptr) return;
    if (duty.calling) duty.watch->look();
    if (duty.watch->stopped()) throw Stopped();
}

// Memory that is not cleared: of a long series that alone would take seconds without a checkpoint.
using Numbers = std::unique_ptr<double[]>;
inline Numbers numbers(int64_t count) { return Numbers(new double[count]); }

// Calls body(from, to) for the samples of a series, some thousand at a time, with a checkpoint
// after each; `work` is that of a sample.
template <class Body>
inline void in_stretches(int64_t samples, int64_t work, const Body& body) {
    constexpr int64_t STRETCH = 1 << 14;  // whole vectors
    for (int64_t from = 0; from < samples; from += STRETCH) {
        const int64_t to = std::min(from + STRETCH, samples);
        body(from, to);
        checkpoint((to - from) * work);
    }
}

}  // namespace phiid
