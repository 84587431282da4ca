#include <qnt/io/safetensors_shards.hpp>
#include <qnt/io/safetensors_writer.hpp>

#include "catch.hpp"
#include "temp_folder.hpp"

using namespace qnt;

namespace {

void write_shard(const std::string& path, const std::vector<std::pair<std::string, std::vector<float>>>& tensors) {
    safetensors_writer out;
    for (const auto& [name, values] : tensors) out.declare(name, safetensors_dtype::f32, {values.size()}).value();
    out.begin(path).value();
    for (const auto& t : out.order())
        for (const auto& [name, values] : tensors)
            if (name == t.name) out.write(name, values).value();
    out.finish().value();
}

struct model_folder : temp_folder {
    std::string index = *this / "model.safetensors.index.json";
    model_folder() {
        write_shard(*this / "model-00001-of-00002.safetensors", {{"b", {1, 2}}, {"a", {3}}});
        write_shard(*this / "model-00002-of-00002.safetensors", {{"c", {4, 5, 6}}});
    }
    void write_index(const std::string& metadata, const std::string& map) const {
        write_text(index, "{\"metadata\": " + metadata + ", \"weight_map\": {" + map + "}, \"later\": [1]}");
    }
};

const std::string first = "\"model-00001-of-00002.safetensors\"", second = "\"model-00002-of-00002.safetensors\"";
const std::string good = "\"c\": " + second + ", \"a\": " + first + ", \"b\": " + first;

}  // namespace

TEST_CASE("safetensors_shards: a model in two files is one list of tensors") {
    const model_folder folder;
    folder.write_index(R"({"total_size": 24, "other": {}})", good);
    const bool by_index = GENERATE(false, true);
    const std::string path = by_index ? folder.index : folder.path.string();
    const bool load = GENERATE(false, true);
    const auto model = (load ? safetensors_shards::load(path) : safetensors_shards::open(path)).value();
    CHECK(model.files().size() == 2);
    std::vector<std::string> names;
    for (const safetensors_tensor& t : model.tensors()) names.push_back(t.name);
    CHECK(names == std::vector<std::string>{"a", "b", "c"});
    CHECK(model.read_f32("a").value() == std::vector<float>{3});
    CHECK(model.read_f32("b").value() == std::vector<float>{1, 2});
    CHECK(model.read_f32("c").value() == std::vector<float>{4, 5, 6});
    CHECK(model.find("c").value()->shape == std::vector<std::size_t>{3});
    float out[3] = {};
    REQUIRE(model.read_f32("c", out));
    CHECK(out[2] == 6);
    CHECK(model.read_f32("c", std::span(out, 2)).error().code == errc::invalid_argument);
    CHECK(model.find("d").error().message == folder.index + ": there is no tensor \"d\"");
    CHECK_FALSE(model.read_f32("d"));
}

TEST_CASE("safetensors_shards: a single file, a folder of one, and folders that do not say which") {
    const temp_folder folder;
    const auto message = [&](const std::string& path) { return safetensors_shards::open(path).error().message; };
    CHECK(safetensors_shards::open(folder.path.string()).error().code == errc::not_found);
    CHECK(contains(message(folder.path.string()), "has no *.safetensors files and no model.safetensors.index.json"));
    write_shard(folder / "x.safetensors", {{"w", {7}}});
    CHECK(safetensors_shards::open(folder / "x.safetensors").value().read_f32("w").value() == std::vector<float>{7});
    CHECK(safetensors_shards::open(folder.path.string()).value().read_f32("w").value() == std::vector<float>{7});
    write_shard(folder / "y.safetensors", {{"w", {8}}});
    CHECK(contains(message(folder.path.string()), "has 2 *.safetensors files"));
    write_text(folder / "model.safetensors.index.json", R"({"weight_map": {"w": "y.safetensors"}})");
    CHECK(safetensors_shards::open(folder.path.string()).value().read_f32("w").value() == std::vector<float>{8});
    write_shard(folder / "model.safetensors", {{"w", {9}}});
    CHECK(safetensors_shards::open(folder.path.string()).value().read_f32("w").value() == std::vector<float>{9});
    CHECK(safetensors_shards::open(folder / "missing").error().code == errc::not_found);
    CHECK(safetensors_shards::open(folder / "missing.json").error().code == errc::not_found);
    CHECK(contains(message(std::string("a\0b", 3)), "NUL"));

    const temp_folder cache;  // as the cache of huggingface_hub: links to files under other names
    std::filesystem::create_symlink(folder.path / "x.safetensors", cache.path / "model.safetensors");
    CHECK(safetensors_shards::open(cache.path.string()).value().read_f32("w").value() == std::vector<float>{7});
}

