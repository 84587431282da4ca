// Every reader and writer, with every single allocation refused in turn: each answers with std::bad_alloc or an error that says so, gives
// back what it had taken, and leaves no file. A new one is a line in operations().
#include <qnt/io/archive.hpp>
#include <qnt/io/npy.hpp>
#include <qnt/io/safetensors_shards.hpp>
#include <qnt/io/safetensors_writer.hpp>

#include <functional>
#include <new>

#include "catch.hpp"
#include "temp_folder.hpp"

// The global operators of this program count and refuse while a budget of this thread says so; else they are those of the system.
namespace {

struct allocation_budget {
    std::size_t refused_at = 0;  // the how manieth allocation is refused; 0: none, and nothing is counted
    bool and_later = false;      // all after it too
    std::size_t asked = 0;
    std::ptrdiff_t live = 0;
};
thread_local allocation_budget* budget = nullptr;

void* allocate(std::size_t bytes, std::size_t alignment) noexcept {
    if (budget && ++budget->asked >= budget->refused_at && (budget->asked == budget->refused_at || budget->and_later)) return nullptr;
    void* p = nullptr;
    if (::posix_memalign(&p, std::max(alignment, sizeof(void*)), bytes) != 0) return nullptr;
    if (budget) ++budget->live;
    return p;
}
void* allocate_or_throw(std::size_t bytes, std::size_t alignment) {
    if (void* p = allocate(bytes, alignment)) return p;
    throw std::bad_alloc();
}
void release(void* p) noexcept {
    if (p && budget) --budget->live;
    std::free(p);
}
constexpr std::size_t usual = __STDCPP_DEFAULT_NEW_ALIGNMENT__;

}  // namespace

