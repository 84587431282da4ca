// Counters that any thread may touch, and the text format of Prometheus (exposition format 0.0.4).
//
//   counter requests;  requests.add();
//   metrics_text out;  out.metric("qnt_requests_total", "counter", "Requests.");  out.sample("", requests.value());
#pragma once
#include <array>
#include <atomic>
#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>

namespace serve {

class counter {
public:
    void add(std::uint64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
    double value() const { return double(value_.load(std::memory_order_relaxed)); }

private:
    std::atomic<std::uint64_t> value_{0};
};

class gauge {
public:
    void set(std::uint64_t n) { value_.store(n, std::memory_order_relaxed); }
    double value() const { return double(value_.load(std::memory_order_relaxed)); }

private:
    std::atomic<std::uint64_t> value_{0};
};

// Of seconds, or of counts: bounds double from the first to beyond 60 s (or 2^16 times the first).
class histogram {
public:
    static constexpr std::size_t buckets = 17;
    explicit histogram(double first) : first_(first) {}

    void add(double value) {
        std::size_t i = 0;
        for (double bound = first_; i < buckets && value > bound; bound *= 2) ++i;
        counts_[i].fetch_add(1, std::memory_order_relaxed);
        sum_.fetch_add(value, std::memory_order_relaxed);
    }
    double bound(std::size_t i) const { return first_ * double(std::uint64_t{1} << i); }
    std::uint64_t count(std::size_t i) const { return counts_[i].load(std::memory_order_relaxed); }  // i == buckets: beyond all bounds
    double sum() const { return sum_.load(std::memory_order_relaxed); }

private:
    double first_;
    std::array<std::atomic<std::uint64_t>, buckets + 1> counts_{};
    std::atomic<double> sum_{0};
};

class metrics_text {
public:
    void metric(const char* name, const char* type, const char* help) {
        name_ = name;
        text_ += "# HELP " + name_ + ' ' + help + "\n# TYPE " + name_ + ' ' + type + '\n';
    }
    // labels: as in `model="quantized"`, or empty
    void sample(const std::string& labels, double value, const char* suffix = "") {
        text_ += name_ + suffix + (labels.empty() ? "" : '{' + labels + '}') + ' ' + number(value) + '\n';
    }
    void samples(const std::string& labels, const histogram& h) {
        const std::string before = labels.empty() ? "" : labels + ',';
        std::uint64_t sum = 0;
        for (std::size_t i = 0; i <= histogram::buckets; ++i) {
            sum += h.count(i);
            sample(before + "le=\"" + (i < histogram::buckets ? number(h.bound(i)) : "+Inf") + '"', double(sum), "_bucket");
        }
        sample(labels, h.sum(), "_sum");
        sample(labels, double(sum), "_count");
    }
    std::string take() { return std::move(text_); }

private:
    static std::string number(double value) {
        std::array<char, 32> text;
        return {text.data(), std::to_chars(text.data(), text.data() + text.size(), value).ptr};
    }

    std::string name_, text_;
};

}  // namespace serve
