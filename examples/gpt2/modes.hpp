// The names of compute modes, as options have them.
#pragma once
#include <string>
#include <vector>

#include <qnt/core/modes.hpp>

namespace gpt2 {

inline const std::vector<std::string> mode_names{"automatic", "int8", "exact"};
inline qnt::compute_mode parse_mode(const std::string& name) {
    return name == "exact" ? qnt::exact : name == "int8" ? qnt::int8_activations : qnt::automatic;
}

}  // namespace gpt2
