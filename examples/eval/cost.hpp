// What a configuration costs: time and memory, in a process that holds nothing but it.
#pragma once
#include <functional>
#include <vector>

#include "plan.hpp"

namespace eval {

// Median of several measurements, and how far they lie apart.
struct spread {
    double median = 0, least = 0, most = 0;

    static spread of(std::vector<double> samples);
};

// Of `batch` sequences at once, all tokens of all of them together.
struct speed {
    std::size_t batch = 1, kv_bytes = 0;
    spread first_token_ms, prefill_tok_s, decode_tok_s;
};

struct cost {
    std::vector<speed> speeds;
    std::size_t prompt = 0, tokens = 0, repeats = 0, threads = 0;
    double load_s = 0;                                // with quantizing
    std::size_t peak_load_bytes = 0, peak_bytes = 0;  // of the process: until it is loaded, while it runs; 0: the system does not say
};

cost measure_cost(const settings& s, const configuration& c, const std::function<void(double)>& progress);
json to_json(const cost& c);

}  // namespace eval
