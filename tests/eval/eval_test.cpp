// The program qnt-eval: its figures against direct computation, its shards against the whole, its pictures against its JSON.
#include "gpt2/load.hpp"
#include "gpt2/tokenizer.hpp"
#include "gpt2/windows.hpp"

#include <nlohmann/json.hpp>

#include <chrono>
#include <cmath>
#include <map>
#include <sstream>
#include <thread>

#include "eval/json_schema.hpp"
#include "examples/programs.hpp"
#include "metrics/reference.hpp"

namespace {

using json = nlohmann::ordered_json;

const std::string folder = QNT_SOURCE_DIR "/examples/models/qnt-gpt2-5m", schemas = QNT_SOURCE_DIR "/examples/eval/";

constexpr std::size_t scored = 200;  // tokens of a text
constexpr const char* three_prompts = R"({"prompts": [{"id": "a-1", "category": "a", "prompt": "The old house"},
    {"id": "a-2", "category": "a", "prompt": "Once upon a time \"there\" <was> & |"}, {"id": "b-1", "category": "b", "prompt": "It is"}]})";

// A text and a few prompts, and the options that make little of them.
struct inputs {
    temp_folder at;
    std::string text = at / "text.txt", prompts = at / "prompts.json";

    inputs() {
        write_text(text, text_of(QNT_SOURCE_DIR "/CONTRIBUTING.md"));
        write_text(prompts, three_prompts);
    }
    std::vector<std::string> arguments(const std::string& out, const std::string& formats, std::vector<std::string> more = {}) const {
        std::vector<std::string> all{
            QNT_EVAL,       "--model", folder,      "--text", text,    "--prompts", prompts, "--window", "64", "--tokens", std::to_string(scored),
            "--new-tokens", "6",       "--threads", "2",      "--out", at / out};
        if (!formats.empty()) all.insert(all.end(), {"--formats", formats});
        for (std::size_t i = 0; i < more.size(); ++i) {
            const auto there = more[i].starts_with("--") ? std::find(all.begin(), all.end(), more[i]) : all.end();
            if (there != all.end()) *(there + 1) = more[++i];
            else all.push_back(more[i]);
        }
        return all;
    }
    // Where the results are.
    std::string measure(const std::string& out, const std::string& formats, std::vector<std::string> more = {}) const {
        const outcome o = run(arguments(out, formats, std::move(more)));
        INFO(o.err);
        REQUIRE(o.exit_code == 0);
        return at / out + "/";
    }
};

json read(const std::string& path) {
    const std::string text = text_of(path);
    INFO(path);
    REQUIRE(!text.empty());
    return json::parse(text);
}

// All logits of a window at once, kept.
struct dumped {
    std::vector<std::vector<float>> rows;  // the one before each scored token
    std::vector<std::int32_t> targets;
};
dumped dump(const gpt2::model& m, const char* kv, std::span<const std::int32_t> ids, std::size_t length, std::size_t stride, std::size_t tokens) {
    dumped d;
    const std::size_t vocab = m.config().vocab_size;
    for (const gpt2::window& w : gpt2::windows_of(ids.size(), length, stride, tokens)) {
        gpt2::session session(m, {}, qnt::kv_types::parse(kv).value());
        const auto logits = session.forward_all(ids.subspan(w.first, w.size));
        for (std::size_t t = w.size - w.scored; t < w.size; ++t) {
            const auto row = logits.subspan((t - 1) * vocab, vocab);
            d.rows.emplace_back(row.begin(), row.end());
            d.targets.push_back(ids[w.first + t]);
        }
    }
    return d;
}

// What stands between the first `begin` and the `end` behind it.
std::string between(const std::string& text, const std::string& begin, const std::string& end) {
    const std::size_t at = text.find(begin);
    REQUIRE(at != std::string::npos);
    const std::size_t from = at + begin.size(), to = text.find(end, from);
    REQUIRE(to != std::string::npos);
    return text.substr(from, to - from);
}

std::size_t argmax(std::span<const float> x) { return std::size_t(std::max_element(x.begin(), x.end()) - x.begin()); }

}  // namespace

