// Loading a GPT-2 and its tokenizer from every kind of file, and computing with it, with every single allocation refused in turn: each time
// an error that says so or std::bad_alloc, and all memory back. PCRE2 allocates by itself: not counted here.
#include "gpt2/batch.hpp"
#include "gpt2/gguf.hpp"
#include "gpt2/load.hpp"
#include "gpt2/tokenizer.hpp"

#include "failing_allocations.hpp"
#include "io/temp_folder.hpp"
#include "support.hpp"

namespace {

const gpt2::config sizes = [] {
    gpt2::config c;
    c.n_layer = 2;
    c.n_embd = 16;
    c.n_head = 2;
    c.n_ctx = 8;
    c.vocab_size = 260;
    c.n_inner = 32;
    return c;
}();

gpt2::tokenizer_data small_tokenizer() {
    gpt2::tokenizer_data d;
    for (const std::string& c : gpt2::byte_characters()) d.tokens.push_back(c);
    d.tokens.insert(d.tokens.end(), {"he", "hel", "a token that is longer than any small string", "<|endoftext|>"});
    d.specials = {258, 259};
    d.merges = {{"h", "e", 1}, {"he", "l", 2}};
    return d;
}

// The same model as a folder, a .gguf and a .qnt.
void write_model(const temp_folder& at) {
    qnt::safetensors_writer st;
    qnt::gguf_writer gguf;
    gpt2::set_gguf_metadata(gguf, sizes, small_tokenizer());
    const auto parts = gpt2::tensors_of(sizes);
    for (const auto& p : parts) {
        auto stored = p.shape;
        if (p.is_conv1d) std::swap(stored[0], stored[1]);
        st.declare(p.name, qnt::safetensors_dtype::f32, stored).value();
        gguf.declare(gpt2::gguf_name(p.name), qnt::gguf_type::f32, p.shape).value();
    }
    const auto values = test::random_floats(sizes.vocab_size * sizes.n_embd, 1, 0.1f);
    const auto values_of = [&](const std::vector<std::size_t>& shape) {
        return std::span(values).first(shape.size() == 1 ? shape[0] : shape[0] * shape[1]);
    };
    st.begin(at / "model.safetensors").value();
    for (const auto& t : st.order()) st.write(t.name, values_of(t.shape)).value();
    st.finish().value();
    gguf.begin(at / "model.gguf").value();
    for (const auto& p : parts) gguf.write(gpt2::gguf_name(p.name), std::as_bytes(values_of(p.shape))).value();
    gguf.finish().value();
    auto metadata = gpt2::tokenizer_texts(small_tokenizer());
    for (const auto& [name, text] : metadata) write_text(at / name, text);
    metadata.emplace_back("config.json", gpt2::to_json(sizes));
    write_text(at / "config.json", gpt2::to_json(sizes));
    const auto file = qnt::checkpoint_file::open(at.path.string()).value();
    qnt::quantize_model(gpt2::checkpoint_of(file, sizes), {{"*", qnt::use<qnt::int8_channel>}}, at / "model.qnt", {.metadata = metadata}).value();
}

// The examples throw, with a message that says what was missing.
template <class F> test::operation throwing(const char* name, F work) {
    return {name, [=]() -> qnt::result<void> {
                try {
                    work();
                } catch (const std::runtime_error& e) {
                    const bool is_memory = std::string_view(e.what()).find("memory") != std::string_view::npos;
                    return qnt::error{is_memory ? qnt::errc::out_of_memory : qnt::errc::io, ""};
                }
                return {};
            }};
}

std::vector<test::operation> operations(const temp_folder& in, const temp_folder& out) {
    const gpt2::load_options quantized{.weights = {{"*", qnt::use<qnt::nf4<64>>}}};
    const std::string folder = in.path.string(), gguf = in / "model.gguf", archive = in / "model.qnt", written = out / "written";
    std::vector<test::operation> all;
    for (const std::string& path : {folder, gguf, archive}) {
        all.push_back({"checkpoint_file", [=]() -> qnt::result<void> {
                           const auto file = qnt::checkpoint_file::open(path);
                           if (!file) return file.error();
                           for (const auto& t : file->tensors()) {
                               QNT_TRY(t.read());
                               if (t.read_packed) QNT_TRY(t.read_packed());
                           }
                           return {};
                       }});
        all.push_back(throwing("load_model", [=] { gpt2::load_model(path, path == archive ? gpt2::load_options{.verify = true} : quantized); }));
        all.push_back(throwing("tokenizer", [=] {
            const gpt2::tokenizer t(path);
            t.decode(t.encode("hello <|endoftext|>", gpt2::special_tokens::recognised));
        }));
    }
    all.push_back(throwing("session", [model = std::make_shared<gpt2::model>(gpt2::load_model(archive))] {
        gpt2::session s(*model, {});
        s.forward(std::vector<std::int32_t>{1, 2, 3});
    }));
    all.push_back({"quantize_model", [=]() -> qnt::result<void> {
                       const auto file = qnt::checkpoint_file::open(gguf);
                       if (!file) return file.error();
                       const auto r = qnt::quantize_model(file->tensors(), {{"*", qnt::use<qnt::int4<32>>}}, written);
                       return r ? qnt::result<void>() : r.error();
                   }});
    return all;
}

}  // namespace

TEST_CASE("every allocation that fails is survived: loading GPT-2 and its tokenizer, computing, quantizing a model") {
    const temp_folder in, out;
    write_model(in);
    for (const test::operation& op : operations(in, out))
        test::refuse_every_allocation(
            op, [&] { return out.files() == 0; }, [&] { std::filesystem::remove(out / "written"); });
}

TEST_CASE("a batch goes on where an allocation failed, with the tokens of one that was not disturbed") {
    const temp_folder in;
    write_model(in);
    const gpt2::model model = gpt2::load_model(in / "model.qnt");
    struct outcome {
        std::array<std::vector<std::int32_t>, 3> ids;
        std::size_t refused = 0, asked = 0;
    };
    const auto generate = [&](std::size_t refused_at) {
        outcome o;
        for (auto& ids : o.ids) ids.reserve(64);
        gpt2::batch batch(model, {}, {.kv = qnt::kv_types::parse("f16,int8").value(), .max_rows_per_step = 5});
        batch.add(std::vector<std::int32_t>{1, 2, 3}, {.temperature = 0.8f, .top_p = 0.9f, .seed = 1, .max_new_tokens = 20, .window = 4});
        batch.add(std::vector<std::int32_t>{4, 5, 6, 7, 8, 9}, {.temperature = 1, .top_k = 5, .seed = 2});
        batch.add(std::vector<std::int32_t>{10}, {.max_new_tokens = 3});
        test::allocation_budget budget{.refused_at = refused_at};
        test::budget = &budget;
        while (!batch.idle()) {
            try {
                for (const gpt2::event& e : batch.step()) o.ids[e.id - 1].push_back(e.token);
            } catch (const std::bad_alloc&) {
                ++o.refused;
            } catch (const qnt::exception&) {
                ++o.refused;
            }
        }
        test::budget = nullptr;
        o.asked = budget.asked;
        return o;
    };
    const outcome undisturbed = generate(0);
    REQUIRE(undisturbed.ids[0].size() == 20);
    std::size_t refused = 0;
    for (std::size_t n = 1;; ++n) {
        const outcome o = generate(n);
        if (o.asked < n) break;
        CHECK(o.refused <= 1);
        CHECK(o.ids == undisturbed.ids);
        refused += o.refused;
    }
    CHECK(refused > 10);
}
