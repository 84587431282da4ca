// HTTP/1.1 for a service that computes on other threads: one thread reads, writes and keeps time for every connection, and no client can
// make it wait or hold more memory than limits.hpp says.
//
//   serve::http_server server({"127.0.0.1", 8080}, limits, counters);             // listens; throws naming the port that is taken
//   server.run({.handle = [&](std::shared_ptr<serve::exchange> e) { e->answer({.body = "{}"}); }});    // until SIGTERM
//
// What an exchange is told must be told on the server's thread; other threads hand it over with post().
#pragma once
#include <functional>
#include <memory>
#include <string>

#include "limits.hpp"
#include "metrics.hpp"

namespace serve {

struct http_request {
    std::string method, path;  // without the query
    std::string host, origin;  // headers
    std::string body;
};

struct http_answer {
    int status = 200;
    std::string type = "application/json";
    std::string body = {};
    std::string headers = {};  // further lines, each with its \r\n
};

// One request and its answer: answer(), or begin(), write()... and end(). After the client has gone they do nothing.
class exchange {
public:
    explicit exchange(http_request&& r) : request(std::move(r)) {}
    virtual ~exchange() = default;
    exchange(const exchange&) = delete;
    exchange& operator=(const exchange&) = delete;

    virtual void answer(const http_answer& a) = 0;
    virtual void begin(const std::string& type) = 0;
    virtual void write(std::string_view part) = 0;
    virtual void end() = 0;

    const http_request request;
    const clock::time_point arrived = clock::now();
    std::function<void()> on_gone;  // the client went before its answer was whole; called at most once
};

struct http_address {
    std::string host;   // a numeric address or "localhost": nothing is looked up
    unsigned port = 0;  // 0: the system chooses
};

struct http_hooks {
    std::function<void(std::shared_ptr<exchange>)> handle;
    std::function<void()> draining = [] {};  // SIGTERM came: what runs may end, nothing new begins
    std::function<void()> hurry_up = [] {};  // the time for that is nearly over
};

struct http_counters {
    gauge connections;
    counter accepted, evicted, turned_away, malformed, timed_out, disconnected;
};

// {"error": {...}}, the shape that clients of OpenAI's API know. field: empty if no single one is wrong.
std::string error_body(int status, const std::string& message, const std::string& field = "");

class http_server {
public:
    // Throws std::runtime_error naming the address. Lowers limits.connections to what the process may open.
    http_server(const http_address& address, const limits& l, http_counters& counters);
    ~http_server();

    unsigned port() const;
    const limits& bounds() const;
    // Until every answer is given after SIGTERM or SIGINT, or the time for that is over. On one thread, once.
    void run(http_hooks hooks);
    void post(std::function<void()> f);  // from any thread
    void stop();                         // from any thread: run() returns as after a signal

private:
    class implementation;
    std::unique_ptr<implementation> self_;
};

}  // namespace serve
