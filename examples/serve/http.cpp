#include "http.hpp"

#include <sys/resource.h>

#include <csignal>

#include <nlohmann/json.hpp>

#include "http_connection.hpp"

namespace serve {

namespace {

constexpr int kernel_buffer = 128 << 10;  // each way, of a connection
constexpr milliseconds tick_length{100};

// A descriptor for each connection and some for the process itself.
std::size_t most_connections(std::size_t wanted) {
    constexpr ::rlim_t own = 24;
    ::rlimit files{};
    if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return wanted;
    if (files.rlim_cur < wanted + own) {
        files.rlim_cur = std::min<::rlim_t>(files.rlim_max, wanted + own);
        ::setrlimit(RLIMIT_NOFILE, &files);
        ::getrlimit(RLIMIT_NOFILE, &files);
    }
    return files.rlim_cur > own ? std::min<std::size_t>(wanted, files.rlim_cur - own) : 1;
}

}  // namespace

std::string error_body(int status, const std::string& message, const std::string& field) {
    nlohmann::ordered_json j;
    auto& e = j["error"];
    e["message"] = message;
    e["type"] = status == 503 ? "overloaded" : status >= 500 ? "server_error" : "invalid_request_error";
    e["param"] = field.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(field);
    e["code"] = nullptr;
    return j.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

class http_server::implementation {
public:
    implementation(const http_address& address, const limits& l, http_counters& counters)
        : bounds(l), acceptor_(io_), signals_(io_, SIGTERM, SIGINT), tick_(io_), retry_(io_), owner_{bounds, counters, hooks_} {
        bounds.connections = most_connections(l.connections);
        const std::string name = address.host + ':' + std::to_string(address.port);
        error_code ec;
        const auto ip = asio::ip::make_address(address.host == "localhost" ? "127.0.0.1" : address.host, ec);
        if (ec) throw std::runtime_error("host \"" + address.host + "\" is no address to listen on: give a numeric one, as 127.0.0.1");
        if (address.port > 65535) throw std::runtime_error("port " + std::to_string(address.port) + " is beyond 65535");
        const tcp::endpoint endpoint(ip, std::uint16_t(address.port));
        acceptor_.open(endpoint.protocol(), ec);
        if (!ec) acceptor_.set_option(asio::socket_base::reuse_address(true), ec);  // of connections that linger; not of a port in use
        if (!ec) acceptor_.bind(endpoint, ec);
        if (!ec) acceptor_.listen(asio::socket_base::max_listen_connections, ec);
        if (ec) throw std::runtime_error("cannot listen on " + name + ": port " + std::to_string(address.port) + ": " + ec.message());
    }

    void run(http_hooks hooks) {
        hooks_ = std::move(hooks);
        owner_.connection_closed = [this] { end_if_drained(); };
        accept();
        tick();
        wait_for_signal();
        io_.run();
        for (const auto connections = owner_.connections; const auto& c : connections) c->close();
    }
    void drain() {
        if (owner_.draining) return;
        owner_.draining = true;
        drained_by_ = clock::now() + bounds.drain;
        error_code ignored;
        acceptor_.close(ignored);
        hooks_.draining();
        for (const auto connections = owner_.connections; const auto& c : connections)
            if (c->is_idle()) c->close();
        end_if_drained();
    }

    limits bounds;
    asio::io_context& io() { return io_; }
    unsigned port() const { return acceptor_.local_endpoint().port(); }

private:
    void accept() {
        acceptor_.async_accept([this](error_code ec, tcp::socket socket) {
            if (owner_.draining) return;
            if (!ec) return welcome(std::move(socket)), accept();
            make_room();  // no descriptor is left, or the client has gone already
            retry_.expires_after(milliseconds(50));
            retry_.async_wait([this](error_code cancelled) {
                if (!cancelled && !owner_.draining) accept();
            });
        });
    }
    void welcome(tcp::socket&& socket) {
        owner_.counters.accepted.add();
        error_code ignored;
        socket.set_option(tcp::no_delay(true), ignored);
        socket.set_option(asio::socket_base::send_buffer_size(kernel_buffer), ignored);  // or it grows to megabytes for who does not read
        socket.set_option(asio::socket_base::receive_buffer_size(kernel_buffer), ignored);
        if (owner_.connections.size() >= bounds.connections && !make_room()) {
            owner_.counters.turned_away.add();
            const std::string body = error_body(503, "all " + std::to_string(bounds.connections) + " connections are busy");
            const std::string text =
                head_of(503, "application/json", false, "Retry-After: 1\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n") + body;
            ::send(socket.native_handle(), text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
            return;
        }
        const auto c = std::make_shared<connection>(std::move(socket), owner_);
        owner_.connections.insert(c);
        owner_.counters.connections.set(owner_.connections.size());
        c->start();
    }
    bool make_room() {
        std::shared_ptr<connection> idlest;
        for (const auto& c : owner_.connections) {
            if (c->idleness() == 0) continue;
            if (!idlest || c->idleness() > idlest->idleness() || (c->idleness() == idlest->idleness() && c->waits_since() < idlest->waits_since()))
                idlest = c;
        }
        if (!idlest) return false;
        owner_.counters.evicted.add();
        idlest->close();
        return true;
    }
    void tick() {
        tick_.expires_after(tick_length);
        tick_.async_wait([this](error_code ec) {
            if (ec) return;
            const auto now = clock::now();
            for (const auto connections = owner_.connections; const auto& c : connections) c->tick(now);
            if (owner_.draining && !hurried_ && now > drained_by_ - seconds(2)) {
                hurried_ = true;
                hooks_.hurry_up();
            }
            if (owner_.draining && now > drained_by_ - milliseconds(500)) return io_.stop();
            tick();
        });
    }
    void wait_for_signal() {
        signals_.async_wait([this](error_code ec, int signal) {
            if (ec) return;
            if (owner_.draining) std::_Exit(128 + signal);
            drain();
            wait_for_signal();
        });
    }
    void end_if_drained() {
        if (owner_.draining && owner_.connections.empty()) io_.stop();
    }

    asio::io_context io_{1};
    tcp::acceptor acceptor_;
    asio::signal_set signals_;
    asio::steady_timer tick_, retry_;
    http_hooks hooks_;
    owner owner_;
    clock::time_point drained_by_;
    bool hurried_ = false;
};

http_server::http_server(const http_address& address, const limits& l, http_counters& counters)
    : self_(std::make_unique<implementation>(address, l, counters)) {}
http_server::~http_server() = default;
unsigned http_server::port() const { return self_->port(); }
const limits& http_server::bounds() const { return self_->bounds; }
void http_server::run(http_hooks hooks) { self_->run(std::move(hooks)); }
void http_server::post(std::function<void()> f) { asio::post(self_->io(), std::move(f)); }
void http_server::stop() {
    post([this] { self_->drain(); });
}

}  // namespace serve
