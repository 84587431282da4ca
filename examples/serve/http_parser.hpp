// A request as its bytes arrive: Beast's parser, which owns the grammar, and our bounds.
#pragma once
#include <optional>

#include <boost/beast/core/string.hpp>
#include <boost/beast/http/basic_parser.hpp>

#include "http.hpp"

namespace serve {

namespace beast = boost::beast;

// Why a request is refused, and its connection with it.
struct refusal {
    int status;
    std::string message;
};

class request_parser final : public beast::http::basic_parser<true> {
public:
    explicit request_parser(const limits& l) : limits_(l) {
        header_limit(std::uint32_t(l.header_block));
        body_limit(l.body);
    }

    http_request request;
    bool expects_continue = false;
    std::optional<refusal> refused;  // by us, beside what Beast refuses

    // What only the whole header shows.
    void check_header() {
        if (version_ == 11 && hosts_ != 1) refuse(400, hosts_ == 0 ? "HTTP/1.1 needs a Host header" : "more than one Host header");
    }
    unsigned http_version() const { return version_; }

private:
    using view = beast::string_view;

    void refuse(int status, std::string message) {
        if (!refused) refused = refusal{status, std::move(message)};
    }
    void refuse(int status, std::string message, beast::error_code& ec) {
        refuse(status, std::move(message));
        ec = beast::http::error::bad_field;
    }

    void on_request_impl(beast::http::verb, view method, view target, int version, beast::error_code& ec) override {
        version_ = unsigned(version);
        if (target.size() > limits_.header_line) return refuse(414, "the URI has more than " + std::to_string(limits_.header_line) + " bytes", ec);
        request.method.assign(method.data(), method.size());
        std::string path(target.data(), target.size());
        if (path.starts_with("http://"))  // absolute form: it is us who are asked, whoever it names
            if (const auto slash = path.find('/', 7); path.erase(0, slash), path.empty()) path = "/";
        request.path = path.substr(0, path.find('?'));
    }
    void on_response_impl(int, view, int, beast::error_code&) override {}
    void on_field_impl(beast::http::field name, view text, view value, beast::error_code& ec) override {
        using beast::http::field;
        if (++headers_ > limits_.headers) return refuse(431, "more than " + std::to_string(limits_.headers) + " header lines", ec);
        if (text.size() + value.size() > limits_.header_line)
            return refuse(431, "a header line of more than " + std::to_string(limits_.header_line) + " bytes", ec);
        switch (name) {
        case field::host:
            ++hosts_;
            request.host.assign(value.data(), value.size());
            break;
        case field::origin: request.origin.assign(value.data(), value.size()); break;
        case field::transfer_encoding:
            if (!beast::iequals(value, "chunked")) refuse(501, "Transfer-Encoding: only chunked is understood", ec);
            break;
        case field::content_encoding:
            if (!beast::iequals(value, "identity")) refuse(415, "Content-Encoding: a body must be sent as it is", ec);
            break;
        case field::expect:
            if (!beast::iequals(value, "100-continue")) return refuse(417, "Expect: only 100-continue is understood", ec);
            expects_continue = true;
            break;
        default: break;
        }
    }
    void on_header_impl(beast::error_code&) override {}
    void on_body_init_impl(const boost::optional<std::uint64_t>&, beast::error_code&) override {}
    std::size_t on_body_impl(view part, beast::error_code&) override {  // of a length that Beast holds against body_limit()
        request.body.append(part.data(), part.size());
        return part.size();
    }
    void on_chunk_header_impl(std::uint64_t size, view, beast::error_code& ec) override {
        if (size > limits_.body - request.body.size()) ec = beast::http::error::body_limit;
    }
    std::size_t on_chunk_body_impl(std::uint64_t, view part, beast::error_code& ec) override { return on_body_impl(part, ec); }
    void on_finish_impl(beast::error_code&) override {}

    const limits& limits_;
    unsigned version_ = 11;
    std::size_t headers_ = 0, hosts_ = 0;
};

// Can these first bytes become a request line? What cannot (TLS, noise) need not wait for the end of a header that never comes.
inline bool may_be_request(std::string_view start) {
    const std::string_view method = start.substr(0, start.find(' '));
    return method.size() <= 32 && method.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_") == method.npos;
}

inline refusal refusal_of(const beast::error_code& ec, const limits& l) {
    using beast::http::error;
    if (ec == error::body_limit) return {413, "the body is too large, the limit is " + std::to_string(l.body) + " bytes"};
    if (ec == error::header_limit || ec == error::buffer_overflow)
        return {431, "the header has more than " + std::to_string(l.header_block) + " bytes"};
    if (ec == error::bad_version) return {505, "HTTP/1.0 and HTTP/1.1 are understood"};
    return {400, "this is no sound HTTP request: " + ec.message()};
}

}  // namespace serve
