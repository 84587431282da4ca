// One tokenizer, from every source: the same tokens, merges and special tokens; ids of Hugging Face's tokenizers.
#include "gpt2/gguf.hpp"
#include "gpt2/tokenizer.hpp"

#include <nlohmann/json.hpp>

#include "io/temp_folder.hpp"
#include "support.hpp"

namespace {

namespace fs = std::filesystem;
using gpt2::tokenizer_data;
const std::string folder = QNT_SOURCE_DIR "/examples/models/qnt-gpt2-5m";

const tokenizer_data& shipped() {
    static const tokenizer_data data = gpt2::read_tokenizer(folder);
    return data;
}
void check_same(const tokenizer_data& a, const tokenizer_data& b) {
    CHECK(a.tokens == b.tokens);
    CHECK(a.specials == b.specials);
    REQUIRE(a.merges.size() == b.merges.size());
    bool same = true;
    for (std::size_t i = 0; i < a.merges.size(); ++i) same = same && a.merges[i].left == b.merges[i].left && a.merges[i].right == b.merges[i].right;
    CHECK(same);
}

// As Hugging Face's tokenizers 0.22 write it.
nlohmann::json tokenizer_json(const tokenizer_data& data, bool pairs) {
    nlohmann::json j = {{"version", "1.0"},
                        {"truncation", nullptr},
                        {"padding", nullptr},
                        {"added_tokens", nlohmann::json::array()},
                        {"normalizer", nullptr},
                        {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}}},
                        {"post_processor", {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", false}, {"use_regex", true}}},
                        {"decoder", {{"type", "ByteLevel"}}}};
    nlohmann::json& model = j["model"];
    model = {{"type", "BPE"},     {"dropout", nullptr},     {"unk_token", nullptr},  {"continuing_subword_prefix", ""}, {"end_of_word_suffix", ""},
             {"fuse_unk", false}, {"byte_fallback", false}, {"ignore_merges", false}};
    for (std::size_t id = 0; id < data.tokens.size(); ++id) model["vocab"][data.tokens[id]] = id;
    model["merges"] = nlohmann::json::array();
    for (const auto& m : data.merges)
        if (pairs) model["merges"].push_back({m.left, m.right});
        else model["merges"].push_back(m.left + ' ' + m.right);
    for (const auto id : data.specials) j["added_tokens"].push_back({{"id", id}, {"content", data.tokens[std::size_t(id)]}, {"special", true}});
    return j;
}

std::string error_of(const std::function<void()>& f) {
    try {
        f();
    } catch (const std::runtime_error& e) {
        return e.what();
    }
    return "";
}

}  // namespace

TEST_CASE("tokenizer_data: tokenizer.json, GGUF and .qnt give what vocab.json and merges.txt give") {
    const tokenizer_data& data = shipped();
    CHECK(data.tokens.size() == 8192);
    CHECK(data.specials == std::vector<std::int32_t>{8191});
    for (const bool pairs : {false, true}) {
        const temp_folder at;
        write_text(at / "tokenizer.json", tokenizer_json(data, pairs).dump());
        check_same(gpt2::read_tokenizer(at.path), data);
        CHECK(gpt2::tokenizer(at.path).special("<|endoftext|>") == 8191);
    }
    const temp_folder at;
    qnt::gguf_writer gguf;
    gpt2::set_gguf_metadata(gguf, gpt2::read_config(folder + "/config.json"), data);
    gguf.begin(at / "m.gguf").value();
    gguf.finish().value();
    check_same(gpt2::read_tokenizer(at / "m.gguf"), data);

    qnt::archive_writer archive;
    for (const auto& [key, value] : gpt2::tokenizer_texts(data)) archive.set_metadata(key, value).value();
    archive.finish(at / "m.qnt").value();
    check_same(gpt2::read_tokenizer(at / "m.qnt"), data);
    const gpt2::tokenizer a(at / "m.qnt"), b(folder);
    const std::string text = "Once upon a time there was a d\xC3\xA9j\xC3\xA0 vu \xFF <|endoftext|> 123  \n";
    CHECK(a.encode(text) == b.encode(text));
    CHECK(a.decode(a.encode(text)) == text);

    check_same(gpt2::read_tokenizer(folder + "/model.safetensors"), data);  // from beside it
}

