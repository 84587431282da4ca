// The unit that is built with -m flags.
#include "../workload.hpp"

std::vector<float> run_native() { return run_workload(); }