TEST_CASE("qnt-eval: perplexity and KL are those of dumped logits in extended precision") {
    const inputs in;
    const std::string out = in.measure("out", "int4:32", {"--kv", "f32,int8", "--no-speed", "--no-text"});
    const auto ids = gpt2::tokenizer(folder).encode(text_of(in.text));
    const gpt2::model reference = gpt2::load_model(folder), model = gpt2::load_model(folder, {.weights = {{"*", qnt::use<qnt::int4<32>>}}});
    for (const char* kv : {"f32", "int8"}) {
        const json j = read(out + "qnt-gpt2-5m.int4-32.kv-" + kv + ".json");
        for (const auto& [name, stride] : {std::pair{"nonoverlap", 64u}, {"stride", 32u}}) {
            const dumped p = dump(reference, "f32", ids, 64, stride, scored), q = dump(model, kv, ids, 64, stride, scored);
            REQUIRE(p.rows.size() == scored);
            long double kl = 0, max_kl = 0, nll = 0, nll_p = 0, change = 0, squares = 0;
            std::size_t same = 0;
            std::vector<double> all;
            for (std::size_t t = 0; t < p.rows.size(); ++t) {
                const auto lp = reference::log_softmax(p.rows[t]), lq = reference::log_softmax(q.rows[t]);
                const auto target = std::size_t(p.targets[t]);
                long double sum = 0;
                for (std::size_t i = 0; i < lp.size(); ++i) sum += std::exp(lp[i]) * (lp[i] - lq[i]);
                kl += sum / scored, max_kl = std::max(max_kl, sum), nll -= lq[target] / scored, nll_p -= lp[target] / scored;
                all.push_back(double(sum));
                const long double d = std::exp(lq[target]) - std::exp(lp[target]);
                change += d / scored, squares += d * d / scored;
                same += argmax(p.rows[t]) == argmax(q.rows[t]);
            }
            const json& ppl = j["perplexity"][name];
            INFO(kv << ", " << name);
            CHECK(ppl["scored_tokens"] == scored);
            CHECK(ppl["ppl"].get<double>() == Approx(double(std::exp(nll))).epsilon(1e-9));
            CHECK(ppl["reference_ppl"].get<double>() == Approx(double(std::exp(nll_p))).epsilon(1e-9));
            CHECK(ppl["change_percent"].get<double>() == Approx(double(100 * (std::exp(nll - nll_p) - 1))).epsilon(1e-7));
            if (stride != 64) continue;
            const json& d = j["divergence"];
            CHECK(d["kl"]["mean"].get<double>() > 0);
            CHECK(std::abs(d["kl"]["mean"].get<double>() - double(kl)) < 1e-9);
            CHECK(std::abs(d["kl"]["max"].get<double>() - double(max_kl)) < 1e-6);
            std::sort(all.begin(), all.end());
            CHECK(d["kl"]["median"].get<double>() == Approx(all[scored / 2 - 1]).epsilon(1.0 / 64));
            CHECK(d["kl"]["p99"].get<double>() == Approx(all[scored * 99 / 100 - 1]).epsilon(1.0 / 64));
            CHECK(d["worst_tokens"][0]["kl"] == d["kl"]["max"]);
            CHECK(d["top1_agreement"]["share"].get<double>() == Approx(double(same) / scored));
            CHECK(d["probability_change"]["mean"].get<double>() == Approx(double(change)).margin(1e-9));
            CHECK(d["probability_change"]["rms"].get<double>() == Approx(double(std::sqrt(squares))).epsilon(1e-7));
        }
    }
}

