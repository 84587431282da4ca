// qnt-eval-mpi: the shards of qnt-eval as ranks of MPI, and their sum.
//
//   mpirun -n 4 qnt-eval-mpi --model gpt2/ --formats int8_channel,nf4:64 --text wiki.txt --out results
//
// Rank i of n does what `qnt-eval --shard i/n` does, in the same files; rank 0 then does what `qnt-eval merge` does. The folder must be the same
// for all ranks. What ends early goes on where it was with the same command. Messages are not used for results: files survive.
#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include <qnt/thread_pool.hpp>

#include "../program.hpp"
#include "../tools/interrupt.hpp"
#include "evaluate.hpp"
#include "options.hpp"

namespace {

// Waits for all, without taking their cores; the worst exit code of any.
int agree(int exit_code) {
    int worst = 0, done = 0;
    MPI_Request request;
    MPI_Iallreduce(&exit_code, &worst, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD, &request);
    while (MPI_Test(&request, &done, MPI_STATUS_IGNORE) == MPI_SUCCESS && done == 0) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    return worst;
}

// The cores of a machine, shared among its ranks: a launcher that binds ranks has done it already.
std::size_t threads_of_a_rank() {
    MPI_Comm here;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &here);
    int ranks = 1;
    MPI_Comm_size(here, &ranks);
    MPI_Comm_free(&here);
    const std::size_t usable = qnt::usable_cores(), all = std::max<std::size_t>(1, std::thread::hardware_concurrency());
    return usable < all ? usable : std::max<std::size_t>(1, usable / std::size_t(ranks));
}

int run_rank(CLI::App& app, eval::settings& s, int argc, char** argv) {
    int rank = 0, ranks = 1;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    const std::string shard = std::to_string(rank + 1) + "/" + std::to_string(ranks);
    const std::size_t threads = threads_of_a_rank();
    const int done = agree(tools::run_program("qnt-eval-mpi", app, argc, argv, [&] {
        std::vector<std::string> arguments(argv + 1, argv + argc);
        arguments.insert(arguments.end(), {"--shard", shard});
        if (s.threads == 0) arguments.insert(arguments.end(), {"--threads", std::to_string(threads)});
        s.shard = eval::parse_shard(shard);
        s.no_speed = true;  // ranks would measure each other
        eval::evaluate(eval::make_plan(s), arguments);
    }));
    if (done != 0 || rank != 0 || ranks == 1 || app.get_help_ptr()->count() > 0) return done;
    return tools::run_program("qnt-eval-mpi", app, argc, argv, [&] { eval::merge_shards(s.out); });
}

}  // namespace

int main(int argc, char** argv) {
    eval::settings s;
    std::string worker, shard;
    CLI::App app{"The shards of qnt-eval as ranks of MPI. Speed is not measured."};
    eval::add_options(app, s);
    app.add_option("--shard", shard)->group("");  // of its workers
    app.add_option("--worker", worker)->group("");
    const bool is_worker = std::find(argv, argv + argc, std::string_view("--worker")) != argv + argc;
    if (is_worker)  // a process of a rank, no rank itself
        return tools::run_program("qnt-eval-mpi", app, argc, argv, [&] {
            s.shard = eval::parse_shard(shard);
            eval::run_worker(s, worker);
        });
    MPI_Init(&argc, &argv);
    tools::note_interrupts();
    const int exit_code = run_rank(app, s, argc, argv);
    MPI_Finalize();
    return exit_code;
}
