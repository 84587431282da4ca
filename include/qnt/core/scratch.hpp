// Memory that a thread keeps between calls.
#pragma once
#include <utility>
#include <vector>

#include "config.hpp"

namespace qnt::detail {
inline namespace QNT_BASELINE {

// Operations may nest (an executor's thread helps out), so a caller takes the memory and returns it.
class scratch {
public:
    explicit scratch(std::size_t floats) : buffer_(std::move(kept())) {
        if (buffer_.size() < floats) buffer_.resize(floats);
    }
    ~scratch() { kept() = std::move(buffer_); }
    scratch(const scratch&) = delete;
    scratch& operator=(const scratch&) = delete;
    float* data() { return buffer_.data(); }

private:
    static std::vector<float>& kept() {
        static thread_local std::vector<float> v;
        return v;
    }
    std::vector<float> buffer_;
};

}  // namespace QNT_BASELINE
}  // namespace qnt::detail
