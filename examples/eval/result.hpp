// The result of one configuration: figures made of its sums. docs/evaluation.md defines each, configuration.schema.json the JSON.
#pragma once
#include "quality.hpp"

namespace eval {

// cost: null where speed was not measured.
json result_of(const plan& p, const configuration& c, const quality& q, const json& cost);
// The same from shards, for merge: identity says which configuration and protocol (see identity_of).
json result_of(const json& identity, const quality& q, const json& cost);
// What a result begins with: schema, fingerprint, configuration, model, protocol.
json identity_of(const plan& p, const configuration& c);

}  // namespace eval