TEST_CASE("qnt-eval: outlier columns are those of a text, and their share is told") {
    const inputs in;
    write_text(in.at / "calibration.txt", text_of(QNT_SOURCE_DIR "/README.md").substr(0, 4000));
    const std::string out = in.measure("out", "llmint8:1,int8_channel", {"--no-speed", "--no-text", "--calibrate", in.at / "calibration.txt"});
    const json split = read(out + "qnt-gpt2-5m.llmint8-1.kv-f32.json"), plain = read(out + "qnt-gpt2-5m.int8_channel.kv-f32.json");
    CHECK(split["calibration"]["name"] == "calibration.txt");
    CHECK(plain["calibration"].is_null());
    const double share = split["size"]["outlier_share"];
    CHECK(share > 0);
    CHECK(share < 1);
    CHECK(plain["size"]["outlier_share"] == 0.0);
    double outliers = 0, all = 0;
    for (const json& m : split["size"]["matrices"]) {
        const double rows = m["shape"][0], cols = m["shape"][1];
        outliers += rows * m["outlier_columns"].get<double>();
        all += rows * cols;
    }
    CHECK(share == Approx(outliers / all));
    CHECK(split["size"]["bytes"] > plain["size"]["bytes"]);
    CHECK(split["divergence"]["kl"]["mean"] < plain["divergence"]["kl"]["mean"]);
    CHECK(read(out + "comparison.json")["models"].size() == 1);
    CHECK(json_schema(schemas + "configuration.schema.json").problems(split) == std::vector<std::string>());
    CHECK(json_schema(schemas + "comparison.schema.json").problems(read(out + "comparison.json")) == std::vector<std::string>());
}

TEST_CASE("qnt-eval: the reference is itself") {
    const inputs in;
    const json j = read(in.measure("out", "f16", {"--no-speed"}) + "qnt-gpt2-5m.f32.kv-f32.json");
    CHECK(j["is_reference"] == true);
    CHECK(j["divergence"]["kl"]["max"] == 0.0);
    CHECK(j["divergence"]["top1_agreement"]["share"] == 1.0);
    CHECK(j["perplexity"]["stride"]["change_percent"] == 0.0);
    CHECK(j["prompts"]["identical"] == 1.0);
    CHECK(j["prompts"]["character_similarity"] == 1.0);
    CHECK(j["size"]["effective_bits"] == 32.0);
    const json same = read((in.at / "out") + "/qnt-gpt2-5m.f16.kv-f32.json");  // the shipped weights are f16
    CHECK(same["divergence"]["kl"]["max"] == 0.0);
    CHECK(same["size"]["compression"].get<double>() > 1.8);
}

TEST_CASE("qnt-eval: results keep to their schemas, and a report needs nothing but itself") {
    const inputs in;
    write_text(in.at / "mixed.json", R"([["wte", "int8_channel"], ["h.0.*", "nf4:64"], ["*", "int4:32"]])");
    const std::string out = in.measure("out", "int8,selective:2," + in.at / "mixed.json",
                                       {"--kv", "f32,none", "--batch", "1,2", "--repeats", "2", "--speed-prompt", "16", "--speed-tokens", "4"});
    json_schema configuration(schemas + "configuration.schema.json"), comparison(schemas + "comparison.schema.json");
    for (const char* name : {"f32", "int8", "selective-2", "mixed"})
        for (const char* kv : {"f32", "none"}) {
            json j = read(out + "qnt-gpt2-5m." + name + ".kv-" + kv + ".json");
            INFO(name << ", " << kv);
            CHECK(configuration.problems(j) == std::vector<std::string>());
            CHECK(j["cost"]["batches"].size() == 2);
            CHECK(j["cost"]["batches"][1]["decode_tok_s"]["median"] > 0);
            CHECK(j["cost"]["peak_bytes"].get<std::size_t>() > j["size"]["bytes"].get<std::size_t>());
            j["extra"] = 1;  // the check can fail
            j["size"]["bytes"] = "many";
            j["perplexity"]["stride"].erase("ppl");
            CHECK(configuration.problems(j).size() == 3);
        }
    json all = read(out + "comparison.json");
    CHECK(comparison.problems(all) == std::vector<std::string>());
    CHECK(all["configurations"].size() == 8);
    CHECK(all["configurations"][0]["is_reference"] == true);
    const json selective = read(out + "qnt-gpt2-5m.selective-2.kv-f32.json");
    for (const json& m : selective["size"]["matrices"]) {
        const std::string name = m["name"];
        INFO(name);
        CHECK(m["format"] == (name.starts_with("h.0.") || name.starts_with("h.1.") ? "int8" : "f32"));
    }
    // The same bits without a cache, only later.
    CHECK(read(out + "qnt-gpt2-5m.int8.kv-none.json")["perplexity"] == read(out + "qnt-gpt2-5m.int8.kv-f32.json")["perplexity"]);

    const std::string html = text_of(out + "report.html");
    for (const char* part : {"http:", "https:", "src=", "<link", "@import", "url("}) CHECK(!contains(html, part));
    CHECK(json::parse(between(html, "<script type=\"application/json\" id=\"comparison\">", "</script>")) == all);
    CHECK(contains(text_of(out + "report.md"), "| `selective:2` |"));
    CHECK(!contains(html, "<was>"));  // of a prompt: escaped
    CHECK(!contains(text_of(out + "report.md"), " <was>"));
}

