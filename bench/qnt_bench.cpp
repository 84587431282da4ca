// qnt-bench: times matrix products over shapes, formats, modes and threads, beside the limits of the machine measured in the same run.
//   qnt-bench --cases 1,3072,768;128,3072,768 --threads 2 --only int4:32,nf4:64/exact
// One JSON object per line: peer, version, op, format, m, n, k, threads, cache, median_us, min_us, reps, gbps (weight bytes), gops,
// wbytes, other_cpu (cores that other processes used meanwhile), act, cpu; and isa, kernel, pages, read_gbps, peak_gops, of_limit.
// The time is that of a whole call: f32 activations in (quantized inside), f32 out.
#include <qnt/qnt.hpp>

#include <fcntl.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <map>

#include "../examples/machine.hpp"
#include "measure.hpp"
#include "random_floats.hpp"
#include "row.hpp"

namespace {

struct options {
    std::string cases = "1,768,768;1,3072,768;1,768,3072;16,3072,768;128,3072,768", only, isa, pages = "huge", caches = "cold,hot";
    std::size_t threads = 1;
    double budget_ms = 60, cold_mb = 0;
};

struct shape {
    std::size_t m, n, k;
};

std::vector<shape> parse_cases(const std::string& text) {
    std::vector<shape> cases;
    for (const std::string& one : bench::split(text, ';')) {
        shape s{};
        if (std::sscanf(one.c_str(), "%zu,%zu,%zu", &s.m, &s.n, &s.k) != 3 || s.m * s.n * s.k == 0)
            throw CLI::ValidationError("--cases", "'" + one + "' is not m,n,k");
        cases.push_back(s);
    }
    return cases;
}

// Memory for all copies of a matrix, of one kind of page.
class arena {
public:
    arena(std::size_t bytes, const std::string& pages) : bytes_(bytes) {
        int file = -1, flags = MAP_PRIVATE | MAP_ANONYMOUS;
        if (pages == "file") {
            char name[] = "./qnt-bench-XXXXXX";
            file = mkstemp(name);
            if (file < 0 || unlink(name) != 0 || ftruncate(file, off_t(bytes)) != 0)
                throw std::runtime_error("cannot make a file of the weights here");
            flags = MAP_SHARED;
        }
        data_ = static_cast<std::byte*>(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, file, 0));
        if (file >= 0) close(file);
        if (data_ == MAP_FAILED) throw std::bad_alloc();
        if (pages != "file") madvise(data_, bytes, pages == "huge" ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    }
    ~arena() { munmap(data_, bytes_); }
    arena(const arena&) = delete;
    arena& operator=(const arena&) = delete;
    std::byte* data() const { return data_; }
    std::size_t size() const { return bytes_; }

private:
    std::byte* data_;
    std::size_t bytes_;
};

std::size_t third_level_cache() {
    const long bytes = sysconf(_SC_LEVEL3_CACHE_SIZE);
    return bytes > 0 ? std::size_t(bytes) : 0;
}

class runner {
public:
    explicit runner(const options& o) : o_(o), pool_(o.threads) {
        if (!o.isa.empty()) {
            const auto id = qnt::isa::parse(o.isa);
            if (!id || !qnt::isa::force(*id)) throw CLI::ValidationError("--isa", id ? "refused" : id.error().message);
        }
        const std::size_t isa = std::size_t(qnt::isa::active());
        dot_peak_ = bench::peak_gops(bench::limits_of::dot[isa], o.threads);
        fma_peak_ = bench::peak_gops(bench::limits_of::fma[isa], o.threads);
    }

