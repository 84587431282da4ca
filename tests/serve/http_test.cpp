// The HTTP layer with a handler of ours and one raw socket: what the load test cannot see from outside.
#include <serve/http.hpp>

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "catch.hpp"

namespace {

using exchange_ptr = std::shared_ptr<serve::exchange>;

class server {
public:
    explicit server(std::function<void(exchange_ptr)> handle, const serve::limits& l = {}) : http({"127.0.0.1", 0}, l, counters) {
        thread_ = std::thread([this, handle = std::move(handle)] { http.run({.handle = handle}); });
    }
    ~server() {
        http.stop();
        thread_.join();
    }

    serve::http_counters counters;
    serve::http_server http;

private:
    std::thread thread_;
};

class client {
public:
    explicit client(const server& s) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_port = htons(std::uint16_t(s.http.port()));
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        REQUIRE(::connect(socket_, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0);
    }
    ~client() { close(); }
    void close() {
        if (socket_ >= 0) ::close(std::exchange(socket_, -1));
    }
    void send(const std::string& text) const { REQUIRE(::send(socket_, text.data(), text.size(), MSG_NOSIGNAL) == ::ssize_t(text.size())); }
    std::string read() const {  // until the other side closes
        std::string all;
        char part[4096];
        for (::ssize_t n = 0; (n = ::recv(socket_, part, sizeof part, 0)) > 0;) all.append(part, std::size_t(n));
        return all;
    }

private:
    int socket_;
};

const std::string get = "GET /a?b=c HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

}  // namespace

TEST_CASE("http: a request comes whole, its answer goes with its length") {
    serve::http_request request;  // looked at in this thread: assertions of Catch2 are for one alone
    server s([&](exchange_ptr e) {
        request = e->request;
        e->answer({.status = 404, .body = e->request.body + "!"});
    });
    client c(s);
    c.send(
        "POST http://elsewhere/a?b=c HTTP/1.1\r\nhost: h:1\r\nORIGIN: http://h:1\r\nTransfer-Encoding: Chunked\r\nConnection: close\r\n\r\n"
        "3\r\nabc\r\n1;x=y\r\nd\r\n0\r\n\r\n");
    const std::string answer = c.read();
    CHECK(request.method == "POST");
    CHECK(request.path == "/a");
    CHECK(request.host == "h:1");
    CHECK(request.origin == "http://h:1");
    CHECK(answer.starts_with("HTTP/1.1 404 Not Found\r\n"));
    CHECK(contains(answer, "Content-Length: 5\r\n"));
    CHECK(answer.ends_with("\r\n\r\nabcd!"));
}

TEST_CASE("http: an answer may come in parts, from another thread") {
    std::thread other;
    server* running = nullptr;
    server s([&](exchange_ptr e) {
        other = std::thread([&, e] {
            running->http.post([e] { e->begin("text/event-stream"); });
            for (const char* part : {"one", "", "three"}) running->http.post([e, part] { e->write(part); });
            running->http.post([e] { e->end(); });
        });
    });
    running = &s;
    client c(s);
    c.send(get);
    const std::string answer = c.read();
    other.join();
    CHECK(answer.ends_with("\r\n\r\n3\r\none\r\n5\r\nthree\r\n0\r\n\r\n"));
    client old(s);
    old.send("GET / HTTP/1.0\r\n\r\n");
    const std::string closed = old.read();
    other.join();
    CHECK(closed.ends_with("\r\n\r\nonethree"));
    CHECK_FALSE(contains(closed, "chunked"));
}

TEST_CASE("http: whoever goes away is noticed, once, and what is told then is dropped") {
    std::atomic<int> gone{0};
    exchange_ptr kept;
    server s([&](exchange_ptr e) {
        e->on_gone = [&] { ++gone; };
        kept = e;
    });
    for (int i = 1; i <= 2; ++i) {
        client c(s);
        c.send(get);
        std::this_thread::sleep_for(serve::milliseconds(100));
        CHECK(gone == i - 1);
        c.close();
        for (int n = 0; n < 200 && gone < i; ++n) std::this_thread::sleep_for(serve::milliseconds(10));
        CHECK(gone == i);
    }
    s.http.post([&] {
        kept->answer({.body = "too late"});
        kept->end();
        kept.reset();
    });
    CHECK(s.counters.disconnected.value() == 2);
}

TEST_CASE("http: a handler that throws is an answer of its own") {
    server s([](exchange_ptr e) {
        if (e->request.path == "/a") throw std::bad_alloc();
        throw std::runtime_error("so\nit is");
    });
    client a(s), b(s);
    a.send(get);
    CHECK(a.read().starts_with("HTTP/1.1 503 "));
    b.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    const std::string answer = b.read();
    CHECK(answer.starts_with("HTTP/1.1 500 "));
    CHECK(contains(answer, "so\\nit is"));
}

TEST_CASE("http: when all connections are in use, the one idle for longest makes room, and one that works does not") {
    serve::limits few;
    few.connections = 2;
    std::vector<exchange_ptr> kept;
    server s([&](exchange_ptr e) { e->request.path == "/keep" ? kept.push_back(e) : e->answer({.body = "ok"}); }, few);
    const auto wait_for = [&](double connections) {
        for (int n = 0; n < 200 && s.counters.accepted.value() < connections; ++n) std::this_thread::sleep_for(serve::milliseconds(5));
        std::this_thread::sleep_for(serve::milliseconds(50));
    };
    client working(s), idle(s);
    working.send("GET /keep HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    wait_for(2);
    client next(s);
    next.send(get);
    CHECK(contains(next.read(), "200 OK"));
    CHECK(idle.read().empty());
    CHECK(s.counters.evicted.value() >= 1);
    client second(s);
    second.send("GET /keep HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    wait_for(4);
    client refused(s);
    CHECK(refused.read().starts_with("HTTP/1.1 503 "));
    s.http.post([&] {
        for (const exchange_ptr& e : kept) e->answer({.body = "kept"});
        kept.clear();
    });
    CHECK(working.read().ends_with("kept"));
    CHECK(second.read().ends_with("kept"));
}

TEST_CASE("http: an address that cannot be listened on is refused by name") {
    serve::http_counters counters;
    const auto message = [&](const serve::http_address& a) -> std::string {
        try {
            serve::http_server s(a, {}, counters);
        } catch (const std::runtime_error& e) {
            return e.what();
        }
        return "";
    };
    server s([](exchange_ptr) {});
    CHECK(contains(message({"127.0.0.1", s.http.port()}), "port " + std::to_string(s.http.port())));
    CHECK(contains(message({"localhost", s.http.port()}), "in use"));
    CHECK(contains(message({"example.com", 0}), "host \"example.com\""));
    CHECK(contains(message({"127.0.0.1", 65536}), "port 65536"));
}