namespace {

// The elements of a picture with their attributes; the name is that of "".
using element = std::map<std::string, std::string>;
std::vector<element> elements_of(const std::string& html, const std::string& chart) {
    const std::size_t begin = html.find("data-chart=\"" + chart + "\"");
    REQUIRE(begin != std::string::npos);
    const std::size_t from = html.rfind("<svg", begin);
    const std::string picture = html.substr(from, html.find("</svg>", begin) - from);
    std::vector<element> out;
    for (std::size_t at = 0; (at = picture.find('<', at)) != std::string::npos; ++at) {
        const std::string tag = picture.substr(at + 1, picture.find('>', at) - at - 1);  // no value holds a >: they are escaped
        element e{{"", tag.substr(0, tag.find_first_of(" />"))}};
        for (std::size_t a = 0; (a = tag.find("=\"", a)) != std::string::npos;) {
            const std::size_t name = tag.rfind(' ', a) + 1, end = tag.find('"', a + 2);
            e[tag.substr(name, a - name)] = tag.substr(a + 2, end - a - 2);
            a = end + 1;
        }
        out.push_back(e);
    }
    return out;
}

struct axis {
    double low, high, from, to;
    bool is_log;

    axis(const element& svg, const std::string& name)
        : low(std::stod(svg.at("data-" + name + "-low"))),
          high(std::stod(svg.at("data-" + name + "-high"))),
          from(std::stod(svg.at("data-" + name + "-from"))),
          to(std::stod(svg.at("data-" + name + "-to"))),
          is_log(svg.at("data-" + name + "-log") == "1") {}
    double operator()(double v) const {
        return from + (to - from) * (is_log ? std::log2(v / low) / std::log2(high / low) : (v - low) / (high - low));
    }
};

}  // namespace

