#include "request.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include <qnt/io/json.hpp>

namespace serve {

namespace {

using qnt::json_kind;
using qnt::json_reader;

// Reads the members of the one object that a body is. Each read function takes the value that comes next.
class object_reader {
public:
    explicit object_reader(std::string_view body) : in_(body) {
        if (body.find_first_not_of(" \t\r\n") == body.npos) throw api_error(400, "", "the body is empty, it should be a JSON object");
    }

    // member(key) reads the value of a key.
    template <class Member> void read(const Member& member) {
        std::set<std::string, std::less<>> seen;
        check_done(in_.object([&](std::string_view key) -> qnt::result<void> {
            field_ = qnt::printable(key);
            if (!seen.emplace(key).second) refuse("is there twice");
            member(key);
            return {};
        }));
        field_.clear();
        check_done(in_.end());
    }

    [[noreturn]] void refuse(const std::string& why) const { throw api_error(400, field_, field_ + ' ' + why); }
    [[noreturn]] void unknown(const char* known) const { throw api_error(400, field_, "unknown field \"" + field_ + "\"; there are " + known); }

    bool is_null() {
        if (in_.next() != json_kind::null) return false;
        check_done(in_.null());
        return true;
    }
    bool boolean() { return check(in_.boolean()); }
    std::string string() { return check(in_.string()); }
    void skip() { check_done(in_.skip()); }
    json_kind next() { return in_.next(); }
    template <class Element> void array(const Element& element) {
        check_done(in_.array([&]() -> qnt::result<void> { return element(), qnt::result<void>(); }));
    }
    template <class Member> void object(const Member& member) {
        check_done(in_.object([&](std::string_view key) -> qnt::result<void> { return member(key), qnt::result<void>(); }));
    }
    std::uint64_t integer(std::uint64_t least, std::uint64_t most) {
        const std::string_view text = check(in_.number());
        std::uint64_t value = 0;
        if (!qnt::parse_number(text, value) || value < least || value > most)
            refuse("must be an integer from " + std::to_string(least) + " to " + std::to_string(most) + ", not " + qnt::printable(text));
        return value;
    }
    double number(double least, double most, const char* range) {
        const std::string_view text = check(in_.number());
        double value = 0;
        if (!qnt::parse_number(text, value) || !std::isfinite(value) || !(least <= value && value <= most))
            refuse(std::string("must be ") + range + ", not " + qnt::printable(text));
        return value;
    }

private:
    std::string problem(const qnt::error& e) const { return field_.empty() ? e.message : field_ + ": " + e.message; }
    void check_done(const qnt::result<void>& r) const {
        if (!r) throw api_error(400, field_, problem(r.error()));
    }
    template <class T> T check(qnt::result<T>&& r) const {
        if (!r) throw api_error(400, field_, problem(r.error()));
        return std::move(*r);
    }

