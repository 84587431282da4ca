// Ctrl-C and `kill`: noted, and obeyed where work can be left. A second one stops the program at once.
#pragma once
#include <signal.h>

#include <atomic>
#include <initializer_list>

namespace tools {

inline std::atomic<int> interrupted{0};  // a signal may come to any thread
static_assert(std::atomic<int>::is_always_lock_free);

inline void note_interrupts() {
    struct sigaction note {};
    note.sa_handler = [](int) { interrupted = 1; };
    note.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
        struct sigaction before {};
        ::sigaction(signal, nullptr, &before);
        if (before.sa_handler != SIG_IGN) ::sigaction(signal, &note, nullptr);  // nohup and background jobs stay as they are
    }
}

}  // namespace tools
