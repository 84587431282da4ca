// Just enough of SVG and HTML for a report: elements, axes, numbers for people.
#pragma once
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace eval {

// For text and attributes. Control characters, which no browser shows, become U+FFFD.
inline std::string escaped(std::string_view s) {
    std::string out;
    for (const char c : s) switch (c) {
        case '&': out += "&amp;"; break;
        case '<': out += "&lt;"; break;
        case '>': out += "&gt;"; break;
        case '"': out += "&quot;"; break;
        default: out += static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t' ? std::string("\xEF\xBF\xBD") : std::string(1, c);
        }
    return out;
}

inline std::string fixed(double x, int digits) {
    char text[64];
    std::snprintf(text, sizeof text, "%.*f", digits, x);
    return text;
}
// As in JSON: read back as x.
inline std::string exact(double x) {
    char text[32];
    return {text, std::to_chars(text, text + sizeof text, x).ptr};
}
// Three digits that count: 0.00123, 12.3, 1,230 would be 1230.
inline std::string short_number(double x) {
    if (x == 0) return "0";
    const double size = std::abs(x);
    if (size < 1e-4 || size >= 1e7) {
        char text[32];
        std::snprintf(text, sizeof text, "%.2g", x);
        return text;
    }
    const int before = int(std::floor(std::log10(size)));
    return fixed(x, std::clamp(2 - before, 0, 6));
}

// Of a tick: 1, 2 and 5 times a power of ten, as short as they go.
inline std::string tick_text(double x) {
    char text[32];
    std::snprintf(text, sizeof text, "%.6g", x == 0 ? 0.0 : x);
    return text;
}
// 10 to a power, as 10\xE2\x81\xBB\xE2\x81\xB5.
inline std::string power_of_ten(double x) {
    static constexpr const char* digits[] = {"\xE2\x81\xB0", "\xC2\xB9",     "\xC2\xB2",     "\xC2\xB3",     "\xE2\x81\xB4",
                                             "\xE2\x81\xB5", "\xE2\x81\xB6", "\xE2\x81\xB7", "\xE2\x81\xB8", "\xE2\x81\xB9"};
    const int power = int(std::lround(std::log10(x)));
    if (power >= -2 && power <= 2) return tick_text(x);
    std::string text = power < 0 ? "10\xE2\x81\xBB" : "10";
    for (const char c : std::to_string(std::abs(power))) text += digits[c - '0'];
    return text;
}

using attributes = std::vector<std::pair<const char*, std::string>>;

class svg {
public:
    svg(double width, double height, const std::string& title, const attributes& more = {}) {
        out_ = "<svg viewBox=\"0 0 " + px(width) + " " + px(height) + "\" role=\"img\" aria-label=\"" + escaped(title) + "\"" + text_of(more) + ">\n";
    }
    static std::string px(double x) {
        std::string s = fixed(x, 2);
        while (s.ends_with('0')) s.pop_back();
        if (s.ends_with('.')) s.pop_back();
        return s == "-0" ? "0" : s;
    }
    // title: shown when the pointer rests on it.
    void element(const char* name, const attributes& a, const std::string& title = "") {
        out_ += "<" + std::string(name) + text_of(a) + (title.empty() ? "/>\n" : "><title>" + escaped(title) + "</title></" + name + ">\n");
    }
    void line(double x1, double y1, double x2, double y2, const std::string& style, attributes more = {}) {
        attributes a{{"x1", px(x1)}, {"y1", px(y1)}, {"x2", px(x2)}, {"y2", px(y2)}, {"class", style}};
        a.insert(a.end(), more.begin(), more.end());
        element("line", a);
    }
    // anchor: start, middle, end
    void text(double x, double y, const std::string& content, const std::string& style, const char* anchor = "start", attributes more = {}) {
        attributes a{{"x", px(x)}, {"y", px(y)}, {"class", style}, {"text-anchor", anchor}};
        a.insert(a.end(), more.begin(), more.end());
        out_ += "<text" + text_of(a) + ">" + escaped(content) + "</text>\n";
    }
    std::string finish() const { return out_ + "</svg>\n"; }

private:
    static std::string text_of(const attributes& a) {
        std::string out;
        for (const auto& [name, value] : a) out += std::string(" ") + name + "=\"" + escaped(value) + "\"";
        return out;
    }
    std::string out_;
};

// Numbers [low, high] to places [from, to].
struct scale {
    double low, high, from, to;
    bool is_log = false;

    double operator()(double x) const {
        const double part = is_log ? std::log(x / low) / std::log(high / low) : (x - low) / (high - low);
        return from + part * (to - from);
    }
    // About n round numbers inside.
    std::vector<double> ticks(int n) const {
        std::vector<double> out;
        if (is_log) {
            const double octaves = std::log2(high / low);
            for (double decade = std::pow(10, std::floor(std::log10(low))); decade <= high; decade *= 10)
                for (const double m : {1.0, 2.0, 5.0})
                    if ((m == 1 || octaves < 7) && decade * m >= low * 0.999 && decade * m <= high * 1.001) out.push_back(decade * m);
            return out;
        }
        const double rough = (high - low) / n, magnitude = std::pow(10, std::floor(std::log10(rough)));
        double step = 10 * magnitude;
        for (const double m : {5.0, 2.0, 1.0})
            if (m * magnitude >= rough) step = m * magnitude;
        for (double i = std::ceil(low / step - 1e-9); i * step <= high + step * 1e-9; ++i) out.push_back(i == 0 ? 0 : i * step);
        return out;
    }
    // So that the places in a picture can be checked.
    attributes facts(const std::string& axis) const {
        static constexpr const char* names[2][5] = {{"data-x-low", "data-x-high", "data-x-from", "data-x-to", "data-x-log"},
                                                    {"data-y-low", "data-y-high", "data-y-from", "data-y-to", "data-y-log"}};
        const auto& n = names[axis == "y"];
        return {{n[0], exact(low)}, {n[1], exact(high)}, {n[2], exact(from)}, {n[3], exact(to)}, {n[4], is_log ? "1" : "0"}};
    }
};

}  // namespace eval
