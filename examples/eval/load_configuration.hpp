// A configuration's model, as every process of qnt-eval makes it.
#pragma once
#include "../gpt2/load.hpp"
#include "../gpt2/modes.hpp"
#include "plan.hpp"

namespace eval {

inline gpt2::model load_configuration(const settings& s, const configuration& c, qnt::executor_ref executor) {
    return gpt2::load_model(c.model, {.weights = c.weights, .mode = gpt2::parse_mode(s.mode)}, executor);
}

}  // namespace eval
