// What the programs share: one clear line and exit code 2 for anything wrong with their input.
#pragma once
#include <cstdio>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <qnt/core/modes.hpp>

namespace gpt2 {

inline const std::vector<std::string> mode_names{"automatic", "int8", "exact"};
inline qnt::compute_mode parse_mode(const std::string& name) {
    return name == "exact" ? qnt::exact : name == "int8" ? qnt::int8_activations : qnt::automatic;
}

template <class Run> int run_program(const char* name, CLI::App& app, int argc, char** argv, const Run& run) {
    try {
        app.parse(argc, argv);
        run();
        return 0;
    } catch (const CLI::ParseError& e) {
        if (e.get_exit_code() == 0) return app.exit(e);  // --help
        std::fprintf(stderr, "%s: %s\n", name, e.what());
    } catch (const std::exception& e) {
        std::fprintf(stderr, "%s: %s\n", name, e.what());
    }
    return 2;
}

}  // namespace gpt2
