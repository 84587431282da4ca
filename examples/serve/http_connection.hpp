// One client: its bytes in, its requests to the handler, the answers out; when it is told to hurry, and when it is closed.
#pragma once
#include <sys/socket.h>

#include <ctime>
#include <unordered_set>

#include <boost/asio.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/status.hpp>

#include "http_parser.hpp"

namespace serve {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;
using error_code = boost::system::error_code;

inline constexpr std::size_t most_discarded = std::size_t{8} << 20;  // of what a refused client goes on to send
inline constexpr std::size_t most_pending = std::size_t{4} << 20;    // of a stream that its client does not take
inline constexpr std::size_t framing = 8;                            // chunks may cost so many times the bytes that they hold

inline std::string now_as_date() {
    const std::time_t now = std::time(nullptr);
    std::tm utc{};
    ::gmtime_r(&now, &utc);
    char text[40];
    return {text, std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &utc)};
}

inline std::string head_of(int status, const std::string& type, bool keep_alive, const std::string& headers) {
    const auto reason = beast::http::obsolete_reason(beast::http::status(unsigned(status)));
    return "HTTP/1.1 " + std::to_string(status) + ' ' + std::string(reason) + "\r\nServer: qnt-serve\r\nDate: " + now_as_date() +
           (type.empty() ? "" : "\r\nContent-Type: " + type) +
           "\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nConnection: " + (keep_alive ? "keep-alive" : "close") + "\r\n" +
           headers;
}

class connection;

struct owner {  // what connections know of the server
    const limits& bounds;
    http_counters& counters;
    http_hooks& hooks;
    bool draining = false;
    std::unordered_set<std::shared_ptr<connection>> connections = {};
    std::function<void()> connection_closed = {};
};

class live_exchange final : public exchange {
public:
    live_exchange(http_request&& r, connection* c) : exchange(std::move(r)), connection_(c) {}
    void answer(const http_answer& a) override;
    void begin(const std::string& type) override;
    void write(std::string_view part) override;
    void end() override;
    void detach(bool is_gone) {
        connection_ = nullptr;
        const auto call = std::exchange(on_gone, nullptr);
        if (is_gone && call) call();
    }

private:
    connection* connection_;  // while the answer is not whole
};

// Reads a request, hands it over, writes the answer, and begins again; several steps never overlap.
class connection : public std::enable_shared_from_this<connection> {
public:
    connection(tcp::socket&& s, owner& o) : socket_(std::move(s)), probe_(socket_.get_executor()), owner_(o), buffer_(o.bounds.header_block + 1024) {}

    void start() {
        begin_request(owner_.bounds.header);
        read();
    }
    void close(bool reset = false) {
        if (state_ == closed) return;
        const auto self = shared_from_this();
        state_ = closed;
        error_code ignored;
        if (reset) socket_.set_option(asio::socket_base::linger(true, 0), ignored);
        socket_.close(ignored);
        probe_.cancel();
        if (const auto e = std::exchange(exchange_, nullptr)) {
            owner_.counters.disconnected.add();
            e->detach(true);
        }
        owner_.connections.erase(self);
        owner_.counters.connections.set(owner_.connections.size());
        owner_.connection_closed();
    }
    void tick(clock::time_point now) {
        if (state_ == handling) {
            if (writing_ && (now > write_deadline_ || (is_complete_ && now > deadline_))) {
                owner_.counters.timed_out.add();
                close(true);
            }
        } else if (now > deadline_) {
            if (state_ == reading && begun_) {
                owner_.counters.timed_out.add();
                refuse({408, std::string("the ") + (header_seen_ ? "request" : "header") + " took longer than " +
                                 std::to_string((header_seen_ ? owner_.bounds.request : owner_.bounds.header).count()) + " seconds"});
            } else {
                close();
            }
        }
    }
    // 0: it does work and stays. What waits for longest goes first: last answers, then connections that say nothing, then slow requests.
    int idleness() const { return state_ == lingering ? 3 : state_ == reading ? (begun_ ? 1 : 2) : 0; }
    clock::time_point waits_since() const { return since_; }
    bool is_idle() const { return state_ == reading && !begun_; }