TEST_CASE("qnt-eval: the pictures show the numbers of the JSON, where they belong") {
    const inputs in;
    const std::string out =
        in.measure("out", "int8,int4:32", {"--kv", "f32,int8", "--batch", "1,2", "--repeats", "2", "--speed-prompt", "16", "--speed-tokens", "4"});
    const std::string html = text_of(out + "report.html");
    std::map<std::string, json> rows;
    const json all = read(out + "comparison.json");
    for (const json& c : all["configurations"]) rows[c["name"]] = c;
    REQUIRE(rows.size() == 6);

    std::size_t circles = 0, bars = 0;
    const auto size = elements_of(html, "size");
    const axis x(size[0], "x"), y(size[0], "y");
    for (const element& e : size) {
        if (!e.count("data-c")) continue;
        const json &row = rows.at(e.at("data-c")), &ppl = row["perplexity"]["nonoverlap"];
        if (e.at("") == "circle") {
            ++circles;
            CHECK(std::stod(e.at("data-x")) == row["size"]["bytes"]);
            CHECK(std::stod(e.at("data-y")) == ppl["ppl"]);
            CHECK(std::stod(e.at("cx")) == Approx(x(row["size"]["bytes"])).margin(0.02));
            CHECK(std::stod(e.at("cy")) == Approx(y(ppl["ppl"])).margin(0.02));
        } else {
            ++bars;
            const double error = ppl["paired_standard_error"], value = ppl["ppl"];
            CHECK(std::stod(e.at("data-error")) == error);
            CHECK(std::stod(e.at("y1")) == Approx(y(value - error)).margin(0.02));
            CHECK(std::stod(e.at("y2")) == Approx(y(value + error)).margin(0.02));
        }
    }
    CHECK(circles == 6);
    CHECK(bars == 5);  // the reference has none

    std::size_t ridges = 0, marks = 0;
    const auto kl = elements_of(html, "kl");
    const axis kl_x(kl[0], "x");
    const double most = std::stod(kl[0].at("data-most")), tall = std::stod(kl[0].at("data-row"));
    for (const element& e : kl) {
        if (!e.count("data-c")) continue;
        const json& d = rows.at(e.at("data-c"))["divergence"];
        if (e.at("") == "path") {
            ++ridges;
            std::string d_text = e.at("d");
            for (char& c : d_text)
                if (std::isalpha(static_cast<unsigned char>(c))) c = ' ';
            std::istringstream counts(e.at("data-counts")), path(d_text);
            double base = 0, at = 0, first = 0, value = 0, height = 0;
            path >> first >> base;
            for (const json& bin : d["kl_histogram"]) {
                REQUIRE(counts >> value);
                CHECK(value == bin[2]);
                if (bin[1].get<double>() <= kl_x.low) continue;
                REQUIRE(path >> height >> at);
                CHECK(base - height == Approx(tall * bin[2].get<double>() / most).margin(0.02));
                CHECK(at == Approx(kl_x(bin[1])).margin(0.02));
            }
        } else if (e.count("data-q")) {
            ++marks;
            CHECK(std::stod(e.at("data-x")) == d["kl"][e.at("data-q")]);
            CHECK(std::stod(e.at("x1")) == Approx(kl_x(d["kl"][e.at("data-q")])).margin(0.02));
        } else if (e.count("data-mean")) {
            CHECK(std::stod(e.at("data-mean")) == d["kl"]["mean"]);
        }
    }
    CHECK(ridges == 5);
    CHECK(marks >= 8);

    for (const char* what : {"prefill_tok_s", "decode_tok_s"}) {
        std::size_t n = 0;
        const auto speed = elements_of(html, what);
        const axis speed_x(speed[0], "x");
        for (const element& e : speed) {
            if (!e.count("data-batch")) continue;
            const json& b = rows.at(e.at("data-c"))["cost"]["batches"][e.at("data-batch") == "1" ? 0 : 1];
            CHECK(std::stod(e.at("data-x")) == b[what]["median"]);
            CHECK(std::stod(e.at("width")) == Approx(speed_x(b[what]["median"]) - speed_x.from).margin(0.02));
            ++n;
        }
        CHECK(n == 12);
    }

    for (const char* what : {"kl", "character_similarity"}) {
        std::size_t n = 0;
        for (const element& e : elements_of(html, std::string("heat-") + what)) {
            if (!e.count("data-category")) continue;
            for (const json& c : rows.at(e.at("data-c"))["prompts"]["categories"])
                if (c["category"] == e.at("data-category")) {
                    CHECK(std::stod(e.at("data-v")) == (what == std::string("kl") ? c["kl"]["mean"] : c[what]));
                    ++n;
                }
        }
        CHECK(n == 10);
    }
}

TEST_CASE("qnt-eval: shards add up to the whole, byte for byte") {
    const inputs in;
    const std::string whole = in.measure("whole", "int4:32", {"--no-speed"});
    for (const char* count : {"1", "2", "3", "4", "5"}) {
        const std::string name = std::string("shards-") + count;
        for (int i = std::atoi(count); i >= 1; --i) in.measure(name, "int4:32", {"--no-speed", "--shard", std::to_string(i) + "/" + count});
        if (std::string(count) != "1") {
            CHECK(!std::filesystem::exists(in.at / name + "/comparison.json"));
            REQUIRE(run({QNT_EVAL, "merge", in.at / name}).exit_code == 0);
        }
        for (const char* file : {"qnt-gpt2-5m.f32.kv-f32.json", "qnt-gpt2-5m.int4-32.kv-f32.json", "comparison.json", "report.md", "report.html"}) {
            INFO(count << " shards: " << file);
            REQUIRE(!text_of(whole + file).empty());
            CHECK(text_of(in.at / name + "/" + file) == text_of(whole + file));
        }
    }
}

