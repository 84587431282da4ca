// The names of compute modes, as options have them, and what a model says of itself.
#pragma once
#include <string>
#include <vector>

#include "model.hpp"

namespace gpt2 {

inline const std::vector<std::string> mode_names{"automatic", "int8", "exact"};
inline qnt::compute_mode parse_mode(const std::string& name) {
    return name == "exact" ? qnt::exact : name == "int8" ? qnt::int8_activations : qnt::automatic;
}

// The format of all matrices, if they have one in common.
inline std::string format_of(const model& m) {
    for (const tensor_report& t : m.matrices())
        if (!(t.format == m.matrices()[0].format)) return "mixed";
    return m.matrices()[0].format.name();
}

}  // namespace gpt2
