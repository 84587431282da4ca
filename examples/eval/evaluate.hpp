// Runs a plan, configuration by configuration, each in processes of its own; what is there already is kept.
#pragma once
#include <string>
#include <vector>

#include "plan.hpp"

namespace eval {

// `arguments`: those of this program, for its processes. Whole: results, comparison and reports; a shard: its sums only. Throws
// tools::interruption, std::runtime_error.
void evaluate(const plan& p, const std::vector<std::string>& arguments);

// The results of all shards in a folder, comparison and reports. Throws std::runtime_error naming what is missing; nothing is written then.
void merge_shards(const std::string& folder);

// What such a process does: "quality:NAME" or "cost:NAME" of a configuration.
void run_worker(const settings& s, const std::string& job);

}  // namespace eval
