// qnt-eval: what is lost and what is gained, for models in many formats.
//
//   qnt-eval --model gpt2/ --formats int8_channel,nf4:64,policy.json --kv f32,int8 --text wiki.txt --batch 1,8 --out results
//   qnt-eval ... --shard 2/4      # a quarter of the work, on any machine; then, where all four are:
//   qnt-eval merge results
//
// docs/evaluation.md says what every figure means. Exit codes: program.hpp; 2 also for a text, a prompt file or a policy that cannot be used.
#include "../program.hpp"
#include "../tools/interrupt.hpp"
#include "evaluate.hpp"
#include "options.hpp"

int main(int argc, char** argv) {
    eval::settings s;
    std::string worker, shard, folder;
    CLI::App app{"Measures GPT-2 models in many formats: perplexity, KL divergence, texts, speed, memory. Writes JSON, Markdown and HTML."};
    eval::add_options(app, s);
    app.add_option("--shard", shard, "I/N: only the I-th of N parts of text and prompts, without speed; merge adds them up");
    app.add_option("--worker", worker)->group("");
    CLI::App* merge = app.add_subcommand("merge", "adds up the shards of a folder");
    merge->add_option("DIR", folder, "where --out was")->required();
    return tools::run_program("qnt-eval", app, argc, argv, [&] {
        if (merge->parsed()) return eval::merge_shards(folder);
        if (!shard.empty()) s.shard = eval::parse_shard(shard);
        if (!worker.empty()) return eval::run_worker(s, worker);
        tools::note_interrupts();
        eval::evaluate(eval::make_plan(s), {argv + 1, argv + argc});
    });
}