void* operator new(std::size_t n) { return allocate_or_throw(n, usual); }
void* operator new[](std::size_t n) { return allocate_or_throw(n, usual); }
void* operator new(std::size_t n, std::align_val_t a) { return allocate_or_throw(n, std::size_t(a)); }
void* operator new[](std::size_t n, std::align_val_t a) { return allocate_or_throw(n, std::size_t(a)); }
void* operator new(std::size_t n, const std::nothrow_t&) noexcept { return allocate(n, usual); }
void* operator new[](std::size_t n, const std::nothrow_t&) noexcept { return allocate(n, usual); }
void* operator new(std::size_t n, std::align_val_t a, const std::nothrow_t&) noexcept { return allocate(n, std::size_t(a)); }
void* operator new[](std::size_t n, std::align_val_t a, const std::nothrow_t&) noexcept { return allocate(n, std::size_t(a)); }
void operator delete(void* p) noexcept { release(p); }
void operator delete[](void* p) noexcept { release(p); }
void operator delete(void* p, std::size_t) noexcept { release(p); }
void operator delete[](void* p, std::size_t) noexcept { release(p); }
void operator delete(void* p, std::align_val_t) noexcept { release(p); }
void operator delete[](void* p, std::align_val_t) noexcept { release(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { release(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { release(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { release(p); }
void operator delete[](void* p, const std::nothrow_t&) noexcept { release(p); }
void operator delete(void* p, std::align_val_t, const std::nothrow_t&) noexcept { release(p); }
void operator delete[](void* p, std::align_val_t, const std::nothrow_t&) noexcept { release(p); }

namespace {

using namespace qnt;

const std::vector<float> values = {1, 2, 3, 4, 5, 6};
const std::string json = R"({"a key that is longer than any small string": [1, true, null, {"b": "\u00e9 and enough more for an allocation"}]})";

// In `in` lies one file of each kind, `out` is empty. Each takes and gives back all of its memory inside the call.
struct operation {
    const char* name;
    std::function<result<void>()> run;
};

std::vector<operation> operations(const temp_folder& in, const temp_folder& out) {
    const auto read_tensors = [](const auto& file) -> result<void> {
        if (!file) return file.error();
        for (const auto& t : file->tensors()) QNT_TRY(file->read_f32(t.name));
        return {};
    };
    const auto read_array = [](const auto& file) -> result<void> {
        if (!file) return file.error();
        const auto v = file->read_f32();
        return v ? result<void>() : v.error();
    };
    const auto read_archive = [](const auto& file) -> result<void> {
        if (!file) return file.error();
        QNT_TRY(file->verify());
        QNT_TRY(file->get_any("a matrix with a long name"));
        QNT_TRY(file->read_f32("an array with a long name"));
        return {};
    };
    const std::string model = in / "model.safetensors", index = in / "index.json", folder = in / "folder", archive_path = in / "model.qnt",
                      npy = in / "x.npy", fortran = in / "fortran.npy", half = in / "half.npy", target = out / "written";
    return {
        {"parse_json",
         [] {
             const auto v = parse_json(json);
             return v ? result<void>() : v.error();
         }},
        {"safetensors_file::open", [=] { return read_tensors(safetensors_file::open(model)); }},
        {"safetensors_file::load", [=] { return read_tensors(safetensors_file::load(model)); }},
        {"safetensors_shards::open, an index", [=] { return read_tensors(safetensors_shards::open(index)); }},
        {"safetensors_shards::load, an index", [=] { return read_tensors(safetensors_shards::load(index)); }},
        {"safetensors_shards::open, a folder", [=] { return read_tensors(safetensors_shards::open(folder)); }},
        {"npy_file::open", [=] { return read_array(npy_file::open(npy)); }},
        {"npy_file::load", [=] { return read_array(npy_file::load(fortran)); }},
        {"npy_file::open, f2", [=] { return read_array(npy_file::open(half)); }},
        {"archive::map", [=] { return read_archive(archive::map(archive_path)); }},
        {"archive::load", [=] { return read_archive(archive::load(archive_path)); }},
        {"write_npy",
         [=] {
             return write_npy(target, values, {2, 3});
         }},
        {"safetensors_writer",
         [=]() -> result<void> {
             safetensors_writer w;
             QNT_TRY(w.declare("a tensor with a long name", safetensors_dtype::f32, {2, 3}));
             QNT_TRY(w.set_metadata("a key with a long name", "and a value that is long enough"));
             QNT_TRY(w.begin(target));
             QNT_TRY(w.write("a tensor with a long name", values));
             return w.finish();
         }},
        {"archive_writer",
         [=]() -> result<void> {
             auto packed = quantize(matrix_view<const float>{values.data(), 2, 3}, format_of<nf4<64>>());
             if (!packed) return packed.error();
             archive_writer w;
             QNT_TRY(w.add("a matrix with a long name", std::move(*packed)));
             QNT_TRY(w.add("an array with a long name", values, {3, 2}));
             QNT_TRY(w.set_metadata("a key with a long name", "and a value that is long enough"));
             return w.finish(target);
         }},
    };
}

void write_inputs(const temp_folder& in) {
    const auto write_model = [&](const std::string& path, const char* name) {
        safetensors_writer w;
        w.declare(name, safetensors_dtype::f32, {2, 3}).value();
        w.set_metadata("a key with a long name", "and a value that is long enough").value();
        w.begin(path).value();
        w.write(name, values).value();
        w.finish().value();
    };
    write_model(in / "model.safetensors", "a tensor with a long name");
    write_model(in / "second.safetensors", "another tensor with a long name");
    std::filesystem::create_directory(in / "folder");
    write_model(in / "folder/the only one.safetensors", "a tensor with a long name");
    write_text(in / "index.json",
               R"({"weight_map": {"a tensor with a long name": "model.safetensors", "another tensor with a long name": "second.safetensors"}})");
    write_npy(in / "x.npy", values, {2, 3}).value();
    std::string fortran = text_of(in / "x.npy");
    fortran.replace(fortran.find("False, "), 7, "True,  ");
    write_text(in / "fortran.npy", fortran);
    write_npy(in / "half.npy", std::vector<f16>(6)).value();
    archive_writer w;
    w.add("a matrix with a long name", quantize(matrix_view<const float>{values.data(), 2, 3}, format_of<nf4<64>>()).value()).value();
    w.add("an array with a long name", values).value();
    w.set_metadata("a key with a long name", "and a value that is long enough").value();
    w.finish(in / "model.qnt").value();
}

enum class outcome { ok, out_of_memory, other };

outcome run_with(allocation_budget& b, const operation& op) {
    budget = &b;
    outcome o = outcome::other;
    try {
        const auto r = op.run();
        o = r ? outcome::ok : r.error().code == errc::out_of_memory ? outcome::out_of_memory : outcome::other;
    } catch (const std::bad_alloc&) {
        o = outcome::out_of_memory;
    }
    budget = nullptr;
    return o;
}

}  // namespace

TEST_CASE("every allocation that fails is survived: readers and writers say so, give back all memory and leave no file") {
    const temp_folder in, out;
    write_inputs(in);
    for (const operation& op : operations(in, out)) {
        INFO(op.name);
        allocation_budget all;
        all.refused_at = ~std::size_t{0};
        REQUIRE(run_with(all, op) == outcome::ok);  // and what is made once per program is made
        std::filesystem::remove(out / "written");
        std::size_t refused = 0;
        for (const bool and_later : {false, true})
            for (std::size_t n = 1;; ++n) {
                allocation_budget b{n, and_later};
                const outcome o = run_with(b, op);
                INFO("allocation " << n << " of " << all.asked << (and_later ? " and all later" : ""));
                if (b.asked < n) {
                    CHECK(o == outcome::ok);
                    CHECK(b.live == 0);
                    std::filesystem::remove(out / "written");
                    break;
                }
                ++refused;
                CHECK(o == outcome::out_of_memory);
                CHECK(b.live == 0);
                CHECK(out.files() == 0);
            }
        CHECK(refused >= 2);
    }
}
