// This program once more, as a process of its own: what it measures of memory is its own, and what kills it does not kill us.
#pragma once
#include <functional>
#include <string>
#include <vector>

namespace eval {

struct process_result {
    int exit_code = 0;  // of a process that ended by itself
    int signal = 0;     // else what ended it
    std::string last_line, errors;
    bool was_interrupted = false;  // by us, because we were
};

// Runs /proc/self/exe with `arguments`; each line it prints but the last goes to on_line. An interrupt (tools::interrupted) stops it.
process_result run_self(const std::vector<std::string>& arguments, const std::function<void(const std::string&)>& on_line);

// To be called by the process: it ends when the one that started it does.
void end_with_parent();

}  // namespace eval