TEST_CASE("tokenizer_data: OpenAI's tokenizer through tokenizer.json and GGUF has the golden ids") {
    const std::string real = QNT_SHARED_DIR "/data/gpt2_tokenizer";
    if (!fs::exists(real + "/vocab.json")) {
        WARN("skipped: no GPT-2 tokenizer in " << real);
        return;
    }
    const tokenizer_data data = gpt2::read_tokenizer(real);
    const temp_folder at;
    write_text(at / "tokenizer.json", tokenizer_json(data, true).dump());
    gpt2::config c;
    c.eos_token_id = 50256;
    qnt::gguf_writer gguf;
    gpt2::set_gguf_metadata(gguf, c, data);
    gguf.begin(at / "m.gguf").value();
    gguf.finish().value();
    const auto goldens = nlohmann::json::parse(text_of(real + "/tokenizer_goldens.json"))["cases"];
    CHECK(goldens.size() == 329);
    for (const auto& source : {at.path.string(), at / "m.gguf"}) {
        const gpt2::tokenizer t{fs::path(source)};
        CHECK(t.vocab_size() == 50257);
        std::size_t wrong = 0;
        for (const auto& g : goldens) wrong += t.encode(g["text"].get<std::string>()) != g["ids"].get<std::vector<std::int32_t>>();
        CHECK(wrong == 0);
    }
}

TEST_CASE("tokenizer_data: added tokens stand for their own text, and are found only where asked for, the longest first") {
    const temp_folder at;
    fs::copy(folder + "/vocab.json", at.path);
    fs::copy(folder + "/merges.txt", at.path);
    write_text(at / "added_tokens.json", "{\"<pad>\": 8192, \"<pad>\xC4\xA0x\": 8193, \"<|endoftext|>\": 8191, \"<\": 8194}");
    CHECK(contains(error_of([&] { gpt2::read_tokenizer(at.path); }), "token \"<\" has the ids"));
    write_text(at / "added_tokens.json", "{\"<pad>\": 8192, \"<pad>\xC4\xA0x\": 8193, \"<|endoftext|>\": 8191, \"<pa d\": 8194}");
    const tokenizer_data data = gpt2::read_tokenizer(at.path);
    CHECK(data.specials == std::vector<std::int32_t>{8191, 8192, 8193, 8194});
    const auto check = [](const gpt2::tokenizer& t) {
        const auto ids = t.encode("<pad><pad>\xC4\xA0x<pa d<|endoftext|><pa", gpt2::special_tokens::recognised);
        REQUIRE(ids.size() >= 5);
        CHECK(std::vector(ids.begin(), ids.begin() + 4) == std::vector<std::int32_t>{8192, 8193, 8194, 8191});
        CHECK(t.decode(ids) == "<pad><pad>\xC4\xA0x<pa d<|endoftext|><pa");
        for (const auto id : t.encode("<pad><pa d")) CHECK(id < 8191);
        CHECK(t.special("<pa d") == 8194);
    };
    check(gpt2::tokenizer(data));

    qnt::archive_writer archive;
    for (const auto& [key, value] : gpt2::tokenizer_texts(data)) archive.set_metadata(key, value).value();
    archive.finish(at / "m.qnt").value();
    check_same(gpt2::read_tokenizer(at / "m.qnt"), data);
    qnt::gguf_writer gguf;
    gpt2::set_gguf_metadata(gguf, gpt2::read_config(folder + "/config.json"), data);
    gguf.begin(at / "m.gguf").value();
    gguf.finish().value();
    check(gpt2::tokenizer(fs::path(at / "m.gguf")));

    auto json = tokenizer_json(shipped(), false);
    json["added_tokens"].push_back({{"id", 8192}, {"content", "<pad>"}});
    fs::remove(at / "vocab.json");
    write_text(at / "tokenizer.json", json.dump());
    CHECK(gpt2::read_tokenizer(at.path).specials == std::vector<std::int32_t>{8191, 8192});
}

TEST_CASE("tokenizer_data: text never turns into a special token by merges or bytes") {
    tokenizer_data data;
    for (const std::string& c : gpt2::byte_characters()) data.tokens.push_back(c);
    data.tokens.insert(data.tokens.end(), {"ab", "abc"});
    data.specials = {256};
    data.merges = {{"a", "b", 1}, {"ab", "c", 2}};
    const gpt2::tokenizer t(data);
    CHECK(t.encode("abc") == std::vector<std::int32_t>{'a', 'b', 'c'});
    CHECK(t.encode("abc", gpt2::special_tokens::recognised) == std::vector<std::int32_t>{256, 'c'});
    data.specials = {32};  // the space, whose name is not what it stands for
    CHECK(contains(error_of([&] { gpt2::tokenizer{data}; }), "the token for the byte 32 is a special one"));
}

TEST_CASE("tokenizer_data: special tokens cost no time in proportion to their number") {
    tokenizer_data data = shipped();
    for (int i = 0; i < 20000; ++i) {
        data.specials.push_back(static_cast<std::int32_t>(data.tokens.size()));
        data.tokens.push_back(std::string(250, 'a') + std::to_string(i));
    }
    const gpt2::tokenizer t(data);
    const std::string text(1 << 18, 'a');
    const std::clock_t start = std::clock();
    CHECK(t.decode(t.encode(text, gpt2::special_tokens::recognised)) == text);
    CHECK(double(std::clock() - start) / CLOCKS_PER_SEC < 10);
    CHECK(t.encode(text + "17", gpt2::special_tokens::recognised).back() == 8192 + 17);
}

