// The unit that is built without any -m flag.
#include "../workload.hpp"

std::vector<float> run_base() { return run_workload(); }
