// Programs as tests run them: arguments without a shell, exit code and what they print.
#pragma once
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "catch.hpp"
#include "io/temp_folder.hpp"

struct outcome {
    std::string program;  // its name
    int exit_code;        // 128 + signal, as in a shell
    std::string out, err;
};

class running_program {
public:
    explicit running_program(std::vector<std::string> arguments) : program_(std::filesystem::path(arguments.at(0)).filename().string()) {
        ::posix_spawn_file_actions_t files;
        ::posix_spawn_file_actions_init(&files);
        ::posix_spawn_file_actions_addopen(&files, 1, (folder_ / "out").c_str(), O_WRONLY | O_CREAT, 0600);
        ::posix_spawn_file_actions_addopen(&files, 2, (folder_ / "err").c_str(), O_WRONLY | O_CREAT, 0600);
        std::vector<char*> argv;
        for (std::string& a : arguments) argv.push_back(a.data());
        argv.push_back(nullptr);
        const int problem = ::posix_spawn(&pid_, argv[0], &files, nullptr, argv.data(), environ);
        ::posix_spawn_file_actions_destroy(&files);
        REQUIRE(problem == 0);
    }
    ::pid_t id() const { return pid_; }
    void send(int signal) const { ::kill(pid_, signal); }
    outcome wait() {
        int status = 0;
        REQUIRE(::waitpid(pid_, &status, 0) == pid_);
        return {program_, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), text_of(folder_ / "out"), text_of(folder_ / "err")};
    }

private:
    std::string program_;
    temp_folder folder_;
    ::pid_t pid_ = 0;
};

inline outcome run(std::vector<std::string> arguments) { return running_program(std::move(arguments)).wait(); }

// One line on stderr that begins with the program's name, nothing on stdout.
inline void check_refused(const outcome& o, int exit_code, const std::string& part) {
    INFO(o.err);
    CHECK(o.exit_code == exit_code);
    CHECK(o.out.empty());
    CHECK(o.err.starts_with(o.program + ": "));
    CHECK(contains(o.err, part));
    CHECK(std::count(o.err.begin(), o.err.end(), '\n') == 1);
}
