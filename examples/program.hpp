// What the programs share: exit codes, one clear line for what is wrong, and text that no terminal can be harmed by.
//
//   int main(int argc, char** argv) {
//       CLI::App app{"..."};
//       return run_program("qnt-inspect", app, argc, argv, [&] { ... });
//   }
//
// Exit 0: done. 1: the input is not sound, or what was asked cannot be done. 2: wrong usage. 130: interrupted.
#pragma once
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>

#include <CLI/CLI.hpp>
#include <qnt/io/json.hpp>

namespace tools {

// Arguments that are wrong whatever the files hold.
struct usage_error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Ctrl-C, and what it left.
struct interruption : std::runtime_error {
    explicit interruption(const std::string& left = "nothing was changed") : runtime_error("interrupted, " + left) {}
};

// One line, names of files and tensors in it escaped.
inline void complain(const char* program, const std::string& message) {
    std::fprintf(stderr, "%s: %s\n", program, qnt::printable(message, 1 << 14).c_str());
}

// Without its folders.
inline std::string name_of_file(std::string path) {
    while (path.size() > 1 && path.ends_with('/')) path.pop_back();
    return path.substr(path.rfind('/') + 1);
}

// threads stays 0, one for each usable core, unless the user says a number.
inline void add_threads(CLI::App& app, std::size_t& threads) {
    app.add_option("--threads", threads, "how many; any number gives the same result")
        ->check(CLI::Range(1, 1024))
        ->default_str("one for each usable core");
}

// What CLI11 2.1 takes for numbers: "" for 0, -1 and 2^64 for 2^64 - 1.
inline void check_numbers(const CLI::App& app) {
    for (const CLI::Option* option : app.get_options())
        for (const std::string& text : option->results()) {
            const std::string type = option->get_type_name();
            std::uint64_t n = 0;
            if (type.starts_with("UINT") && !qnt::parse_number(text, n))
                throw usage_error(option->get_name() + ": " + qnt::in_quotes(text) + " is no integer from 0 to 2^64 - 1");
            if (text.empty() && (type.starts_with("INT") || type.starts_with("FLOAT"))) throw usage_error(option->get_name() + ": \"\" is no number");
        }
}

template <class Run> int run_program(const char* name, CLI::App& app, int argc, char** argv, const Run& run) {
    try {
        app.parse(argc, argv);
        check_numbers(app);
        run();
        if (std::fflush(stdout) != 0 || std::ferror(stdout)) throw std::runtime_error(std::string("cannot write to stdout: ") + std::strerror(errno));
        return 0;
    } catch (const CLI::ParseError& e) {
        if (e.get_exit_code() == 0) return app.exit(e);  // --help
        complain(name, e.what());
        return 2;
    } catch (const usage_error& e) {
        complain(name, e.what());
        return 2;
    } catch (const interruption& e) {
        complain(name, e.what());
        return 130;
    } catch (const std::bad_alloc&) {
        complain(name, "out of memory");
    } catch (const std::exception& e) {
        complain(name, e.what());
    }
    return 1;
}

}  // namespace tools
