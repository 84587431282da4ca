#include "plan.hpp"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <set>

#include <qnt/io/file.hpp>
#include <qnt/nn/kv_cache.hpp>

#include "../gpt2/load.hpp"
#include "../gpt2/tokenizer.hpp"
#include "../program.hpp"
#include "sha256.hpp"

namespace eval {

namespace {

using tools::usage_error;

std::size_t number_of(const std::string& text, const std::string& option) {
    std::uint64_t n = 0;
    if (!qnt::parse_number(text, n)) throw usage_error(option + ": " + qnt::in_quotes(text) + " is not a number");
    return std::size_t(n);
}

// A name of a file, whatever is in it.
std::string file_name(std::string text) {
    for (char& c : text)
        if (!std::isalnum(static_cast<unsigned char>(c)) && c != '.' && c != '_' && c != '-') c = '-';
    return text;
}

std::string without_end(const std::string& name, std::string_view end) {
    return name.ends_with(end) ? name.substr(0, name.size() - end.size()) : name;
}

struct named_policy {
    std::string name;
    qnt::policy rules;
};

// Attention and MLP of the first n layers as int8 of one scale, all else f32: which layers can bear it?
named_policy selective(const std::string& text) {
    const std::size_t layers = number_of(text.substr(text.find(':') + 1), "--formats: " + text);
    if (layers == 0 || layers > 1024) throw usage_error("--formats: " + text + ": from 1 to 1024 layers");
    std::vector<qnt::policy_rule> rules;
    for (std::size_t i = 0; i < layers; ++i) rules.push_back({"h." + std::to_string(i) + ".*", qnt::use<qnt::int8>});
    rules.push_back({"*", qnt::keep<float>});
    return {"selective:" + std::to_string(layers), qnt::policy(std::move(rules))};
}

// A format, selective:N, or the file of a policy.
named_policy policy_of(const std::string& text) {
    if (text.starts_with("selective:")) return selective(text);
    if (text.ends_with(".json")) {
        const auto rules = qnt::policy::parse(read_input(text, "policy"));
        if (!rules) throw usage_error(text + ": " + rules.error().message);
        return {without_end(tools::name_of_file(text), ".json"), *rules};
    }
    const auto rule = qnt::policy_rule::parse("*", text);
    if (!rule) throw usage_error("--formats: " + rule.error().message + "; or selective:N, or a policy's file.json");
    return {rule->outliers == 0 ? rule->format_name() : text, qnt::policy{*rule}};  // llmint8 is known by this name
}

kv_choice kv_of(const std::string& text) {
    if (text == "none") return {"none", false, "f32"};
    std::string types = text;
    std::replace(types.begin(), types.end(), '+', ',');
    const auto parsed = qnt::kv_types::parse(types);
    if (!parsed) throw usage_error("--kv: " + parsed.error().message + "; or none");
    return {parsed->name(), true, parsed->name()};
}

std::string digest_of_file(const std::string& path) {
    const auto file = qnt::mapped_file::open(path).value();
    return sha256().add(file.bytes()).hex();
}

// The files that hold the weights.
std::vector<std::string> weight_files(const qnt::checkpoint_file& file, const std::string& path) {
    std::vector<std::string> files;
    if (file.as_safetensors())
        for (const qnt::safetensors_file& part : file.as_safetensors()->files()) files.push_back(part.path());
    else files.push_back(path);
    return files;
}

model_facts facts_of_model(const settings& s, const std::string& path, const std::string& text, const std::vector<prompt>& prompts) {
    const auto file = qnt::checkpoint_file::open(path).value();
    if (file.as_archive())
        throw std::runtime_error(path + ": a .qnt holds one format already; qnt-eval compares formats of the weights that they are made from");
    const gpt2::config config = gpt2::config_of(file);
    const gpt2::tokenizer tokenizer(path);
    if (tokenizer.vocab_size() != config.vocab_size)
        throw std::runtime_error(path + ": the tokenizer has " + std::to_string(tokenizer.vocab_size()) + " tokens, the configuration says " +
                                 std::to_string(config.vocab_size));
    const std::vector<std::int32_t> ids = tokenizer.encode(text);
    model_facts m;
    m.path = path;
    m.name = tools::name_of_file(path);
    m.context = config.n_ctx;
    m.text_tokens = ids.size();
    protocols p = protocols_of(s, m.name, config.n_ctx, ids.size());
    m.nonoverlap = std::move(p.nonoverlap);
    m.stride = std::move(p.stride);
    for (const prompt& q : prompts) {
        const std::size_t n = tokenizer.encode(q.text).size();
        if (n == 0 || n >= config.n_ctx)
            throw usage_error(s.prompts + ": prompt " + qnt::in_quotes(q.id) + " has " + std::to_string(n) + " tokens, " + m.name +
                              " has room for 1 to " + std::to_string(config.n_ctx - 1));
    }
    const std::vector<std::string> files = weight_files(file, path);
    sha256 all;
    std::string digest;
    for (const std::string& f : files) all.add(digest = digest_of_file(f));
    if (files.size() > 1) digest = all.hex();
    m.description = {{"name", m.name},         {"weights_sha256", digest}, {"files", files.size()},   {"layers", config.n_layer},
                     {"width", config.n_embd}, {"heads", config.n_head},   {"context", config.n_ctx}, {"vocabulary", config.vocab_size}};
    m.identity = digest + gpt2::to_json(config) + sha256().add(std::as_bytes(std::span(ids))).hex();
    return m;
}

}  // namespace

shard parse_shard(const std::string& text) {
    const std::size_t slash = text.find('/');
    const auto fail = [&] { return usage_error("--shard: " + qnt::in_quotes(text) + " is not I/N with 1 <= I <= N <= 1000000, as in 2/4"); };
    if (slash == std::string::npos) throw fail();
    std::uint64_t index = 0, count = 0;
    if (!qnt::parse_number(std::string_view(text).substr(0, slash), index) || !qnt::parse_number(std::string_view(text).substr(slash + 1), count))
        throw fail();
    if (index == 0 || index > count || count > 1000000) throw fail();
    return {std::size_t(index), std::size_t(count)};
}

std::string read_input(const std::string& path, const char* what) {
    const auto bytes = qnt::read_file(path, std::size_t{1} << 32);
    if (!bytes) throw usage_error(std::string(what) + ": " + bytes.error().message);
    return {reinterpret_cast<const char*>(bytes->data()), bytes->size()};
}

std::vector<prompt> read_prompts(const std::string& path) {
    const std::string text = read_input(path, "prompts");
    const auto fail = [&](const std::string& why) {
        return usage_error(path + ": " + why + R"(; a prompt file is {"prompts": [{"id": "a-1", "category": "a", "prompt": "..."}, ...]})");
    };
    const auto document = qnt::parse_json(text);
    if (!document) throw fail(document.error().message);
    const qnt::json_value* list = document->kind() == qnt::json_kind::object ? document->find("prompts") : nullptr;
    if (!list || list->kind() != qnt::json_kind::array) throw fail("there is no list \"prompts\"");
    std::vector<prompt> prompts;
    std::set<std::string> ids;
    for (const qnt::json_value& item : list->items()) {
        const std::string at = "prompt " + std::to_string(prompts.size());
        prompt p;
        for (const auto& [field, to] : {std::pair{"id", &p.id}, {"category", &p.category}, {"prompt", &p.text}}) {
            const qnt::json_value* value = item.kind() == qnt::json_kind::object ? item.find(field) : nullptr;
            const auto string = value ? value->as_string() : qnt::result<std::string_view>(qnt::error{});
            if (!string || string->empty()) throw fail(at + " has no \"" + field + "\", or one that is not text");
            *to = *string;
        }
        if (!ids.insert(p.id).second) throw fail(at + " has the id " + qnt::in_quotes(p.id) + " of an earlier one");
        prompts.push_back(std::move(p));
    }
    if (prompts.empty()) throw fail("there is no prompt in it");
    return prompts;
}

protocols protocols_of(const settings& s, const std::string& model_name, std::size_t context, std::size_t tokens) {
    const std::size_t length = s.window == 0 ? context : s.window;
    if (length < 2 || length > context)
        throw usage_error("--window: " + std::to_string(length) + " tokens; " + model_name + " has room for 2 to " + std::to_string(context));
    protocols p{length, gpt2::windows_of(tokens, length, length, s.most()), gpt2::windows_of(tokens, length, length / 2, s.most())};
    if (p.nonoverlap.empty())
        throw usage_error("--text: has " + std::to_string(tokens) + (tokens == 1 ? " token" : " tokens") +
                          ", to score one takes at least 2: the token and what comes before it");
    return p;
}

speed_shape speed_shape_of(const settings& s, std::size_t context) {
    const std::size_t prompt = s.speed_prompt > 0 ? s.speed_prompt : std::min<std::size_t>(128, std::max<std::size_t>(1, context / 2));
    const std::size_t room = context > prompt ? context - prompt : 0, tokens = s.speed_tokens > 0 ? s.speed_tokens : std::min<std::size_t>(64, room);
    if (tokens == 0 || tokens > room)
        throw usage_error("--speed-prompt " + std::to_string(prompt) + " and --speed-tokens " + std::to_string(tokens) +
                          ": together they need more than the context of " + std::to_string(context));
    return {prompt, tokens};
}

std::string configuration::model_name() const { return tools::name_of_file(model); }

std::vector<configuration> configurations_of(const settings& s) {
    std::vector<named_policy> policies{policy_of("f32")};  // the reference, asked for or not
    for (const std::string& f : s.formats)
        if (named_policy p = policy_of(f); p.name != "f32") {
            if (p.rules.needs_calibration() && s.calibrate.empty())
                throw usage_error("--formats: " + p.name + " chooses outlier columns by the inputs over a text: --calibrate FILE");
            policies.push_back(std::move(p));
        }
    std::vector<configuration> all;
    std::set<std::string> names;
    for (const std::string& model : s.models)
        for (const named_policy& p : policies) {
            bool with_reference = false;
            for (const std::string& text : s.kvs) with_reference = with_reference || kv_of(text).name == "f32";
            std::vector<std::string> kvs = s.kvs;
            if (p.name == "f32" && !with_reference) kvs.insert(kvs.begin(), "f32");
            for (const std::string& text : kvs) {
                const kv_choice kv = kv_of(text);
                configuration c{file_name(tools::name_of_file(model) + "." + p.name + ".kv-" + kv.name), model, p.name, p.rules, kv, false};
                c.is_reference = p.name == "f32" && kv.name == "f32";
                if (!names.insert(c.name).second) throw usage_error("two configurations are called " + c.name + ": each model, format and type once");
                all.push_back(std::move(c));
            }
        }
    std::stable_partition(all.begin(), all.end(), [](const configuration& c) { return c.is_reference; });
    return all;
}

plan make_plan(const settings& s) {
    plan p;
    p.asked = s;
    if (s.text.empty()) throw usage_error("--text: is missing; it names the file to predict");
    if (s.out.empty()) throw usage_error("--out: is missing; it names the folder for the results");
    p.configurations = configurations_of(s);
    const std::string text = read_input(s.text, "--text");
    p.text = {{"name", tools::name_of_file(s.text)}, {"sha256", sha256().add(text).hex()}, {"bytes", text.size()}};
    if (!s.calibrate.empty())
        p.calibration = {{"name", tools::name_of_file(s.calibrate)}, {"sha256", sha256().add(read_input(s.calibrate, "--calibrate")).hex()}};
    if (!s.no_text) {
        p.prompts = read_prompts(s.prompts);
        p.prompt_file = {{"name", tools::name_of_file(s.prompts)},
                         {"sha256", digest_of_file(s.prompts)},
                         {"prompts", p.prompts.size()},
                         {"new_tokens", s.new_tokens},
                         {"sampling", "greedy"}};
    }
    for (const std::string& path : s.models) {
        p.models.push_back(facts_of_model(s, path, text, p.prompts));
        if (!s.no_speed) speed_shape_of(s, p.models.back().context);
    }
    return p;
}

const model_facts& plan::facts_of(const configuration& c) const {
    return *std::find_if(models.begin(), models.end(), [&](const model_facts& m) { return m.path == c.model; });
}

json plan::protocol_of(const configuration& c) const {
    const model_facts& m = facts_of(c);
    const std::size_t length = asked.window == 0 ? m.context : asked.window;
    const auto scoring = [&](const std::vector<gpt2::window>& windows, std::size_t stride, const char* scored) {
        std::size_t n = 0;
        for (const gpt2::window& w : windows) n += w.scored;
        return json{{"window", length}, {"stride", stride}, {"windows", windows.size()}, {"scored_tokens", n}, {"scored", scored}};
    };
    json j;
    j["text"] = text;
    j["text"]["tokens"] = m.text_tokens;
    j["bos"] = "none: no token is put before the text or a window";
    j["reference"] = "the same model with f32 weights and f32 keys and values, in the same process";
    j["mode"] = asked.mode;
    j["nonoverlap"] = scoring(m.nonoverlap, length, "all tokens of a window but its first");
    j["stride"] = scoring(m.stride, length / 2, "every token but the very first, once: those that the window before did not hold");
    j["prompts"] = prompt_file;
    return j;
}

json plan::calibration_of(const configuration& c) const { return c.weights.needs_calibration() ? calibration : json(nullptr); }

std::string plan::fingerprint_of(const configuration& c) const {
    json j;
    j["schema"] = 1;
    j["model"] = facts_of(c).identity;
    j["weights"] = c.weights.to_json();
    j["calibration"] = calibration_of(c);
    j["format"] = c.format;
    j["kv"] = c.kv.name;
    j["protocol"] = protocol_of(c);
    if (!asked.no_speed && asked.shard.is_whole()) j["speed"] = {asked.batches, asked.speed_prompt, asked.speed_tokens, asked.repeats, asked.threads};
    return sha256().add(j.dump()).hex();
}

std::string plan::file_of(const configuration& c) const { return (std::filesystem::path(asked.out) / (c.name + ".json")).string(); }

std::string plan::shard_file_of(const configuration& c) const {
    const std::string end = ".shard-" + std::to_string(asked.shard.index) + "-of-" + std::to_string(asked.shard.count) + ".json";
    return (std::filesystem::path(asked.out) / (c.name + end)).string();
}

}  // namespace eval
