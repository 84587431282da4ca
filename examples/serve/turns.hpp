// A lock that is given in the order in which it was asked for: several models, and an evaluation, take turns at the cores.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace serve {

class turns {
public:
    void lock() {
        std::unique_lock held(mutex_);
        const std::uint64_t mine = next_++;
        called_.wait(held, [&] { return now_ == mine; });
    }
    void unlock() {
        {
            const std::lock_guard held(mutex_);
            ++now_;
        }
        called_.notify_all();
    }

private:
    std::mutex mutex_;
    std::condition_variable called_;
    std::uint64_t next_ = 0, now_ = 0;
};

}  // namespace serve
