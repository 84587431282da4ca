#include "charts.hpp"

#include <functional>
#include <limits>

#include "svg.hpp"

namespace eval {

double number(const json& j) { return j.is_null() ? std::numeric_limits<double>::quiet_NaN() : j.get<double>(); }

namespace {

constexpr std::size_t colours = 8;
constexpr double picture_width = 560;  // of all
constexpr double letter = 6.6;         // width of a letter of a label, about

std::string name_of(const json& row) { return row["name"].get<std::string>(); }

// One for each format, whatever its keys and values are.
std::string colour_of(const rows& all, const json& row) {
    std::vector<std::string> formats;
    for (const json* r : all) {
        const std::string format = (*r)["format"];
        if (std::find(formats.begin(), formats.end(), format) == formats.end()) formats.push_back(format);
    }
    return "c" + std::to_string(std::size_t(std::find(formats.begin(), formats.end(), row["format"].get<std::string>()) - formats.begin()) % colours);
}

std::string megabytes(double bytes) { return short_number(bytes / 1e6) + " MB"; }

struct box {
    double x, y, width, height;

    double overlap(const box& o) const {
        const double w = std::min(x + width, o.x + o.width) - std::max(x, o.x), h = std::min(y + height, o.y + o.height) - std::max(y, o.y);
        return w > 0 && h > 0 ? w * h : 0;
    }
};

// Finds places for the labels of points where they hide neither points nor each other.
class label_places {
public:
    label_places(box inside) : inside_(inside) {}
    void taken(const box& b) { taken_.push_back(b); }

