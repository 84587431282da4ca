// A line that says how far the work is and how long it will take, on a terminal only.
//
//   tools::progress bar(total);          // in any unit of work
//   bar.show(done, "wte");
#pragma once
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <string>

#include <qnt/io/text.hpp>

namespace tools {

class progress {
public:
    explicit progress(double total) : total_(total), is_terminal_(::isatty(STDERR_FILENO) == 1) {}
    progress(const progress&) = delete;
    progress& operator=(const progress&) = delete;
    ~progress() {
        if (is_shown_) std::fputs("\r\x1b[K", stderr);
    }

    void show(double done, const std::string& next) {
        if (!is_terminal_) return;
        const double part = total_ > 0 ? std::min(1.0, done / total_) : 1;
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
        std::string left;
        if (part > 0.02) left = time_text(seconds / part * (1 - part)) + " left";
        const std::size_t filled = static_cast<std::size_t>(part * 24);
        char head[96];
        std::snprintf(head, sizeof head, "[%s%s] %3.0f %%  %-12s  ", std::string(filled, '#').c_str(), std::string(24 - filled, ' ').c_str(),
                      100 * part, left.c_str());
        winsize size{};
        const std::size_t columns = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
        const std::string line = (head + qnt::printable(next, 40)).substr(0, columns - 1);
        std::fprintf(stderr, "\r\x1b[K%s", line.c_str());
        is_shown_ = true;
    }

private:
    static std::string time_text(double seconds) {
        const auto s = static_cast<long>(std::min(1e9, std::ceil(seconds)));
        return s < 90 ? std::to_string(s) + " s" : std::to_string((s + 59) / 60) + " min";
    }

    double total_;
    bool is_terminal_, is_shown_ = false;
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace tools