TEST_CASE("qnt-eval: a shard that is missing, damaged or of another run is one line, and nothing is written") {
    const inputs in;
    in.measure("out", "", {"--no-speed", "--shard", "1/2"});
    const auto merge = [&] { return run({QNT_EVAL, "merge", in.at / "out"}); };
    check_refused(merge(), 1, "of qnt-gpt2-5m.f32.kv-f32 is missing: --shard 2/2");
    write_text(in.at / "out/qnt-gpt2-5m.f32.kv-f32.shard-2-of-2.json", "{\"schema\": \"qnt-eval-shard/1\"");
    check_refused(merge(), 1, "is no shard of qnt-eval");
    std::filesystem::remove(in.at / "out/qnt-gpt2-5m.f32.kv-f32.shard-2-of-2.json");
    in.measure("out", "", {"--no-speed", "--shard", "2/2", "--no-text"});
    check_refused(merge(), 1, "is of another text, model or protocol");
    CHECK(!std::filesystem::exists(in.at / "out/comparison.json"));
    in.measure("out", "", {"--no-speed", "--shard", "2/2"});
    CHECK(merge().exit_code == 0);
    for (const char* shard : {"1", "2"}) {  // a configuration that none has begun is missing too
        in.measure("two", "int4:32", {"--no-speed", "--shard", shard + std::string("/2")});
        std::filesystem::remove(in.at / "two/qnt-gpt2-5m.int4-32.kv-f32.shard-" + std::string(shard) + "-of-2.json");
    }
    check_refused(run({QNT_EVAL, "merge", in.at / "two"}), 1, "of qnt-gpt2-5m.int4-32.kv-f32 is missing: --shard 1/2, 2/2");
    CHECK(!std::filesystem::exists(in.at / "two/comparison.json"));
    check_refused(run({QNT_EVAL, "merge", in.at / "nowhere"}), 2, "nowhere");
    std::filesystem::create_directory(in.at / "empty");
    check_refused(run({QNT_EVAL, "merge", in.at / "empty"}), 1, "no shards");
}

TEST_CASE("qnt-eval: what is finished is kept, what is not goes on, what has changed is measured again") {
    const inputs in;
    const std::string out = in.measure("out", "int4:32", {"--no-speed"}), file = out + "qnt-gpt2-5m.int4-32.kv-f32.json";
    const std::string before = text_of(file), report = text_of(out + "report.html");
    const auto written = std::filesystem::last_write_time(file);
    std::filesystem::remove(out + "qnt-gpt2-5m.f32.kv-f32.json");
    const outcome again = run(in.arguments("out", "int4:32", {"--no-speed"}));
    CHECK(again.exit_code == 0);
    CHECK(contains(again.err, "1 configuration of 2 kept"));
    CHECK(std::filesystem::last_write_time(file) == written);
    CHECK(text_of(out + "report.html") == report);
    write_text(file, before.substr(0, before.size() / 2));  // damaged
    in.measure("out", "int4:32", {"--no-speed"});
    CHECK(text_of(file) == before);
    in.measure("out", "int4:32", {"--no-speed", "--mode", "exact"});
    CHECK(text_of(file) != before);
}

