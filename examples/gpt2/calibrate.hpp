// Calibration: a model over a text, for what the inputs of its matrices are like. Formats with outlier columns ("llmint8") need it.
//
//   gpt2::load_options o{.weights = {qnt::policy_rule::parse("*", "llmint8").value()}};
//   o.calibration = gpt2::calibration_for(o.weights, "examples/models/qnt-gpt2-5m", "some.txt", pool);
#pragma once
#include "load.hpp"

namespace gpt2 {

inline constexpr std::size_t calibration_windows = 8;

// Over the first windows of n_ctx tokens of `ids`, which do not overlap, at most calibration_windows. Throws std::runtime_error: no
// tokens, numbers that are not finite.
input_ranges calibrate(const model& m, std::span<const std::int32_t> ids, qnt::executor_ref executor = {});

// What a policy needs to be quantized by: nothing, or calibrate() of the model in f32 (a .qnt as it is) and the text in a file. Throws
// std::runtime_error, saying what would do, where there is no file. A .qnt may do without: it runs as it is.
input_ranges calibration_for(const qnt::policy& policy, const std::string& model, const std::string& file, qnt::executor_ref executor = {});

}  // namespace gpt2