    // The lower left corner of a text for the point.
    std::pair<double, double> place(double x, double y, double width) {
        constexpr double height = 13;
        box best{};
        double least = std::numeric_limits<double>::infinity();
        for (const double away : {9.0, 16.0, 26.0, 38.0, 52.0})
            for (const auto& [dx, dy] :
                 {std::pair{1.0, 0.0}, {-1.0, 0.0}, {0.0, -1.0}, {0.0, 1.0}, {0.8, -0.8}, {-0.8, -0.8}, {0.8, 0.8}, {-0.8, 0.8}}) {
                const double left = dx > 0 ? x + dx * away : dx < 0 ? x + dx * away - width : x - width / 2;
                const box b{left, y + dy * (away + 4) - height / 2, width, height};
                double cost = away / 10;
                for (const box& t : taken_) cost += 10 * b.overlap(t);
                cost += 100 * (width * height - b.overlap(inside_));
                if (cost < least - 1e-9) {
                    least = cost;
                    best = b;
                }
            }
        taken_.push_back(best);
        return {best.x, best.y + height - 3};
    }

private:
    box inside_;
    std::vector<box> taken_;
};

void horizontal_axis(svg& s, const scale& x, double top, double bottom, const std::string& title, const std::function<std::string(double)>& text) {
    for (const double t : x.ticks(6)) {
        s.line(x(t), top, x(t), bottom, "grid");
        s.text(x(t), bottom + 16, text(t), "tick", "middle");
    }
    s.text((x.from + x.to) / 2, bottom + 36, title, "axis", "middle");
}

void vertical_axis(svg& s, const scale& y, double left, double right, const std::string& title, const std::function<std::string(double)>& text) {
    for (const double t : y.ticks(6)) {
        s.line(left, y(t), right, y(t), "grid");
        s.text(left - 8, y(t) + 4, text(t), "tick", "end");
    }
    s.text(4, y.to - 14, title, "axis");
}

double widest_label(const rows& all) {
    std::size_t most = 0;
    for (const json* r : all) most = std::max(most, label_of(*r).size());
    return letter * double(most);
}

rows without_reference(const rows& all) {
    rows rest;
    for (const json* r : all)
        if (!(*r)["is_reference"].get<bool>()) rest.push_back(r);
    return rest;
}

}  // namespace

std::string label_of(const json& row) {
    const std::string format = row["format"], kv = row["kv"];
    return kv == "f32" ? format : format + (kv == "none" ? ", no cache" : ", kv " + kv);
}

std::string size_chart(const rows& all) {
    constexpr double height = 380, left = 52, right = picture_width - 12, top = 34, bottom = 330;
    double x_low = 1e300, x_high = 0, y_low = 1e300, y_high = -1e300;
    for (const json* r : all) {
        const double bytes = number((*r)["size"]["bytes"]), ppl = number((*r)["perplexity"]["nonoverlap"]["ppl"]),
                     error = number((*r)["perplexity"]["nonoverlap"]["paired_standard_error"]);
        x_low = std::min(x_low, bytes), x_high = std::max(x_high, bytes);
        y_low = std::min(y_low, ppl - error), y_high = std::max(y_high, ppl + error);
    }
    const double room = std::max((y_high - y_low) * 0.12, y_high * 1e-4);
    const scale x{x_low / 1.15, x_high * 1.25, left, right, true}, y{y_low - room, y_high + room, bottom, top, false};
    attributes facts{{"data-chart", "size"}};
    for (const auto& axis : {x.facts("x"), y.facts("y")}) facts.insert(facts.end(), axis.begin(), axis.end());
    svg s(picture_width, height, "Size of the weights and perplexity", facts);
    horizontal_axis(s, x, top, bottom, "weights, MB (logarithmic)", [](double v) { return tick_text(v / 1e6); });
    vertical_axis(s, y, left, right, "perplexity", [&](double v) { return fixed(v, y.high - y.low < 0.5 ? 3 : y.high - y.low < 5 ? 2 : 1); });
    label_places places({left, top, right - left, bottom - top});
    struct point {
        const json* row;
        double x, y, error;
    };
    std::vector<point> points;
    for (const json* r : all) {
        const json& ppl = (*r)["perplexity"]["nonoverlap"];
        const point p{r, x(number((*r)["size"]["bytes"])), y(number(ppl["ppl"])), number(ppl["paired_standard_error"])};
        const double half = std::abs(y(y.low + p.error) - y.from);
        places.taken({p.x - 6, p.y - std::max(6.0, half), 12, 2 * std::max(6.0, half)});
        points.push_back(p);
    }
    for (const point& p : points)
        if ((*p.row)["is_reference"].get<bool>()) s.line(left, p.y, right, p.y, "reference");
    for (const point& p : points) {
        const json& row = *p.row;
        const double ppl = number(row["perplexity"]["nonoverlap"]["ppl"]);
        if (p.error > 0) {
            const double a = y(ppl - p.error), b = y(ppl + p.error);
            const std::string style = "bar " + colour_of(all, row);
            s.line(p.x, a, p.x, b, style, {{"data-c", name_of(row)}, {"data-error", exact(p.error)}});
            s.line(p.x - 4, a, p.x + 4, a, style);
            s.line(p.x - 4, b, p.x + 4, b, style);
        }
        const bool plain = row["kv"] == "f32";
        s.element(
            "circle",
            {{"cx", svg::px(p.x)},
             {"cy", svg::px(p.y)},
             {"r", "5"},
             {"class", (plain ? "dot " : "ring ") + colour_of(all, row)},
             {"data-c", name_of(row)},
             {"data-x", exact(number(row["size"]["bytes"]))},
             {"data-y", exact(ppl)}},
            label_of(row) + ": " + megabytes(number(row["size"]["bytes"])) + ", perplexity " + fixed(ppl, 4) + " \xC2\xB1 " + short_number(p.error));
    }
    for (const point& p : points) {
        const std::string label = label_of(*p.row);
        const auto [at_x, at_y] = places.place(p.x, p.y, letter * double(label.size()));
        const double near_x = std::clamp(p.x, at_x, at_x + letter * double(label.size())), near_y = std::clamp(p.y, at_y - 10, at_y + 2);
        if (std::hypot(near_x - p.x, near_y - p.y) > 14) s.line(p.x, p.y, near_x, near_y, "leader");
        s.text(at_x, at_y, label, "label");
    }
    return s.finish();
}

std::string kl_chart(const rows& all) {
    const rows shown = without_reference(all);
    constexpr double row_height = 44, top = 20, right = picture_width - 66;
    const double left = std::max(80.0, widest_label(shown) + 20), bottom = top + row_height * double(shown.size());
    double low = 1e300, high = 0, most = 1;
    for (const json* r : shown) {
        const json& d = (*r)["divergence"];
        const double tokens = number(d["tokens"]);
        double below = 0;
        for (const json& bin : d["kl_histogram"]) {
            below += number(bin[2]);
            if (number(bin[0]) <= 0) continue;
            most = std::max(most, number(bin[2]));
            high = std::max(high, number(bin[1]));
            if (below > tokens * 0.002) low = std::min(low, number(bin[0]));
        }
    }
    if (low >= high) return "<p class=\"note\">No token differs.</p>\n";
    const scale x{low, high, left, right, true};
    attributes facts{{"data-chart", "kl"}, {"data-most", exact(most)}, {"data-row", exact(row_height - 8)}};
    const attributes axis = x.facts("x");
    facts.insert(facts.end(), axis.begin(), axis.end());
    svg s(picture_width, bottom + 48, "Distribution of the KL divergence over tokens", facts);
    horizontal_axis(s, x, top, bottom, "KL divergence of a token's prediction from f32, nats (logarithmic)", power_of_ten);
    s.text(picture_width - 2, top - 8, "mean", "tick", "end");
    for (std::size_t i = 0; i < shown.size(); ++i) {
        const json& row = *shown[i];
        const json& d = row["divergence"];
        const std::string colour = colour_of(all, row);
        const double base = top + row_height * double(i + 1);
        std::string path, counts;
        for (const json& bin : d["kl_histogram"]) {
            counts += (counts.empty() ? "" : " ") + exact(number(bin[2]));
            const double from = std::max(number(bin[0]), low), to = number(bin[1]);
            if (to <= from) continue;
            const std::string y = svg::px(base - (row_height - 8) * number(bin[2]) / most);
            path += path.empty() ? "M" + svg::px(x(from)) + " " + svg::px(base) : "";
            path += "V" + y + "H" + svg::px(x(to));
        }
        const json& kl = d["kl"];
        const std::string facts_text = label_of(row) + ": mean " + short_number(number(kl["mean"])) + ", median " +
                                       short_number(number(kl["median"])) + ", 99 % " + short_number(number(kl["p99"])) + ", 99.9 % " +
                                       short_number(number(kl["p99_9"])) + ", max " + short_number(number(kl["max"]));
        if (!path.empty())
            s.element("path",
                      {{"d", path + "V" + svg::px(base) + "Z"}, {"class", "ridge " + colour}, {"data-c", name_of(row)}, {"data-counts", counts}},
                      facts_text);
        s.line(left, base, right, base, "base");
        for (const auto& [what, style] : {std::pair{"median", "mark "}, {"p99", "mark thin "}}) {
            const double v = number(kl[what]);
            if (v >= low && v <= high)
                s.line(x(v), base - row_height + 8, x(v), base, style + colour, {{"data-c", name_of(row)}, {"data-q", what}, {"data-x", exact(v)}});
        }
        s.text(left - 10, base - 10, label_of(row), "label", "end");
        s.text(picture_width - 2, base - 10, short_number(number(kl["mean"])), "value", "end",
               {{"data-c", name_of(row)}, {"data-mean", exact(number(kl["mean"]))}});
    }
    return s.finish();
}

std::string speed_chart(const rows& all, const char* what, const char* title) {
    constexpr double top = 40, bar = 13, gap = 9, right = picture_width - 50;
    const double left = std::max(80.0, widest_label(all) + 20);
    double most = 0;
    std::size_t bars = 0, groups = 0;
    std::vector<std::size_t> batches;
    for (const json* r : all) {
        if ((*r)["cost"].is_null()) continue;
        ++groups;
        for (const json& b : (*r)["cost"]["batches"]) {
            most = std::max(most, number(b[what]["most"]));
            ++bars;
            const auto n = b["batch"].get<std::size_t>();
            if (std::find(batches.begin(), batches.end(), n) == batches.end()) batches.push_back(n);
        }
    }
    if (bars == 0) return "";
    const double bottom = top + bar * double(bars) + gap * double(groups);
    const scale x{0, most * 1.02, left, right, false};
    attributes facts{{"data-chart", what}};
    const attributes axis = x.facts("x");
    facts.insert(facts.end(), axis.begin(), axis.end());
    svg s(picture_width, bottom + 48, title, facts);
    horizontal_axis(s, x, top, bottom, title, tick_text);
    double at = left;
    for (std::size_t b = 0; b < batches.size(); ++b) {
        s.element("rect",
                  {{"x", svg::px(at)}, {"y", "10"}, {"width", "11"}, {"height", "11"}, {"rx", "2"}, {"class", "fill b" + std::to_string(b % 4)}});
        const std::string text = batches[b] == 1 ? "one sequence" : std::to_string(batches[b]) + " sequences at once";
        s.text(at + 17, 20, text, "tick");
        at += 40 + letter * double(text.size());
    }
    double y = top + gap / 2;
    for (const json* r : all) {
        if ((*r)["cost"].is_null()) continue;
        const json& list = (*r)["cost"]["batches"];
        s.text(left - 10, y + bar * double(list.size()) / 2 + 4, label_of(*r), "label", "end");
        for (const json& b : list) {
            const auto n = b["batch"].get<std::size_t>();
            const auto style = std::size_t(std::find(batches.begin(), batches.end(), n) - batches.begin());
            const double v = number(b[what]["median"]), least = number(b[what]["least"]), best = number(b[what]["most"]);
            s.element("rect",
                      {{"x", svg::px(left)},
                       {"y", svg::px(y + 1)},
                       {"width", svg::px(x(v) - left)},
                       {"height", svg::px(bar - 2)},
                       {"rx", "2"},
                       {"class", "fill b" + std::to_string(style % 4)},
                       {"data-c", name_of(*r)},
                       {"data-batch", std::to_string(n)},
                       {"data-x", exact(v)}},
                      label_of(*r) + ", batch " + std::to_string(n) + ": " + short_number(v) + " (" + short_number(least) + " to " +
                          short_number(best) + ")");
            s.line(x(least), y + bar / 2, x(best), y + bar / 2, "whisker");
            s.text(x(best) + 6, y + bar / 2 + 4, fixed(v, v < 100 ? 1 : 0), "value");
            y += bar;
        }
        y += gap;
    }
    return s.finish();
}

std::string heat_map(const rows& all, const char* what) {
    const bool is_kl = std::string_view(what) == "kl";
    const rows shown = without_reference(all);
    if (shown.empty() || (*shown[0])["prompts"].is_null()) return "";
    const json& categories = (*shown[0])["prompts"]["categories"];
    double longest = 0;
    for (const json& c : categories) longest = std::max(longest, letter * double(c["category"].get<std::string>().size()));
    constexpr double cell_height = 26;
    const double slanted = 0.71 * longest, top = slanted + 14, right = picture_width - std::max(16.0, slanted - 24);
    const double left = std::max(80.0, widest_label(shown) + 20), cell = (right - left) / double(categories.size()),
                 bottom = top + cell_height * double(shown.size());
    const auto value_of = [&](const json& c) { return is_kl ? (c["kl"].is_null() ? std::nan("") : number(c["kl"]["mean"])) : number(c[what]); };
    double low = 1e300, high = 0;
    for (const json* r : shown)
        for (const json& c : (*r)["prompts"]["categories"]) {
            const double v = value_of(c);
            if (v > 0) low = std::min(low, v), high = std::max(high, v);
        }
    svg s(picture_width, bottom + 8, is_kl ? "KL divergence by category" : "Similarity by category", {{"data-chart", std::string("heat-") + what}});
    for (std::size_t k = 0; k < categories.size(); ++k) {
        const double x = left + cell * (double(k) + 0.5);
        s.text(x - 2, top - 8, categories[k]["category"], "tick", "start",
               {{"transform", "rotate(-45 " + svg::px(x - 2) + " " + svg::px(top - 8) + ")"}});
    }
    for (std::size_t i = 0; i < shown.size(); ++i) {
        const json& row = *shown[i];
        const double y = top + cell_height * double(i);
        s.text(left - 10, y + cell_height / 2 + 4, label_of(row), "label", "end");
        const json& list = row["prompts"]["categories"];
        for (std::size_t k = 0; k < list.size(); ++k) {
            const double v = value_of(list[k]);
            // More is darker: of KL by its logarithm, of similarity what is missing.
            double strength = is_kl ? (v > 0 && high > low ? std::log(v / low) / std::log(high / low) : v > 0) : 1 - v;
            strength = std::isfinite(strength) ? std::clamp(strength, 0.0, 1.0) : 0;
            s.element("rect",
                      {{"x", svg::px(left + cell * double(k) + 1)},
                       {"y", svg::px(y + 1)},
                       {"width", svg::px(cell - 2)},
                       {"height", svg::px(cell_height - 2)},
                       {"rx", "3"},
                       {"class", "heat"},
                       {"fill-opacity", fixed(0.06 + 0.94 * strength, 3)},
                       {"data-c", name_of(row)},
                       {"data-category", list[k]["category"]},
                       {"data-v", exact(v)}},
                      label_of(row) + ", " + list[k]["category"].get<std::string>() + ": " + short_number(v));
            const std::string text = is_kl ? fixed(1e3 * v, v < 0.01 ? 2 : v < 1 ? 1 : 0) : fixed(v, 2);
            s.text(left + cell * (double(k) + 0.5), y + cell_height / 2 + 4, text.starts_with("0.") ? text.substr(1) : text,
                   strength > 0.5 ? "cell strong" : "cell", "middle");
        }
    }
    return s.finish();
}

}  // namespace eval