    // Of the answer to the request at hand:
    void answer(const http_answer& a) {
        has_answered_ = true;
        const std::string length = "Content-Length: " + std::to_string(a.body.size()) + "\r\n";
        send(head_of(a.status, a.type, keeps_alive(), length + a.headers + "\r\n") + (is_head_ ? std::string() : a.body));
        complete();
    }
    void begin(const std::string& type) {
        has_answered_ = true;
        chunked_ = parser_->http_version() == 11;
        if (!chunked_) must_close_ = true;
        send(head_of(200, type, keeps_alive(), chunked_ ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n"));
    }
    void write(std::string_view part) {
        if (part.empty()) return;
        if (pending_.size() > most_pending) return close(true);
        if (!chunked_) return send(std::string(part));
        char size[24];
        std::snprintf(size, sizeof size, "%zx\r\n", part.size());
        send(size + std::string(part) + "\r\n");
    }
    void end() {
        if (chunked_) send("0\r\n\r\n");
        complete();
    }

private:
    enum state { reading, handling, lingering, closed };

    bool keeps_alive() const { return !must_close_ && !owner_.draining && parser_->keep_alive(); }

    void begin_request(milliseconds patience) {
        parser_.emplace(owner_.bounds);
        state_ = reading;
        begun_ = header_seen_ = is_complete_ = has_answered_ = chunked_ = is_head_ = false;
        received_ = 0;
        since_ = clock::now();
        deadline_ = since_ + patience;
    }

    // ---- reading ----

    void read() {
        if (reading_) return;
        reading_ = true;
        socket_.async_read_some(buffer_.prepare(std::min<std::size_t>(16 << 10, buffer_.max_size() - buffer_.size())),
                                [self = shared_from_this()](error_code ec, std::size_t n) {
                                    self->reading_ = false;
                                    self->has_read(ec, n);
                                });
    }
    void has_read(error_code ec, std::size_t n) {
        if (state_ == closed) return;
        if (state_ == lingering) {
            discarded_ += n;
            if (ec || discarded_ > most_discarded) return close(!ec);
            return read();
        }
        buffer_.commit(n);
        received_ += n;
        if (ec == asio::error::eof && begun_ && state_ == reading) {
            eof_ = must_close_ = true;
            return refuse({400, "the request ends in the middle"});
        }
        if (ec) return close();
        parse();
    }
    void parse() {
        while (state_ == reading && buffer_.size() > 0) {
            if (!begun_) {
                begun_ = true;
                since_ = clock::now();
                deadline_ = since_ + owner_.bounds.header;
            }
            const std::string_view text(static_cast<const char*>(buffer_.data().data()), buffer_.size());
            if (!parser_->got_some()) {
                if (received_ > owner_.bounds.header_block) return refuse({400, "there is no request among empty lines"});
                if (text.starts_with("\r\n")) {  // RFC 9112, section 2.2: empty lines before a request
                    buffer_.consume(2);
                    continue;
                }
                if (text == "\r") break;
                if (!may_be_request(text)) return refuse({400, "this is no HTTP request"});
            }
            error_code ec;
            const std::size_t used = parser_->put(buffer_.data(), ec);
            buffer_.consume(used);
            if (parser_->refused) return refuse(*parser_->refused);
            if (parser_->is_header_done() && !header_seen_ && !check_header()) return;
            if (ec && ec != beast::http::error::need_more) return refuse(refusal_of(ec, owner_.bounds));
            if (parser_->is_done()) return handle();
            if (received_ > owner_.bounds.header_block + framing * owner_.bounds.body)
                return refuse(refusal_of(beast::http::error::body_limit, owner_.bounds));
            if (ec || used == 0) break;
        }
        if (state_ != reading) return;
        if (buffer_.size() == buffer_.max_size()) return refuse(refusal_of(beast::http::error::buffer_overflow, owner_.bounds));
        read();
    }
    bool check_header() {
        header_seen_ = true;
        is_head_ = parser_->request.method == "HEAD";
        deadline_ = since_ + owner_.bounds.request;
        parser_->check_header();
        if (parser_->refused) return refuse(*parser_->refused), false;
        if (parser_->expects_continue && !parser_->is_done() && buffer_.size() == 0) send("HTTP/1.1 100 Continue\r\n\r\n");
        return true;
    }
    // Answers and ends the connection: where the next request would begin is not known.
    void refuse(const refusal& r) {
        owner_.counters.malformed.add();
        must_close_ = true;
        state_ = handling;
        answer({.status = r.status, .body = error_body(r.status, r.message)});
    }
    void handle() {
        state_ = handling;
        exchange_ = std::make_shared<live_exchange>(std::move(parser_->request), this);
        watch();
        const auto e = exchange_;
        try {
            owner_.hooks.handle(e);
        } catch (const std::bad_alloc&) {
            e->answer({.status = 503, .body = error_body(503, "out of memory"), .headers = "Retry-After: 1\r\n"});
        } catch (const std::exception& x) {
            e->answer({.status = 500, .body = error_body(500, x.what())});
        }
    }

    // ---- a client that goes away while its answer is computed ----

    void watch() {
        if (watching_ || eof_) return;
        watching_ = true;
        socket_.async_wait(tcp::socket::wait_read, [self = shared_from_this()](error_code) {
            self->watching_ = false;
            if (self->state_ == handling) self->look();
        });
    }
    void look() {
        char c;
        const ::ssize_t n = ::recv(socket_.native_handle(), &c, 1, MSG_PEEK | MSG_DONTWAIT);
        if (n < 0) return errno == EAGAIN || errno == EWOULDBLOCK ? watch() : close();
        wait_for_reset();
        if (n > 0) return;  // the next request, which waits for its turn
        eof_ = must_close_ = true;
        if (!has_answered_) wait_and_probe();
    }
    void wait_for_reset() {
        if (std::exchange(awaits_reset_, true)) return;
        socket_.async_wait(tcp::socket::wait_error, [self = shared_from_this()](error_code ec) {
            self->awaits_reset_ = false;
            if (!ec && self->state_ == handling) self->close();
        });
    }
    // A client that closed its side may still read, or have gone altogether. Only writing tells: what has gone resets the connection.
    // A client must let a 100 pass at any time (RFC 9110, section 15.2).
    void wait_and_probe() {
        probe_.expires_at(exchange_->arrived + owner_.bounds.probe);
        probe_.async_wait([self = shared_from_this()](error_code ec) {
            if (ec || self->state_ != handling || self->has_answered_) return;
            if (self->parser_->http_version() != 11) return self->close();
            self->send("HTTP/1.1 100 Continue\r\n\r\n");
        });
    }

    // ---- writing ----

    void send(std::string text) {
        if (state_ == closed) return;
        if (pending_.empty()) pending_ = std::move(text);
        else pending_ += text;
        if (!writing_) flush();
    }
    void flush() {
        if (sent_ == out_.size()) {
            out_ = std::exchange(pending_, {});
            sent_ = 0;
        }
        if (out_.empty()) return;
        writing_ = true;
        write_deadline_ = clock::now() + owner_.bounds.write;
        socket_.async_write_some(asio::buffer(out_) + sent_, [self = shared_from_this()](error_code ec, std::size_t n) {
            self->writing_ = false;
            self->has_written(ec, n);
        });
    }
    void has_written(error_code ec, std::size_t n) {
        if (state_ == closed) return;
        if (ec) return close();
        sent_ += n;
        if (sent_ < out_.size() || !pending_.empty()) return flush();
        out_ = {};
        sent_ = 0;
        if (is_complete_) next();
    }
    void complete() {
        is_complete_ = true;
        deadline_ = clock::now() + 3 * owner_.bounds.write;
        if (const auto e = std::exchange(exchange_, nullptr)) e->detach(false);
        if (!writing_) next();
    }
    void next() {
        if (state_ != handling) return;
        probe_.cancel();
        if (!keeps_alive()) return linger();
        begin_request(owner_.bounds.idle);
        parse();
    }
    // Closing at once would destroy an answer that the client has not read yet, where it still sends.
    void linger() {
        error_code ignored;
        socket_.shutdown(tcp::socket::shutdown_send, ignored);
        if (ignored) return close();
        state_ = lingering;
        since_ = clock::now();
        deadline_ = since_ + owner_.bounds.linger;
        buffer_.clear();
        discarded_ = 0;
        read();
    }

    tcp::socket socket_;
    asio::steady_timer probe_;
    owner& owner_;
    beast::flat_buffer buffer_;
    std::optional<request_parser> parser_;
    std::shared_ptr<live_exchange> exchange_;
    state state_ = reading;
    clock::time_point since_, deadline_, write_deadline_;
    std::string out_, pending_;
    std::size_t sent_ = 0, received_ = 0, discarded_ = 0;
    bool begun_ = false, header_seen_ = false, is_head_ = false;         // of the request
    bool has_answered_ = false, is_complete_ = false, chunked_ = false;  // of the answer
    bool reading_ = false, writing_ = false, watching_ = false, awaits_reset_ = false, eof_ = false, must_close_ = false;
};

inline void live_exchange::answer(const http_answer& a) {
    if (connection_) connection_->answer(a);
}
inline void live_exchange::begin(const std::string& type) {
    if (connection_) connection_->begin(type);
}
inline void live_exchange::write(std::string_view part) {
    if (connection_) connection_->write(part);
}
inline void live_exchange::end() {
    if (connection_) connection_->end();
}

}  // namespace serve
