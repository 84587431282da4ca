#include "evaluate.hpp"

#include <signal.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <optional>
#include <regex>

#include <qnt/io/file.hpp>

#include "../program.hpp"
#include "../tools/interrupt.hpp"
#include "../tools/progress.hpp"
#include "../tools/table.hpp"
#include "comparison.hpp"
#include "cost.hpp"
#include "process.hpp"
#include "quality.hpp"
#include "result.hpp"

namespace eval {

namespace {

namespace fs = std::filesystem;

constexpr const char* shard_schema = "qnt-eval-shard/1";
constexpr double cost_work = 0.25;  // of a configuration, quality being 1: for the progress bar

void write(const std::string& path, const std::string& text) { qnt::write_file_atomically(path, std::as_bytes(std::span(text))).value(); }
std::string text_of(const json& j) { return j.dump(1, ' ', false, json::error_handler_t::replace) + "\n"; }

std::optional<json> read_json(const std::string& path) {
    const auto bytes = qnt::read_file(path);
    if (!bytes) return std::nullopt;
    json j = json::parse(reinterpret_cast<const char*>(bytes->data()), reinterpret_cast<const char*>(bytes->data()) + bytes->size(), nullptr, false);
    return j.is_discarded() ? std::nullopt : std::optional(std::move(j));
}

// What an earlier run left at `path`, if it is of just this configuration, text and protocol.
std::optional<json> kept(const plan& p, const configuration& c, const std::string& path) {
    if (p.asked.force) return std::nullopt;
    std::optional<json> j = read_json(path);
    if (!j || !j->is_object()) return std::nullopt;
    const json& identity = p.asked.shard.is_whole() ? *j : (*j)["identity"];
    const bool is_same = identity.is_object() && identity.value("fingerprint", "") == p.fingerprint_of(c);
    return is_same && j->contains(p.asked.shard.is_whole() ? "cost" : "quality") ? std::move(j) : std::nullopt;
}

std::string configurations_text(std::size_t n) { return std::to_string(n) + (n == 1 ? " configuration" : " configurations"); }

// One job of a configuration in a process of its own, and the JSON that it ends with.
json run_job(const configuration& c, const char* job, std::vector<std::string> arguments, const std::function<void(double)>& progress) {
    arguments.push_back("--worker");
    arguments.push_back(std::string(job) + ":" + c.name);
    const process_result r = run_self(arguments, [&](const std::string& line) {
        if (line.starts_with("done ")) progress(std::strtod(line.c_str() + 5, nullptr));
    });
    if (r.was_interrupted) throw tools::interruption();
    const std::string what = c.name + ", " + job + ": ";
    if (r.signal != 0)
        throw std::runtime_error(what + "its process was ended by signal " + std::to_string(r.signal) + " (" + ::strsignal(r.signal) +
                                 "); what was finished before is kept, the same command goes on there");
    if (r.exit_code != 0) {
        std::string why = r.errors.substr(0, r.errors.find('\n'));
        if (const std::size_t colon = why.find(": "); why.starts_with("qnt-eval") && colon != std::string::npos) why.erase(0, colon + 2);
        throw std::runtime_error(what + (why.empty() ? "exit code " + std::to_string(r.exit_code) : why));
    }
    return json::parse(r.last_line);
}

void print_summary(const json& comparison) {
    tools::table t({"configuration", ">bits", ">perplexity", ">+-", ">change", ">KL", ">same first", ">decode tok/s"});
    for (const json& c : comparison["configurations"]) {
        const json& ppl = c["perplexity"]["nonoverlap"];
        const auto decimal = [](const json& x, int digits, const char* unit = "") {
            return x.is_null() ? std::string("-") : tools::decimal(x.get<double>(), digits) + unit;
        };
        const json& cost = c["cost"];
        t.add({c["name"], decimal(c["size"]["effective_bits"], 2), decimal(ppl["ppl"], 3), decimal(ppl["standard_error"], 3),
               decimal(ppl["change_percent"], 3, " %"), decimal(c["divergence"]["kl"]["mean"], 5),
               tools::decimal(100 * c["divergence"]["top1_agreement"]["share"].get<double>(), 2) + " %",
               cost.is_null() ? "-" : decimal(cost["batches"][0]["decode_tok_s"]["median"], 1)});
    }
    t.print(stdout);
}

void write_reports(const std::string& folder, const std::vector<json>& results) {
    const json comparison = comparison_of(results);
    const auto at = [&](const char* name) { return (fs::path(folder) / name).string(); };
    const std::string markdown = to_markdown(comparison), html = to_html(comparison);
    write(at("comparison.json"), text_of(comparison));
    write(at("report.md"), markdown);
    write(at("report.html"), html);
    print_summary(comparison);
    std::printf("%s\n", at("report.html").c_str());
}

json run_configuration(const plan& p, const configuration& c, const std::vector<std::string>& arguments,
                       const std::function<void(double)>& progress) {
    const json sums = run_job(c, "quality", arguments, progress);
    if (!p.asked.shard.is_whole()) {
        json planned = json::array();  // by the same command: no merge without them
        for (const configuration& other : p.configurations) planned.push_back(other.name);
        return {{"schema", shard_schema},
                {"shard", {{"index", p.asked.shard.index}, {"count", p.asked.shard.count}}},
                {"planned", std::move(planned)},
                {"identity", identity_of(p, c)},
                {"quality", sums}};
    }
    json cost = nullptr;
    if (!p.asked.no_speed) cost = run_job(c, "cost", arguments, [&](double done) { progress(1 + cost_work * done); });
    return result_of(p, c, quality_of(sums), cost);
}

}  // namespace

void evaluate(const plan& p, const std::vector<std::string>& arguments) {
    const bool is_whole = p.asked.shard.is_whole(), has_cost = is_whole && !p.asked.no_speed;
    fs::create_directories(p.asked.out);
    const auto path_of = [&](const configuration& c) { return is_whole ? p.file_of(c) : p.shard_file_of(c); };
    std::vector<std::optional<json>> results;
    std::size_t there = 0;
    for (const configuration& c : p.configurations) {
        results.push_back(kept(p, c, path_of(c)));
        there += results.back().has_value();
    }
    if (there > 0) std::fprintf(stderr, "%s of %zu kept from before\n", configurations_text(there).c_str(), p.configurations.size());
    const double work = has_cost ? 1 + cost_work : 1;
    {
        tools::progress bar(work * double(p.configurations.size() - there));
        double begun = 0;
        for (std::size_t i = 0; i < p.configurations.size(); ++i) {
            if (results[i]) continue;
            const configuration& c = p.configurations[i];
            const auto show = [&](double done) { bar.show(begun + done, c.name); };
            show(0);
            try {
                if (tools::interrupted != 0) throw tools::interruption();
                results[i] = run_configuration(p, c, arguments, show);
            } catch (const tools::interruption&) {
                throw tools::interruption(configurations_text(there) + " of " + std::to_string(p.configurations.size()) + " kept in " + p.asked.out +
                                          "; the same command goes on there");
            }
            write(path_of(c), text_of(*results[i]));
            ++there;
            begun += work;
        }
    }
    if (!is_whole) return;
    std::vector<json> all;
    for (std::optional<json>& r : results) all.push_back(std::move(*r));
    write_reports(p.asked.out, all);
}

namespace {

// The shards of one configuration, from one way to cut it.
struct shard_set {
    std::size_t count = 0;
    std::map<std::size_t, std::string> files;  // by index

