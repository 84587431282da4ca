// qnt-quantize: a checkpoint into another format, tensor by tensor.
//
//   qnt-quantize gpt2/ gpt2.qnt --format nf4:64
//   qnt-quantize model.safetensors model.qnt --policy policy.json --plan
//
// Exit 0: done. 1: cannot be done, one line on stderr says why, the old OUT is as it was. 2: wrong usage. 130: interrupted.
#include <gpt2/calibrate.hpp>

#include "to_archive.hpp"
#include "to_gguf.hpp"
#include "to_safetensors.hpp"

namespace {

struct settings {
    std::string in, out, format, policy, calibrate, json;
    bool plan = false, strict = false, force = false;
    std::size_t threads = 0;
};

constexpr const char* more =
    R"(Formats by the kind of OUT:
  .qnt          f32 f16 bf16 int8 int8_channel int8:G nf4:G nf4_dq:G int4:G uint4:G fp4_bnb:G, G a multiple of 16; with +outliers:T
                behind it the columns whose inputs reach T are kept as f16 (llmint8: int8_channel+outliers:6), which takes --calibrate
  .gguf         f32 f16 bf16 q8_0 (or int8:32) q4_0 (or int4:32) q4_1: the bytes of ggml's reference quantizers
  .safetensors  f32 f16 bf16, and as bitsandbytes has them nf4:B nf4_dq:B fp4:B int8_channel (LLM.int8)
                (bitsandbytes itself quantizes no embeddings: a policy keeps them, [["wte", "f16"], ["*", "nf4:64"]])

Matrices are quantized. Vectors and position embeddings keep their numbers, as f32 or as the f16 or bf16 that their rule says (vectors in
a .gguf are always f32, as llama.cpp wants them). Codes that IN holds in the very format asked for are taken over: "lossless".
GPT-2 (by its config.json, or the metadata of a .gguf) gets the names of the kind of OUT, and its configuration and tokenizer go along
into .qnt and .gguf. Of other models names and matrices stay as they are stored.

In memory is one tensor at a time, at most about three times its size in f32 (for .safetensors also the scales of all). OUT appears when
it is complete; until then its bytes are in .qnt-tmp-NAME-N in the same folder, NAME being that of OUT. Ctrl-C removes that file (exit
130, a second Ctrl-C stops at once); what a killed run left there, the next run to the same OUT removes.)";

// What must not be written to.
void check_out(const settings& s, const tools::source& in, const std::string& out) {
    namespace fs = std::filesystem;
    std::error_code ignored;
    for (const std::string& file : in.files)
        if (fs::equivalent(out, file, ignored)) throw std::runtime_error(out + ": is what is read; give the output another name");
    if (!s.force && fs::exists(fs::symlink_status(out, ignored))) throw std::runtime_error(out + ": exists; --force replaces it");
}

// Outlier columns are chosen by what a text makes of the inputs.
void calibrate(const settings& s, const tools::rules& rules, tools::source& in, qnt::executor_ref executor) {
    const qnt::policy policy = rules.as_policy();
    if (policy.needs_calibration() && !in.gpt2)
        throw std::runtime_error(s.in + ": outlier columns are chosen by running the model over a text, and only GPT-2 can be run here");
    gpt2::set_calibration(in.tensors, gpt2::calibration_for(policy, s.in, s.calibrate, executor));
}

// The report as JSON. Its file is opened before the work, so that nothing is converted whose report cannot be written.
class report_file {
public:
    report_file(const settings& s, const tools::source& in) : is_table_(s.json != "-") {
        if (s.json.empty() || !is_table_) return;
        check_out(s, in, s.json);
        const auto whole = [](const std::string& path) { return std::filesystem::absolute(path).lexically_normal(); };
        if (whole(s.json) == whole(s.out)) throw tools::usage_error(s.json + ": is OUT; give the report another name");
        file_ = qnt::atomic_file_writer::create(s.json).value();
    }
    void write(const tools::conversion& c, const tools::rules& rules) {
        const std::string text = tools::dump(to_json(c, rules)) + "\n";
        if (!is_table_) std::fputs(text.c_str(), stdout);
        if (!file_) return;
        file_->write(std::as_bytes(std::span(text))).value();
        file_->commit().value();
    }
    bool is_table() const { return is_table_; }

private:
    bool is_table_;
    std::optional<qnt::atomic_file_writer> file_;
};

void run(const settings& s) {
    const bool is_archive = s.out.ends_with(".qnt"), is_gguf = s.out.ends_with(".gguf");
    if (!is_archive && !is_gguf && !s.out.ends_with(".safetensors"))
        throw tools::usage_error(s.out + ": what OUT shall be says its name: .qnt, .gguf or .safetensors");
    if (s.strict && !is_archive) throw tools::usage_error("--strict: only for .qnt; the other quantizers make such groups zeros by definition");
    const tools::rules rules = s.policy.empty() ? tools::rules({{"*", s.format}}) : tools::read_rules(s.policy);
    qnt::thread_pool pool(s.threads == 0 ? qnt::usable_cores() : s.threads);
    tools::source in = tools::open_source(s.in, pool);
    if (!s.plan) check_out(s, in, s.out);
    report_file report(s, in);
    if (is_archive) calibrate(s, rules, in, pool);
    const tools::job job{in, rules, s.out, s.plan, s.strict, pool};
    tools::conversion c{
        tools::name_of_file(s.in), in.format, tools::name_of_file(s.out), is_archive ? "qnt" : is_gguf ? "gguf" : "safetensors", !s.plan, {}};
    c.tensors = is_archive ? to_archive(job) : is_gguf ? to_gguf(job) : to_safetensors(job);
    report.write(c, rules);
    if (report.is_table()) print(c);
}

}  // namespace

int main(int argc, char** argv) {
    settings s;
    CLI::App app{"Converts and quantizes a checkpoint."};
    app.footer(more);
    app.add_option("IN", s.in, "folder of Hugging Face, .safetensors (also of bitsandbytes, GPTQ, AWQ), .safetensors.index.json, .gguf, .qnt")
        ->required();
    app.add_option("OUT", s.out, "file.qnt, file.gguf or file.safetensors")->required();
    auto* formats = app.add_option_group("formats");
    formats->add_option("--format", s.format, "of all matrices");
    formats->add_option("--policy", s.policy, "JSON file of [pattern, format] rules: the first match wins");
    formats->require_option(1);
    app.add_option("--calibrate", s.calibrate, "file of text that decides which columns llmint8 and +outliers:T keep as f16");
    app.add_flag("--plan", s.plan, "only say how large it will be");
    tools::add_threads(app, s.threads);
    app.add_flag("--strict", s.strict,
                 ".qnt: a scale that its type cannot hold is an error, not a group of zeros; so are codes that are not what was planned");
    app.add_option("--json", s.json, "file for the report as JSON; -: print it instead of the table");
    app.add_flag("--force", s.force, "replace OUT, and the file of --json, if it exists");
    tools::note_interrupts();
    return tools::run_program("qnt-quantize", app, argc, argv, [&] { run(s); });
}