TEST_CASE("tokenizer_data: what is wrong in tokenizer.json and in metadata") {
    const temp_folder at;
    const auto wrong = [&](const std::function<void(nlohmann::json&)>& change) {
        auto json = tokenizer_json({{"a", "b", "ab"}, {{"a", "b", 1}}, {}, "", ""}, false);
        change(json);
        return error_of([&] { gpt2::parse_tokenizer_json(json.dump(), "t.json"); });
    };
    using json = nlohmann::json;
    CHECK(wrong([](json&) {}) == "");
    CHECK(wrong([](json& j) { j["model"]["type"] = "Unigram"; }).starts_with("t.json: 'type' (byte offset "));
    CHECK(contains(wrong([](json& j) { j["normalizer"] = {{"type", "NFC"}}; }), "'normalizer' (byte offset "));
    CHECK(contains(wrong([](json& j) { j["pre_tokenizer"]["add_prefix_space"] = true; }), "'add_prefix_space' (byte offset "));
    CHECK(contains(wrong([](json& j) { j["pre_tokenizer"] = {{"type", "Whitespace"}}; }), "is not ByteLevel"));
    CHECK(contains(wrong([](json& j) { j.erase("pre_tokenizer"); }), "'pre_tokenizer' is missing"));
    CHECK(contains(wrong([](json& j) { j["model"].erase("vocab"); }), "'model.vocab' is missing"));
    CHECK(contains(wrong([](json& j) { j["model"]["vocab"]["ab"] = 3; }), "id 3 is outside 0..2"));
    CHECK(contains(wrong([](json& j) { j["model"]["vocab"]["ab"] = -1; }), "'model.vocab': JSON, byte offset"));
    CHECK(contains(wrong([](json& j) { j["model"]["merges"] = {"a b", "ab"}; }), "model.merges: line 2: not two pieces"));
    CHECK(contains(wrong([](json& j) { j["model"]["merges"] = {{"a", "b", "c"}}; }), "model.merges: line 1: not two pieces"));
    CHECK(contains(wrong([](json& j) { j["model"]["merges"] = json::array({json::array({"a", 1})}); }), "model.merges: line 1"));
    for (const char* piece : {"", "b b", "b\n", "b\r"})  // merges.txt of a .qnt could not hold it
        CHECK(contains(wrong([&](json& j) {
                           j["model"]["merges"] = json::array({json::array({"a", piece})});
                       }),
                       "model.merges: line 1: not two pieces"));
    CHECK(contains(wrong([](json& j) { j["added_tokens"] = {{{"id", 3}}}; }), "a token without \"content\" or \"id\""));
    CHECK(contains(wrong([](json& j) { j["added_tokens"] = {{{"id", 1}, {"content", "a"}}}; }), "token \"a\" has the ids 0 and, as an added one, 1"));

    const auto gguf = [&](const std::function<void(qnt::gguf_writer&)>& fill) {
        qnt::gguf_writer out;
        fill(out);
        out.begin(at / "m.gguf").value();
        out.finish().value();
        return error_of([&] { gpt2::read_tokenizer(at / "m.gguf"); });
    };
    const std::vector<std::string> tokens{"a", "b", "ab"}, twice{"a", "a"}, merges{"a b"};
    CHECK(contains(gguf([](auto&) {}), "there is no \"tokenizer.ggml.model\" in its metadata"));
    CHECK(contains(gguf([](auto& o) { o.set("tokenizer.ggml.model", "llama").value(); }), "is \"llama\", only \"gpt2\" is supported"));
    const auto with = [&](const auto& names, const auto& types) {
        return gguf([&](auto& o) {
            o.set("tokenizer.ggml.model", "gpt2").value();
            o.set("tokenizer.ggml.tokens", names).value();
            o.set("tokenizer.ggml.token_type", types).value();
            o.set("tokenizer.ggml.merges", merges).value();
        });
    };
    CHECK(with(tokens, std::vector<std::int32_t>{1, 1, 3}) == "");
    CHECK(contains(with(tokens, std::vector<std::int32_t>{1, 1}), "has 2 elements, there are 3 tokens"));
    CHECK(contains(with(tokens, std::vector<float>{1, 1, 1}), "tokenizer.ggml.token_type"));
    CHECK(contains(with(twice, std::vector<std::int32_t>{1, 1}), "token \"a\" comes twice"));
    CHECK(contains(gguf([&](auto& o) {
                       o.set("tokenizer.ggml.model", "gpt2").value();
                       o.set("tokenizer.ggml.pre", "llama-bpe").value();
                   }),
                   "\"tokenizer.ggml.pre\" is \"llama-bpe\""));
    qnt::archive_writer archive;
    archive.finish(at / "m.qnt").value();
    CHECK(contains(error_of([&] { gpt2::read_tokenizer(at / "m.qnt"); }), "no \"vocab.json\" or no \"merges.txt\""));
}