    bool is_complete() const { return files.size() == count; }
    std::string missing() const {
        std::string list;
        for (std::size_t i = 1; i <= count; ++i)
            if (!files.count(i)) list += (list.empty() ? "" : ", ") + std::to_string(i) + "/" + std::to_string(count);
        return list;
    }
};

std::map<std::string, std::vector<shard_set>> shards_in(const std::string& folder) {
    static const std::regex pattern(R"((.+)\.shard-([1-9][0-9]{0,6})-of-([1-9][0-9]{0,6})\.json)");
    std::map<std::string, std::map<std::size_t, shard_set>> sets;
    std::error_code problem;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder, problem)) {
        std::smatch m;
        const std::string name = entry.path().filename().string();
        if (!std::regex_match(name, m, pattern)) continue;
        const std::size_t index = std::stoul(m[2]), count = std::stoul(m[3]);
        shard_set& set = sets[m[1]][count];
        set.count = count;
        set.files[index] = entry.path().string();
    }
    if (problem) throw tools::usage_error(folder + ": " + problem.message());
    std::map<std::string, std::vector<shard_set>> by_name;
    for (auto& [name, by_count] : sets)
        for (auto& [count, set] : by_count) by_name[name].push_back(std::move(set));
    return by_name;
}

// planned: gets the configurations of the runs that the shards are of, and how many shards those have.
json merge_set(const shard_set& set, std::map<std::string, std::size_t>& planned) {
    std::optional<quality> whole;
    json identity;
    for (const auto& [index, path] : set.files) {
        const std::optional<json> j = read_json(path);
        const auto fail = [&path = path](const std::string& why) { return std::runtime_error(path + ": " + why); };
        if (!j || !j->is_object() || j->value("schema", "") != shard_schema)
            throw fail("is no shard of qnt-eval; remove it and run this shard again");
        try {
            quality part = quality_of(j->at("quality"));
            for (const json& name : j->at("planned")) planned.emplace(name.get<std::string>(), set.count);
            if (!whole) {
                whole = std::move(part);
                identity = j->at("identity");
            } else if (j->at("identity") == identity) {
                whole->merge(part);
            } else {
                throw fail("is of another text, model or protocol than " + set.files.begin()->second);
            }
        } catch (const json::exception& e) {
            throw fail(std::string("is damaged: ") + e.what());
        }
    }
    return result_of(identity, *whole, nullptr);
}

}  // namespace

