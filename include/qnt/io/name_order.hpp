// Things of a file by their names: a list of indices, names ascending, and a search in it. name_of: a member or a function of a thing.
#pragma once
#include <algorithm>
#include <functional>
#include <string_view>
#include <vector>

#include "../core/config.hpp"

namespace qnt::detail {
inline namespace QNT_BASELINE {

template <class Things, class NameOf> std::vector<std::size_t> order_by_name(const Things& things, const NameOf& name_of) {
    std::vector<std::size_t> order(things.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::sort(order.begin(), order.end(),
              [&](std::size_t a, std::size_t b) { return std::invoke(name_of, things[a]) < std::invoke(name_of, things[b]); });
    return order;
}

// Null: none has this name.
template <class Things, class NameOf>
auto find_by_name(const Things& things, const std::vector<std::size_t>& order, std::string_view name, const NameOf& name_of) {
    const auto at =
        std::lower_bound(order.begin(), order.end(), name, [&](std::size_t i, std::string_view n) { return std::invoke(name_of, things[i]) < n; });
    return at != order.end() && std::invoke(name_of, things[*at]) == name ? &things[*at] : nullptr;
}

// A thing whose name another one has too; null: the names differ.
template <class Things, class NameOf> auto find_twice(const Things& things, const std::vector<std::size_t>& order, const NameOf& name_of) {
    const auto at = std::adjacent_find(
        order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return std::invoke(name_of, things[a]) == std::invoke(name_of, things[b]); });
    return at == order.end() ? nullptr : &things[*at];
}

}  // namespace QNT_BASELINE
}  // namespace qnt::detail
