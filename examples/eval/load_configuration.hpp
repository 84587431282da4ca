// A configuration's model, as every process of qnt-eval makes it.
#pragma once
#include "../gpt2/calibrate.hpp"
#include "../gpt2/modes.hpp"
#include "plan.hpp"

namespace eval {

inline gpt2::model load_configuration(const settings& s, const configuration& c, qnt::executor_ref executor) {
    gpt2::load_options options{.weights = c.weights, .mode = gpt2::parse_mode(s.mode)};
    options.calibration = gpt2::calibration_for(c.weights, c.model, s.calibrate, executor);
    return gpt2::load_model(c.model, options, executor);
}

}  // namespace eval