TEST_CASE("qnt-eval: interrupted, it keeps what it has and goes on there") {
    const inputs in;
    const std::string formats = "int4:32,int4:64,int4:128,nf4:64,int8,int8_channel";
    const std::string whole = in.measure("whole", formats, {"--no-speed"});
    running_program program(in.arguments("out", formats, {"--no-speed"}));
    const auto finished = [&] {
        std::size_t n = 0;
        std::error_code ignored;
        for (const auto& e : std::filesystem::directory_iterator(in.at / "out", ignored)) n += e.path().extension() == ".json";
        return n;
    };
    for (int i = 0; i < 6000 && finished() < 2; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    program.send(SIGINT);
    const outcome o = program.wait();
    INFO(o.err);
    CHECK(o.exit_code == 130);
    CHECK(contains(o.err, " kept in "));
    const std::size_t kept = finished();
    CHECK(kept >= 2);
    CHECK(kept < 7);
    CHECK(!std::filesystem::exists(in.at / "out/report.html"));
    const outcome rest = run(in.arguments("out", formats, {"--no-speed"}));
    CHECK(rest.exit_code == 0);
    CHECK(contains(rest.err, std::to_string(kept) + " configurations of 7 kept"));
    CHECK(text_of(in.at / "out/report.html") == text_of(whole + "report.html"));
}

TEST_CASE("qnt-eval: a process that is killed is one line, and the rest stays") {
    const inputs in;
    running_program program(in.arguments("out", "int4:32", {"--tokens", "100000", "--no-speed"}));
    std::string child;
    for (int i = 0; i < 6000 && child.empty(); ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
        const std::string pid = std::to_string(program.id());
        std::istringstream(text_of("/proc/" + pid + "/task/" + pid + "/children")) >> child;
    }
    REQUIRE(!child.empty());
    ::kill(std::stoi(child), SIGKILL);
    check_refused(program.wait(), 1, "its process was ended by signal 9");
    in.measure("out", "int4:32", {"--no-speed"});
}

TEST_CASE("qnt-eval: what it cannot use is one line, exit 2, and no folder is made") {
    const inputs in;
    const auto refuse = [&](std::vector<std::string> more, const std::string& part, int exit_code = 2) {
        check_refused(run(in.arguments("out", "int8", std::move(more))), exit_code, part);
        CHECK(!std::filesystem::exists(in.at / "out"));
    };
    refuse({"--text", in.at / "nowhere.txt"}, "nowhere.txt");
    write_text(in.at / "empty.txt", "");
    refuse({"--text", in.at / "empty.txt"}, "0 tokens");
    refuse({"--window", "513"}, "room for 2 to 512");
    refuse({"--window", "1"}, "room for 2 to 512");
    refuse({"--tokens", "0"}, "--tokens");
    refuse({"--speed-prompt", "500", "--speed-tokens", "100"}, "more than the context of 512");
    refuse({"--kv", "f8"}, "'f8' is no type");
    refuse({"--kv", "f32,f32"}, "two configurations");
    refuse({"--shard", "3/2"}, "--shard");
    refuse({"--prompts", in.at / "nowhere.json"}, "nowhere.json");
    for (const auto& [text, part] : std::vector<std::pair<std::string, std::string>>{
             {"{", "JSON, byte offset"},
             {"[]", "no list \"prompts\""},
             {R"({"prompts": []})", "no prompt in it"},
             {R"({"prompts": [{"id": "a", "category": "b"}]})", "prompt 0 has no \"prompt\""},
             {R"({"prompts": [{"id": "a", "category": "b", "prompt": 3}]})", "prompt 0 has no \"prompt\""},
             {R"({"prompts": [{"id": "a", "category": "b", "prompt": "x"}, {"id": "a", "category": "b", "prompt": "x"}]})", "of an earlier one"}}) {
        write_text(in.at / "bad.json", text);
        refuse({"--prompts", in.at / "bad.json"}, part);
    }
    const auto refuse_format = [&](const std::string& format, const std::string& part) {
        check_refused(run(in.arguments("out", format)), 2, part);
        CHECK(!std::filesystem::exists(in.at / "out"));
    };
    refuse_format("int5", "format 'int5': unknown");
    refuse_format("llmint8", "--calibrate FILE");
    refuse_format("selective:0", "from 1 to 1024");
    refuse_format("selective:x", "is not a number");
    write_text(in.at / "policy.json", R"([["*"]])");
    refuse_format(in.at / "policy.json", "policy.json: policy: rule 0");
    refuse_format(in.at / "no.json", "no.json");
    refuse({"--model", "/nowhere"}, "/nowhere", 1);
}
