// parse_json and json_reader against nlohmann::json: what one accepts the other accepts, with the same values, but for what only we refuse.
#include <qnt/io/json.hpp>

#include <nlohmann/json.hpp>

#include <cfloat>
#include <cmath>

#include "fuzz.hpp"

namespace {

using nlohmann::json;
using qnt::json_kind;

bool has_unrepresentable_number(const qnt::json_value& v) {
    if (v.kind() == json_kind::number) return !v.as_double();
    for (const auto& item : v.items())
        if (has_unrepresentable_number(item)) return true;
    for (const auto& m : v.members())
        if (has_unrepresentable_number(m.value)) return true;
    return false;
}

void check_number(const qnt::json_value& ours, const json& theirs) {
    FUZZ_CHECK(theirs.is_number());
    const auto count = ours.as_uint64();
    FUZZ_CHECK(count.has_value() == theirs.is_number_unsigned());
    if (count) FUZZ_CHECK(*count == theirs.get<std::uint64_t>());
    const auto number = ours.as_double();
    if (number)
        FUZZ_CHECK(theirs.is_number_integer() ? *number == theirs.get<double>() : std::memcmp(&*number, theirs.get_ptr<const double*>(), 8) == 0);
    else FUZZ_CHECK(std::fabs(theirs.get<double>()) < DBL_MIN);  // underflow: theirs is rounded
}

void check_equal(const qnt::json_value& ours, const json& theirs) {
    FUZZ_CHECK(ours.as_bool().has_value() == theirs.is_boolean());
    FUZZ_CHECK(ours.as_string().has_value() == theirs.is_string());
    switch (ours.kind()) {
    case json_kind::null: return FUZZ_CHECK(theirs.is_null());
    case json_kind::boolean: return FUZZ_CHECK(*ours.as_bool() == theirs.get<bool>());
    case json_kind::number: return check_number(ours, theirs);
    case json_kind::string: return FUZZ_CHECK(*ours.as_string() == theirs.get_ref<const std::string&>());
    case json_kind::array: FUZZ_CHECK(theirs.is_array()); break;
    default: FUZZ_CHECK(ours.kind() == json_kind::object && theirs.is_object()); break;
    }
    FUZZ_CHECK(ours.items().size() + ours.members().size() == theirs.size());
    for (std::size_t i = 0; i < ours.items().size(); ++i) check_equal(ours.items()[i], theirs[i]);
    for (const auto& m : ours.members()) {
        FUZZ_CHECK(ours.find(m.key) == &m.value && theirs.contains(m.key));
        check_equal(m.value, theirs[m.key]);
    }
}

std::string written(const qnt::json_value& v) {
    std::string out;
    const auto comma = [&](char open) { out += out.empty() ? open : ','; };
    switch (v.kind()) {
    case json_kind::null: return "null";
    case json_kind::boolean: return *v.as_bool() ? "true" : "false";
    case json_kind::string: return qnt::json_escape(*v.as_string());
    case json_kind::array:
        for (const auto& item : v.items()) comma('['), out += written(item);
        return out.empty() ? "[]" : out + ']';
    case json_kind::object:
        for (const auto& m : v.members()) comma('{'), out += qnt::json_escape(m.key) + ':' + written(m.value);
        return out.empty() ? "{}" : out + '}';
    default: {
        const auto count = v.as_uint64();
        if (count) return std::to_string(*count);
        const auto number = v.as_double();
        return number ? json(*number).dump() : "0";
    }
    }
}

bool is_ours_alone(std::string_view why) {
    for (const char* known : {"duplicate key", "nested deeper", "more than 1048576 values"})
        if (contains(why, known)) return true;
    return false;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text = fuzz::text(data, size);
    const auto ours = [&] {
        const fuzz::memory_bound bound(size, 512);  // a tree: a value of one character and a comma is some 100 bytes, three times while it grows
        return qnt::parse_json(text);
    }();
    {
        const fuzz::memory_bound bound(size, 4);
        qnt::json_reader in(text);
        auto skipped = in.skip();
        if (skipped) skipped = in.end();
        FUZZ_CHECK(ours ? skipped.has_value()
                        : (!skipped || contains(ours.error().message, "duplicate key") || contains(ours.error().message, "values")));
    }
    json theirs;
    bool is_out_of_range = false, is_accepted = true;
    try {
        theirs = json::parse(text);
    } catch (const json::out_of_range&) {
        is_out_of_range = true;
    } catch (const json::parse_error&) {
        is_accepted = false;
    }
    if (ours) {
        FUZZ_CHECK(is_accepted);
        if (is_out_of_range) FUZZ_CHECK(has_unrepresentable_number(*ours));  // of ours it stays a text until it is asked for
        else check_equal(*ours, theirs);
        const std::string again = written(*ours);
        const auto reread = qnt::parse_json(again);
        FUZZ_CHECK(reread.has_value() && written(*reread) == again);
        return 0;
    }
    // They skip a byte order mark and end at a NUL.
    const bool is_theirs_alone = text.starts_with("\xEF\xBB\xBF") || text.find('\0') != text.npos;
    if (is_accepted && !is_out_of_range && !is_theirs_alone) FUZZ_CHECK(is_ours_alone(ours.error().message));
    return fuzz::refused(ours.error());
}
