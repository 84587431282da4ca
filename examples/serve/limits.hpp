// Every bound of the service, in one place: --help and /metadata print this table, the code reads these fields.
#pragma once
#include <chrono>
#include <cstddef>
#include <vector>

#include <qnt/io/json.hpp>

namespace serve {

using std::chrono::milliseconds;
using std::chrono::seconds;
using clock = std::chrono::steady_clock;

struct limits {
    // A request
    std::size_t body = std::size_t{1} << 20;
    std::size_t header_line = std::size_t{8} << 10;  // the first line, with the URI, too
    std::size_t headers = 100;
    std::size_t header_block = std::size_t{32} << 10;  // all of them together
    std::size_t prompts = 16;                          // in one array
    std::size_t stop_strings = 16;
    std::size_t stop_bytes = 256;         // of one of them
    std::size_t evaluation_tokens = 256;  // of each text of /evaluate
    double temperature = 100;
    // Time
    seconds header{5};       // from the first byte to the end of the header; also how long a new connection may say nothing
    seconds request{10};     // from the first byte to the last
    seconds idle{15};        // between two requests of a connection
    seconds write{10};       // without a byte that the client takes
    seconds linger{2};       // for the client to read the last answer
    milliseconds probe{25};  // after the client closed its side: then it is asked whether it still listens
    seconds generation{60};  // from a request to the end of its text
    seconds drain{15};       // from SIGTERM to the end
    // At once
    std::size_t connections = 256;
    std::size_t queue = 32;  // texts that wait, of each model
    std::size_t batch = 16;  // texts that grow, of each model
    std::size_t evaluations = 1;
};

struct stated_limit {
    const char* name;  // a key of /metadata
    std::size_t value;
    const char* meaning;
};

inline std::vector<stated_limit> stated(const limits& l) {
    const auto count = [](auto duration) { return std::size_t(duration.count()); };
    return {
        {"body_bytes", l.body, "bytes of a request's body"},
        {"json_depth", std::size_t(qnt::json_reader::max_depth), "levels of JSON"},
        {"header_line_bytes", l.header_line, "bytes of a header line or the URI"},
        {"headers", l.headers, "header lines"},
        {"header_block_bytes", l.header_block, "bytes of all header lines together"},
        {"prompts", l.prompts, "prompts of one request"},
        {"stop_strings", l.stop_strings, "stop strings of one request"},
        {"stop_bytes", l.stop_bytes, "bytes of a stop string"},
        {"evaluation_tokens", l.evaluation_tokens, "new tokens of each text of /evaluate"},
        {"header_seconds", count(l.header), "seconds for a header, or to begin one on a new connection"},
        {"request_seconds", count(l.request), "seconds for a whole request"},
        {"idle_seconds", count(l.idle), "seconds between two requests of a connection"},
        {"write_seconds", count(l.write), "seconds in which a client takes nothing of its answer"},
        {"generation_seconds", count(l.generation), "seconds for an answer; then its text ends, or 503 if it had not begun"},
        {"drain_seconds", count(l.drain), "seconds from SIGTERM to the end; a second one ends at once"},
        {"connections", l.connections, "connections; then the one idle for longest makes room"},
        {"queue", l.queue, "texts waiting for a model; then 503 with Retry-After"},
        {"batch", l.batch, "texts growing at once, of each model"},
        {"evaluations", l.evaluations, "/evaluate at once; then 503 with Retry-After"},
    };
}

}  // namespace serve
