#include "process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "../tools/interrupt.hpp"

namespace eval {

namespace {

[[noreturn]] void fail(const char* what, int problem) { throw std::runtime_error(std::string("cannot ") + what + ": " + std::strerror(problem)); }

// Both ends close with it, and neither outlives an exec but where it is asked to.
struct pipe_ends {
    std::array<int, 2> fd{-1, -1};

    pipe_ends() {
        if (::pipe2(fd.data(), O_CLOEXEC) != 0) fail("make a pipe", errno);
    }
    pipe_ends(const pipe_ends&) = delete;
    pipe_ends& operator=(const pipe_ends&) = delete;
    ~pipe_ends() {
        for (const int f : fd)
            if (f >= 0) ::close(f);
    }
    void close_write() {
        ::close(fd[1]);
        fd[1] = -1;
    }
};

::pid_t spawn(const std::vector<std::string>& arguments, const pipe_ends& out, const pipe_ends& err) {
    std::vector<std::string> all{"/proc/self/exe"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (std::string& a : all) argv.push_back(a.data());
    argv.push_back(nullptr);
    ::posix_spawn_file_actions_t files;
    ::posix_spawn_file_actions_init(&files);
    ::posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_adddup2(&files, out.fd[1], 1);
    ::posix_spawn_file_actions_adddup2(&files, err.fd[1], 2);
    ::pid_t pid = 0;
    const int problem = ::posix_spawn(&pid, argv[0], &files, nullptr, argv.data(), environ);
    ::posix_spawn_file_actions_destroy(&files);
    if (problem != 0) fail("start a process of this program", problem);
    return pid;
}

// What there is to read; false: the end.
bool read_more(int fd, std::string& to) {
    char bytes[4096];
    const ::ssize_t n = ::read(fd, bytes, sizeof bytes);
    if (n > 0) to.append(bytes, std::size_t(n));
    return n > 0 || (n < 0 && errno == EINTR);
}

void wait_for(::pid_t pid, process_result& r) {
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) fail("wait for a process", errno);
    if (WIFSIGNALED(status)) r.signal = WTERMSIG(status);
    else r.exit_code = WEXITSTATUS(status);
}

}  // namespace

process_result run_self(const std::vector<std::string>& arguments, const std::function<void(const std::string&)>& on_line) {
    pipe_ends out, err;
    const ::pid_t pid = spawn(arguments, out, err);
    out.close_write();
    err.close_write();
    process_result r;
    std::array<::pollfd, 2> fds{{{out.fd[0], POLLIN, 0}, {err.fd[0], POLLIN, 0}}};
    while (fds[0].fd >= 0 || fds[1].fd >= 0) {
        ::poll(fds.data(), fds.size(), 200);
        if (tools::interrupted != 0 && !r.was_interrupted) {
            r.was_interrupted = true;
            ::kill(pid, SIGTERM);
        }
        if (fds[0].revents != 0 && !read_more(fds[0].fd, r.last_line)) fds[0].fd = -1;
        if (fds[1].revents != 0 && !read_more(fds[1].fd, r.errors)) fds[1].fd = -1;
        for (std::size_t end; (end = r.last_line.find('\n')) != std::string::npos && end + 1 < r.last_line.size(); r.last_line.erase(0, end + 1))
            on_line(r.last_line.substr(0, end));
    }
    wait_for(pid, r);
    if (tools::interrupted != 0) r.was_interrupted = true;  // the terminal sent it to both
    return r;
}

void end_with_parent() { ::prctl(PR_SET_PDEATHSIG, SIGKILL); }

}  // namespace eval