TEST_CASE("safetensors_shards: each rule that an index breaks is named") {
    const model_folder folder;
    const auto refused = [&](const std::string& map, std::vector<const char*> words, errc code = errc::corrupt, const char* metadata = "{}") {
        folder.write_index(metadata, map);
        const auto r = safetensors_shards::open(folder.index);
        INFO(map);
        REQUIRE_FALSE(r);
        INFO(r.error().message);
        CHECK(r.error().code == code);
        CHECK(r.error().message.starts_with(folder.index + ": index: "));
        for (const char* word : words) CHECK(contains(r.error().message, word));
    };
    for (const char* name : {"../model.safetensors", "/dev/zero", "a/b", "a\\\\b", "", ".", "..", "a\\u0000"})
        refused("\"a\": \"" + std::string(name) + "\"", {"weight_map, tensor \"a\" (byte offset 36): the shard", "plain file name"});
    refused("\"a\": \"\\u001b[2J/\"", {"\"\\x1b[2J/\""});
    refused("\"a\": 3", {"weight_map, tensor \"a\"", "expected a string, found a number"});
    refused("\"a\": \"none\"", {"shard \"none\"", "No such file"}, errc::not_found);
    std::filesystem::create_symlink("/dev/zero", folder.path / "zero");
    refused("\"a\": \"zero\"", {"shard \"zero\"", "device"}, errc::invalid_argument);
    refused("\"a\": \"model.safetensors.index.json\"", {"shard", "header: length"});
    refused("\"a\": " + second + ", \"b\": " + first + ", \"c\": " + second, {"tensor \"a\": is not in its shard", second.c_str()});
    refused(good + ", \"d\": " + first, {"tensor \"d\": is not in its shard", first.c_str()});
    refused("\"c\": " + second + ", \"a\": " + first, {"does not name tensor \"b\""});
    refused(good + ", \"a\": " + first, {"duplicate key \"a\""});
    refused(good, {"metadata, total_size is 23, the tensors have 24 bytes"}, errc::corrupt, R"({"total_size": 23})");
    write_shard(folder / "third", {{"a", {1}}, {"d", {1}}});
    refused(good + ", \"d\": \"third\"", {"tensor \"a\" is in two shards"});

    for (const char* metadata : {"null", "[]", R"({"total_size": 24.0})", R"({"total_size": "24"})"}) {  // say nothing
        folder.write_index(metadata, good);
        CHECK(safetensors_shards::open(folder.index));
    }
    const auto message = [&](const std::string& text) {
        write_text(folder.index, text);
        return safetensors_shards::open(folder.index).error().message;
    };
    CHECK(contains(message(""), ": index: JSON, byte offset 0: expected an object"));
    CHECK(contains(message("{}"), "\"weight_map\" is missing"));
    CHECK(contains(message("{\"weight_map\": []}"), "byte offset 15: expected an object, found an array"));
    CHECK(contains(message("{\"weight_map\": {}} x"), "end of the text"));
    CHECK(contains(message("{\"weight_map\": {\"a\": \"b"), "text ends inside a string"));
    write_text(folder.index, R"({"weight_map": {}})");
    CHECK(safetensors_shards::open(folder.index).value().tensors().empty());
    std::filesystem::resize_file(folder.index, safetensors_shards::max_index_bytes + 1);
    CHECK(contains(safetensors_shards::open(folder.index).error().message, "100000001 bytes, more than the 100000000 allowed"));
}