    json_reader in_;
    std::string field_;  // whose value is read, or was last; fit for a message
};

// ---- fields that several requests have ----

void read_temperature(object_reader& in, generate_request& r, const limits& l) {
    r.sampling.temperature = float(in.number(0, l.temperature, ("a number from 0 to " + std::to_string(int(l.temperature))).c_str()));
}
void read_top_p(object_reader& in, generate_request& r) {
    const double value = in.number(0, 1, "a number above 0 and at most 1");
    if (value == 0) in.refuse("must be a number above 0 and at most 1, not 0");
    r.sampling.top_p = std::max(float(value), std::numeric_limits<float>::min());
}
void read_top_k(object_reader& in, generate_request& r) { r.sampling.top_k = int(in.integer(0, std::numeric_limits<int>::max())); }
void read_seed(object_reader& in, generate_request& r) { r.seed = r.sampling.seed = in.integer(0, ~std::uint64_t{0}); }
void read_max_tokens(object_reader& in, generate_request& r, const defaults& d) { r.sampling.max_new_tokens = std::size_t(in.integer(1, d.context)); }
void read_stops(object_reader& in, generate_request& r, const limits& l) {
    const auto add = [&] {
        std::string s = in.string();
        if (s.empty() || s.size() > l.stop_bytes) in.refuse("must be of 1 to " + std::to_string(l.stop_bytes) + " bytes each");
        if (r.stops.size() == l.stop_strings) in.refuse("must be at most " + std::to_string(l.stop_strings) + " strings");
        r.stops.push_back(std::move(s));
    };
    if (in.next() == json_kind::array) in.array(add);
    else add();
}
void add_prompt(object_reader& in, std::vector<prompt_input>& to, const limits& l, prompt_input&& p) {
    if (to.size() == l.prompts) in.refuse("must be at most " + std::to_string(l.prompts) + " prompts");
    if (std::visit([](const auto& v) { return v.empty(); }, p)) in.refuse("is empty: it needs at least one character");
    to.push_back(std::move(p));
}

void require_prompt(const generate_request& r) {
    if (r.prompts.empty()) throw api_error(400, "prompt", "prompt is missing");
}

gpt2::sampling sampling_of(const defaults& d) {
    return {.temperature = float(d.temperature), .top_k = d.top_k, .top_p = float(d.top_p), .max_new_tokens = d.max_new_tokens};
}

// Text; tokens; an array of either.
void read_openai_prompt(object_reader& in, generate_request& r, const limits& l) {
    if (in.next() == json_kind::string) return add_prompt(in, r.prompts, l, in.string());
    std::vector<std::int32_t> tokens;
    const auto token = [&] { tokens.push_back(std::int32_t(in.integer(0, std::numeric_limits<std::int32_t>::max()))); };
    r.is_array = true;
    in.array([&] {
        if (in.next() == json_kind::string) return add_prompt(in, r.prompts, l, in.string());
        if (in.next() != json_kind::array) return token();
        std::vector<std::int32_t> outer = std::exchange(tokens, {});
        in.array(token);
        add_prompt(in, r.prompts, l, std::exchange(tokens, std::move(outer)));
    });
    if (!tokens.empty() && !r.prompts.empty()) in.refuse("mixes tokens and texts");
    if (!tokens.empty()) add_prompt(in, r.prompts, l, std::move(tokens));
}

}  // namespace

generate_request parse_generate(std::string_view body, const defaults& d, const limits& l) {
    generate_request r;
    r.sampling = sampling_of(d);
    object_reader in(body);
    in.read([&](std::string_view key) {
        if (key == "prompt") {
            r.is_array = in.next() == json_kind::array;
            if (!r.is_array) return add_prompt(in, r.prompts, l, in.string());
            in.array([&] { add_prompt(in, r.prompts, l, in.string()); });
            if (r.prompts.size() < 2) in.refuse("must be a string, or an array of 2 to " + std::to_string(l.prompts) + " strings");
        } else if (key == "max_new_tokens") {
            read_max_tokens(in, r, d);
        } else if (key == "temperature") {
            read_temperature(in, r, l);
        } else if (key == "top_k") {
            read_top_k(in, r);
        } else if (key == "top_p") {
            read_top_p(in, r);
        } else if (key == "seed") {
            read_seed(in, r);
        } else if (key == "stop") {
            read_stops(in, r, l);
        } else if (key == "stream") {
            r.stream = in.boolean();
        } else {
            in.unknown("prompt, max_new_tokens, temperature, top_k, top_p, seed, stop, stream");
        }
    });
    require_prompt(r);
    return r;
}

generate_request parse_completions(std::string_view body, const defaults& d, const limits& l) {
    generate_request r;  // defaults are those of OpenAI
    r.sampling = {.temperature = 1, .max_new_tokens = std::min<std::size_t>(16, d.context)};
    std::size_t best_of = 0;
    object_reader in(body);
    in.read([&](std::string_view key) {
        if (in.is_null()) return;  // the same as left out
        if (key == "model") r.model = in.string();
        else if (key == "prompt") read_openai_prompt(in, r, l);
        else if (key == "max_tokens") read_max_tokens(in, r, d);
        else if (key == "temperature") read_temperature(in, r, l);
        else if (key == "top_p") read_top_p(in, r);
        else if (key == "top_k") read_top_k(in, r);
        else if (key == "seed") read_seed(in, r);
        else if (key == "stop") read_stops(in, r, l);
        else if (key == "stream") r.stream = in.boolean();
        else if (key == "n") r.choices = std::size_t(in.integer(1, l.prompts));
        else if (key == "best_of") best_of = std::size_t(in.integer(1, l.prompts));
        else if (key == "echo") r.echo = in.boolean();
        else if (key == "logprobs") in.refuse("is not supported: leave it out");
        else if (key == "suffix") in.refuse("is not supported: leave it out");
        else if (key == "presence_penalty" || key == "frequency_penalty") in.number(0, 0, "0, penalties are not supported");
        else if (key == "logit_bias") {
            in.object([&](std::string_view) { in.refuse("must be empty: it is not supported"); });
        } else if (key == "stream_options") {
            in.object([&](std::string_view option) {
                if (option == "include_usage") r.include_usage = in.boolean();
                else in.skip();
            });
        } else {
            in.skip();
        }
    });
    require_prompt(r);
    if (best_of != 0 && best_of != r.choices)
        throw api_error(400, "best_of", "best_of must be n, " + std::to_string(r.choices) + ": texts are not ranked");
    if (r.prompts.size() * r.choices > l.prompts)
        throw api_error(400, "n",
                        "n times the prompts must be at most " + std::to_string(l.prompts) + ", not " + std::to_string(r.prompts.size() * r.choices));
    return r;
}

evaluate_request parse_evaluate(std::string_view body, const defaults& d, const limits& l) {
    evaluate_request r;
    const std::size_t most = std::min(d.context, l.evaluation_tokens);
    r.max_new_tokens = std::min(r.max_new_tokens, most);
    if (body.empty()) return r;
    object_reader in(body);
    in.read([&](std::string_view key) {
        if (key == "prompts") {
            in.array([&] {
                if (r.prompts.size() == l.prompts) in.refuse("must be at most " + std::to_string(l.prompts));
                r.prompts.push_back(in.string());
                if (r.prompts.back().empty()) in.refuse("must have at least one character each");
            });
            if (r.prompts.empty()) in.refuse("must hold at least one prompt");
        } else if (key == "max_new_tokens") {
            r.max_new_tokens = std::size_t(in.integer(1, most));
        } else {
            in.unknown("prompts, max_new_tokens");
        }
    });
    return r;
}

}  // namespace serve