void merge_shards(const std::string& folder) {
    const auto by_name = shards_in(folder);
    if (by_name.empty()) throw std::runtime_error(folder + ": there are no shards in it (NAME.shard-I-of-N.json, from --shard I/N)");
    const auto require = [&](const std::string& name, const shard_set& set) {
        if (!set.is_complete())
            throw std::runtime_error(folder + ": of " + name + " is missing: --shard " + set.missing() + "; run it, then merge again");
    };
    std::vector<json> results;
    std::map<std::string, std::size_t> planned;
    for (const auto& [name, sets] : by_name) {
        const auto complete = std::find_if(sets.begin(), sets.end(), [](const shard_set& s) { return s.is_complete(); });
        require(name, complete == sets.end() ? sets.back() : *complete);
        results.push_back(merge_set(*complete, planned));
    }
    for (const auto& [name, count] : planned)
        if (!by_name.contains(name)) require(name, {count, {}});
    for (const json& r : results) write((fs::path(folder) / (r["name"].get<std::string>() + ".json")).string(), text_of(r));
    write_reports(folder, results);
}

void run_worker(const settings& s, const std::string& job) {
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::signal(signal, SIG_DFL);
    end_with_parent();
    const std::size_t colon = job.find(':');
    const std::string name = colon == std::string::npos ? "" : job.substr(colon + 1);
    double said = 0;
    const auto progress = [&](double done) {
        if (done < said + 0.005) return;
        std::printf("done %.4f\n", said = done);
        std::fflush(stdout);
    };
    for (const configuration& c : configurations_of(s)) {
        if (c.name != name) continue;
        const json j = job.starts_with("quality:") ? to_json(measure_quality(s, c, progress)) : to_json(measure_cost(s, c, progress));
        std::puts(j.dump(-1, ' ', false, json::error_handler_t::replace).c_str());
        return;
    }
    throw tools::usage_error("--worker: there is no job " + qnt::in_quotes(job));
}

}  // namespace eval