    void run(const shape& s, const std::string& name) {
        const std::size_t slash = name.find('/');
        const bool exact = slash != name.npos;
        if (exact && name.substr(slash) != "/exact") throw CLI::ValidationError("--only", "'" + name + "': the mode behind / is exact");
        const auto format = qnt::any_format::parse(name.substr(0, slash));
        if (!format) throw CLI::ValidationError("--only", format.error().message);
        const std::vector<float> w = bench::random_floats(s.n * s.k, 1), x = bench::random_floats(s.m * s.k, 2);
        auto packed = qnt::quantize(qnt::matrix_view<const float>{w.data(), s.n, s.k}, *format, {}, pool_);
        if (!packed) throw std::runtime_error(packed.error().message);
        const std::size_t bytes = packed->bytes().size(), step = qnt::round_up(bytes, 4096);
        const double cold_bytes = o_.cold_mb > 0 ? o_.cold_mb * 1048576 : std::max(268435456.0, 16.0 * double(third_level_cache()));
        std::vector<float> y(s.m * s.n);
        for (const std::string& cache : bench::split(o_.caches, ',')) {
            const bool cold = cache == "cold";
            if (!cold && s.m != 1 && o_.caches != "hot") continue;
            const std::size_t copies = cold ? std::max<std::size_t>(2, std::size_t(cold_bytes / double(step)) + 1) : 1;
            const arena memory(qnt::round_up(copies * step, std::size_t{1} << 21), o_.pages);
            for (std::size_t i = 0; i < copies; ++i) std::memcpy(memory.data() + i * step, packed->bytes().data(), bytes);
            qnt::any_view<qnt::layout::panels> view = packed->view();
            const double gbps =
                bench::read_gbps(memory.data(), cold ? copies * step : step, o_.threads, cold ? 1 : 1 + std::size_t(2e7 / double(step)));
            const auto timing = bench::measure(
                [&](int i) {
                    view.data = memory.data() + std::size_t(i) % copies * step;
                    const qnt::matmul_options how{.mode = exact ? qnt::exact : qnt::automatic, .epilogue = {}, .executor = pool_};
                    qnt::gemm(qnt::matrix_view<float>{y.data(), s.m, s.n}, qnt::matrix_view<const float>{x.data(), s.m, s.k}, view, how);
                },
                o_.budget_ms * 1e3);
            print(s, name, *format, exact || format->info.is_dense(), cache, bytes, timing, gbps);
        }
    }

private:
    void print(const shape& s, const std::string& name, const qnt::any_format& format, bool is_float, const std::string& cache, std::size_t bytes,
               const bench::timing& t, double read) const {
        const double ops = 2.0 * double(s.m) * double(s.n) * double(s.k), peak = is_float ? fma_peak_ : dot_peak_;
        const double limit_us = std::max(double(bytes) / read * 1e-3, ops / peak * 1e-3);
        nlohmann::ordered_json row = bench::row_of("matmul", name, s.m, s.n, s.k, o_.threads, cache);
        row["median_us"] = t.median_us;
        row["min_us"] = t.min_us;
        row["reps"] = t.reps;
        row["gbps"] = double(bytes) / t.median_us * 1e-3;
        row["gops"] = ops / t.median_us * 1e-3;
        row["wbytes"] = bytes;
        row["other_cpu"] = t.other_cpu;
        row["act"] = "f32";
        row["isa"] = qnt::isa::name(qnt::isa::active());
        row["kernel"] = qnt::kernel_id(format, is_float ? qnt::exact : qnt::int8_activations, s.m);
        row["pages"] = o_.pages;
        row["read_gbps"] = read;
        row["peak_gops"] = peak;
        row["of_limit"] = limit_us / t.median_us;
        row["cpu"] = tools::cpu_name();
        std::cout << row.dump() << std::endl;
    }

    options o_;
    qnt::thread_pool pool_;
    double dot_peak_ = 0, fma_peak_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
    CLI::App app("Times matrix products with quantized weights, one JSON object per line.");
    options o;
    app.add_option("--cases", o.cases, "shapes m,n,k;m,n,k: y[m, n] = x[m, k] * w[n, k]^T")->capture_default_str();
    app.add_option("--threads", o.threads, "threads")->capture_default_str()->check(CLI::Range(1, 1024));
    app.add_option("--budget", o.budget_ms, "milliseconds per measurement")->capture_default_str();
    app.add_option("--cold-mb", o.cold_mb,
                   "MiB of weight copies that cold measurements rotate over; 0: 256 MiB, or 16 last-level caches if that is more");
    app.add_option("--only", o.only, "formats: int8_channel,int4:32,nf4:64,f16, with /exact for float arithmetic (default: the usual ones)");
    app.add_option("--isa", o.isa, "instruction set (default: the widest)");
    app.add_option("--pages", o.pages, "pages of the weights")->capture_default_str()->check(CLI::IsMember({"huge", "4k", "file"}));
    app.add_option("--cache", o.caches, "cold,hot; hot with more than one row of x only where cold is not asked for as well")->capture_default_str();
    try {
        app.parse(argc, argv);
        runner all(o);
        for (const std::string& format : bench::split(o.only.empty() ? "int8_channel,int8:32,int4:32,int4:128,uint4:64,nf4:64,f16" : o.only, ','))
            for (const shape& s : parse_cases(o.cases)) all.run(s, format);
    } catch (const CLI::Error& e) {
        return app.exit(e);
    } catch (const std::exception& e) {
        std::cerr << "qnt-bench: " << e.what() << '\n';
        return 1;
    }
}
