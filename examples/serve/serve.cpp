// qnt-serve: a quantized GPT-2 and its baseline behind HTTP.
//
//   qnt-serve --port 8080
//   SERVER_ADDR=127.0.0.1:8080 QUANTIZED_MODULE_PATH=small.qnt TEMPERATURE=0.7 qnt-serve
//
// Documented in docs/serve.md. Exit codes: program.hpp.
#include <csignal>
#include <cstdio>

#include "../program.hpp"
#include "service.hpp"

namespace {

struct settings {
    std::string address = "127.0.0.1:8080";  // of the environment
    std::string host, port, model, device = "cpu", isa;
    std::size_t deadline = std::size_t(serve::limits().generation.count());
    serve::service_options service;
    serve::limits limits;
};

unsigned port_of(const std::string& text) {
    unsigned port = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), port);
    if (code != std::errc() || end != text.data() + text.size() || port > 65535)
        throw tools::usage_error("port \"" + text + "\" should be a number from 0 to 65535");
    return port;
}

serve::http_address address_of(const settings& s) {
    const auto colon = s.address.rfind(':');
    if (colon == s.address.npos) throw tools::usage_error("server address \"" + s.address + "\" should be HOST:PORT, as 127.0.0.1:8080");
    std::string host = s.host.empty() ? s.address.substr(0, colon) : s.host;
    if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);  // IPv6
    return {host, port_of(s.port.empty() ? s.address.substr(colon + 1) : s.port)};
}

void run(settings s) {
    if (s.device != "cpu") throw tools::usage_error("device \"" + s.device + "\" is not supported: cpu is");
    gpt2::validate(
        {.temperature = float(s.service.generate.temperature), .top_k = s.service.generate.top_k, .top_p = float(s.service.generate.top_p)});
    const serve::http_address address = address_of(s);
    s.limits.generation = serve::seconds(s.deadline);
    if (!s.isa.empty()) qnt::isa::force(qnt::isa::parse(s.isa).value()).value();
    if (!s.model.empty()) s.service.baseline = s.model;
    if (s.service.model_id.empty()) s.service.model_id = tools::name_of_file(s.service.quantized.empty() ? s.service.baseline : s.service.quantized);

    std::signal(SIGPIPE, SIG_IGN);
    serve::http_counters counters;
    serve::http_server server(address, s.limits, counters);
    serve::service service(server, s.service, counters);
    std::thread io([&] { server.run(service.hooks()); });
    try {
        service.load();
    } catch (...) {
        server.stop();
        io.join();
        throw;
    }
    std::printf("qnt-serve: http://%s:%u\n", address.host.c_str(), server.port());
    std::fflush(stdout);
    io.join();
}

std::string limits_text() {
    std::string text = "Limits, as /metadata has them:\n";
    for (const serve::stated_limit& l : serve::stated(serve::limits())) {
        char line[160];
        std::snprintf(line, sizeof line, "  %-20s %8zu  %s\n", l.name, l.value, l.meaning);
        text += line;
    }
    return text;
}

}  // namespace

int main(int argc, char** argv) {
    settings s;
    serve::defaults& d = s.service.generate;
    CLI::App app{"Serves texts of a quantized GPT-2 and of its baseline over HTTP."};
    app.add_option("--address", s.address, "HOST:PORT to listen on")->envname("SERVER_ADDR")->capture_default_str();
    app.add_option("--host", s.host, "numeric address to listen on, instead of that of --address; 0.0.0.0: every network");
    app.add_option("--port", s.port, "port to listen on, instead of that of --address; 0: any that is free");
    app.add_option("--model", s.model, "of both: Hugging Face folder (config.json, model.safetensors, vocab.json, merges.txt), .gguf, or .qnt");
    app.add_option("--model-id", s.service.model_id, "what clients call the quantized model; the baseline has \"-baseline\" behind it")
        ->envname("MODEL_ID")
        ->default_str("name of its file");
    app.add_option("--baseline", s.service.baseline, "the baseline's model, as --model")->envname("BASELINE_MODULE_PATH")->capture_default_str();
    app.add_option("--quantized", s.service.quantized, "the quantized model, as --model")
        ->envname("QUANTIZED_MODULE_PATH")
        ->default_str("the baseline's");
    app.add_option("--tokenizer", s.service.tokenizer, "folder or file with the tokenizer")->envname("TOKENIZER_PATH")->default_str("the baseline's");
    app.add_option("--baseline-format", s.service.baseline_format, "of all its matrices: f32 f16 bf16 int8 int8_channel int8:32 nf4:64 int4:32 ...")
        ->capture_default_str();
    app.add_option("--format", s.service.format, "of all matrices of the quantized model; a .qnt keeps its own")->capture_default_str();
    app.add_option("--kv", s.service.kv, "how keys and values are stored: f32, f16 or int8, or keys,values as in f16,int8")->capture_default_str();
    app.add_option("--max-new-tokens", d.max_new_tokens, "where a request does not say")
        ->envname("MAX_NEW_TOKENS")
        ->check(CLI::Range(1, 1 << 20))
        ->capture_default_str();
    app.add_option("--temperature", d.temperature, "where a request does not say; 0: greedy")->envname("TEMPERATURE")->capture_default_str();
    app.add_option("--top-k", d.top_k, "where a request does not say; 0: all")->envname("TOP_K")->capture_default_str();
    app.add_option("--top-p", d.top_p, "where a request does not say")->capture_default_str();
    app.add_option("--deadline", s.deadline, "seconds for an answer")->check(CLI::Range(1, 86400))->capture_default_str();
    app.add_option("--device", s.device, "cpu")->envname("DEVICE")->capture_default_str();
    tools::add_threads(app, s.service.threads);
    app.add_option("--isa", s.isa, "instruction set to use instead of the best one");
    app.footer(limits_text());
    return tools::run_program("qnt-serve", app, argc, argv, [&] { run(s); });
}
