// The tokenizer against ids made by Hugging Face's tokenizers, against a naive BPE, and on hostile texts and files.
#include "gpt2/tokenizer.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <sstream>

#include "catch.hpp"

namespace {

namespace fs = std::filesystem;
using gpt2::special_tokens;
using gpt2::tokenizer;
using gpt2::utf8_stream;
using ids_t = std::vector<std::int32_t>;

const fs::path model_folder = fs::path(QNT_SOURCE_DIR) / "examples/models/qnt-gpt2-5m";

std::string slurp(const fs::path& file) {
    std::ifstream stream(file, std::ios::binary);
    REQUIRE(stream.good());
    return {std::istreambuf_iterator<char>(stream), {}};
}

nlohmann::json read_json(const fs::path& file) { return nlohmann::json::parse(slurp(file)); }

const tokenizer& small() {
    static const tokenizer instance(model_folder);
    return instance;
}

// OpenAI's files are not part of the project.
std::optional<fs::path> gpt2_folder() {
    const char* chosen = std::getenv("QNT_SHARED");
    const fs::path folder = fs::path(chosen ? chosen : QNT_SHARED_DIR) / "data/gpt2_tokenizer";
    if (fs::exists(folder / "vocab.json")) return folder;
    std::cout << "skipped: no GPT-2 tokenizer in " << folder.string() << '\n';  // at the start of a line: run.sh counts these
    WARN("skipped: no GPT-2 tokenizer in " << folder.string() << "; QNT_SHARED names the folder that holds data/");
    return std::nullopt;
}

std::string from_hex(const std::string& hex) {
    std::string bytes;
    for (std::size_t i = 0; i < hex.size(); i += 2) bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
    return bytes;
}

std::string utf8(char32_t c) {
    const auto tail = [c](int shift) { return static_cast<char>(0x80 | (c >> shift & 0x3F)); };
    if (c < 0x80) return {static_cast<char>(c)};
    if (c < 0x800) return {static_cast<char>(0xC0 | c >> 6), tail(0)};
    if (c < 0x10000) return {static_cast<char>(0xE0 | c >> 12), tail(6), tail(0)};
    return {static_cast<char>(0xF0 | c >> 18), tail(12), tail(6), tail(0)};
}

void check_round_trip(const tokenizer& t, const std::string& bytes) {
    const std::string back = t.decode(t.encode(bytes));
    if (back != bytes) CHECK(back == bytes);  // formats the bytes only when it must
}

// A folder with a vocabulary of its own: the 256 bytes, id == byte, and the tokens that `merges` make.
class folder {
public:
    folder() {
        std::string name = (fs::temp_directory_path() / "qnt-tokenizer-XXXXXX").string();
        REQUIRE(mkdtemp(name.data()) != nullptr);
        path_ = name;
    }
    folder(const folder&) = delete;
    folder& operator=(const folder&) = delete;
    ~folder() { fs::remove_all(path_); }

    const fs::path& path() const { return path_; }

    void write(const char* name, const std::string& text) const {
        std::ofstream stream(path_ / name, std::ios::binary);
        stream << text;
    }

    void write(const nlohmann::json& vocabulary, const std::string& merges) const {
        write("vocab.json", vocabulary.dump());
        write("merges.txt", merges);
    }

private:
    fs::path path_;
};

// The name of a byte in vocab.json. The ids of GPT-2's own vocabulary are in the order of the names.
std::string byte_name(int byte) {
    static const std::vector<std::string> names = [] {
        std::vector<std::string> result(256);
        char32_t next = 0x100;
        for (int b = 0; b < 256; ++b) {
            const bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
            result[static_cast<std::size_t>(b)] = utf8(printable ? static_cast<char32_t>(b) : next++);
        }
        return result;
    }();
    return names[static_cast<std::size_t>(byte)];
}

nlohmann::json byte_vocabulary() {
    nlohmann::json vocabulary = nlohmann::json::object();
    for (int b = 0; b < 256; ++b) vocabulary[byte_name(b)] = b;
    return vocabulary;
}

std::string load_error(const fs::path& path) {
    try {
        const tokenizer loaded(path);
    } catch (const std::runtime_error& error) {
        return error.what();
    }
    return "";
}

}  // namespace

TEST_CASE("tokenizer: the shipped model's goldens") {
    const auto goldens = read_json(fs::path(QNT_SOURCE_DIR) / "tests/data/model/goldens.json");
    std::size_t cases = 0;
    for (const auto& golden : goldens["logits"]["cases"]) {
        CHECK(small().encode(golden["prompt"].get<std::string>()) == golden["ids"].get<ids_t>());
        ++cases;
    }
    for (const auto& golden : goldens["greedy40"]) {
        const auto prompt = golden["prompt"].get<std::string>();
        CHECK(small().encode(prompt) == golden["prompt_ids"].get<ids_t>());
        CHECK(small().decode(golden["prompt_ids"].get<ids_t>()) == prompt);
        CHECK(prompt + small().decode(golden["new_ids"].get<ids_t>()) == golden["text"].get<std::string>());
        ++cases;
    }
    CHECK(cases == 11);
    CHECK(small().vocab_size() == 8192);
    CHECK(small().encode("").empty());
    CHECK(small().decode({}).empty());
}

TEST_CASE("tokenizer: the ids of GPT-2 on 46 + 329 hard strings") {
    const auto path = gpt2_folder();
    if (!path) return;
    const tokenizer gpt2(*path);
    CHECK(gpt2.vocab_size() == 50257);
    CHECK(gpt2.special("<|endoftext|>") == 50256);

    const auto goldens = read_json(*path / "tokenizer_goldens.json");
    std::size_t cases = 0;
    for (const auto& golden : goldens["cases"]) {
        const std::string text = from_hex(golden["utf8_hex"].get<std::string>());
        CAPTURE(text);
        REQUIRE(text == golden["text"].get<std::string>());
        CHECK(gpt2.encode(text) == golden["ids"].get<ids_t>());
        CHECK(gpt2.decode(golden["ids"].get<ids_t>()) == text);
        ++cases;
    }
    CHECK(cases == 329);
    for (const auto& golden : goldens["decode_to_raw_bytes"]) {
        CHECK(gpt2.decode(golden["ids"].get<ids_t>()) == from_hex(golden["bytes_hex"].get<std::string>()));
    }

    // each string ends with the separator, its ids are the line of the same number
    const std::string texts = slurp(*path / "ggml-vocab-gpt-2.gguf.inp"), separator = "\n__ggml_vocab_test__\n";
    std::istringstream lines(slurp(*path / "ggml-vocab-gpt-2.gguf.out"));
    cases = 0;
    for (std::size_t at = 0, end; (end = texts.find(separator, at)) != std::string::npos; at = end + separator.size(), ++cases) {
        const std::string text = texts.substr(at, end - at);
        std::string line;
        REQUIRE(std::getline(lines, line));
        std::istringstream numbers(line);
        ids_t expected;
        for (std::int32_t id = 0; numbers >> id;) expected.push_back(id);
        CAPTURE(text);
        CHECK(gpt2.encode(text) == expected);
        CHECK(gpt2.decode(expected) == text);
    }
    CHECK(cases == 46);
}

TEST_CASE("tokenizer: \\s is Unicode's White_Space, no more and no less") {
    // Every character is followed by "!", and a merge joins its last byte with "!": it takes place in one piece only, which means
    // that the character is neither white space nor a letter nor a number.
    const folder f;
    auto vocabulary = byte_vocabulary();
    std::string merges = "#version: 0.2\n";
    for (int b = 0; b < 256; ++b) {
        vocabulary[byte_name(b) + "!"] = 256 + b;
        merges += byte_name(b) + " !\n";
    }
    f.write(vocabulary, merges);
    const tokenizer t(f.path());
    const auto joined = [&t](char32_t c) { return t.encode(utf8(c) + "!").back() >= 256; };

    for (const char32_t c :
         std::initializer_list<char32_t>{0x09,   0x0A,   0x0B,   0x0C,   0x0D,   0x85,   0xA0,   0x1680, 0x2000, 0x2001, 0x2002, 0x2003,
                                         0x2004, 0x2005, 0x2006, 0x2007, 0x2008, 0x2009, 0x200A, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}) {
        CAPTURE(static_cast<std::uint32_t>(c));
        CHECK_FALSE(joined(c));
    }
    CHECK(joined(' '));  // the one white space that punctuation takes along
    for (const char32_t c :
         std::initializer_list<char32_t>{0x00,   0x08,   0x0E,   0x1C,   0x1D,   0x1E,   0x1F,   0x7F,   0x84,   0x86,    0xAD,
                                         0x180E, 0x200B, 0x200C, 0x200D, 0x202A, 0x2060, 0x3001, 0xFEFF, 0xFFFD, 0x1F600, 0x10FFFF}) {
        CAPTURE(static_cast<std::uint32_t>(c));
        CHECK(joined(c));
    }
    for (const char32_t c : std::initializer_list<char32_t>{0x41, 0xAA, 0xB2, 0xBD, 0xE9, 0x130, 0x3A9, 0x5D0, 0x660, 0x967, 0x2167, 0x2460, 0x3042,
                                                            0x4E00, 0xAC00, 0x10348, 0x1D7D8}) {
        CAPTURE(static_cast<std::uint32_t>(c));
        CHECK_FALSE(joined(c));
    }
}

TEST_CASE("tokenizer: merges as a naive BPE does them") {
    // the definition: as long as there are mergeable neighbours, join all occurrences of the pair that comes first in merges.txt
    std::map<std::pair<std::string, std::string>, std::size_t> ranks;
    std::istringstream lines(slurp(model_folder / "merges.txt"));
    std::string left, right;
    std::getline(lines, left);
    while (lines >> left >> right) ranks.emplace(std::pair(left, right), ranks.size());
    REQUIRE(ranks.size() == 7935);

    const auto naive = [&ranks](const std::string& word) {
        std::vector<std::string> parts;
        for (const char c : word) parts.emplace_back(1, c);
        while (true) {
            auto best = ranks.end();
            for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
                const auto found = ranks.find({parts[i], parts[i + 1]});
                if (found != ranks.end() && (best == ranks.end() || found->second < best->second)) best = found;
            }
            if (best == ranks.end()) return parts;
            std::vector<std::string> joined;
            for (std::size_t i = 0; i < parts.size(); ++i) {
                const bool here = i + 1 < parts.size() && parts[i] == best->first.first && parts[i + 1] == best->first.second;
                joined.push_back(here ? parts[i] + parts[i + 1] : parts[i]);
                i += here ? 1 : 0;
            }
            parts = std::move(joined);
        }
    };

    std::mt19937 random(1);
    const std::string_view alphabets[] = {"a", "ab", "aeinst", "etaoinshrdlucmfwypvbgkjqxz", "TheInAa", "aaaaaaaabc"};
    for (int round = 0; round < 3000; ++round) {
        const std::string_view letters = alphabets[random() % std::size(alphabets)];
        std::string word(1 + random() % 40, ' ');
        for (char& c : word) c = letters[random() % letters.size()];
        std::vector<std::string> parts;
        for (const std::int32_t id : small().encode(word)) parts.emplace_back(small().token_bytes(id));
        CAPTURE(word);
        CHECK(parts == naive(word));
    }
}

TEST_CASE("tokenizer: any bytes come back") {
    std::string all;
    for (int b = 0; b < 256; ++b) all += static_cast<char>(b);
    check_round_trip(small(), all);

    std::mt19937 random(2);
    const std::string_view bits[] = {
        "word", " ",    "  ",       "\n",   "12",           "'s",       "\xE2\x80\x8D",     "\xF0\x9F\x98\x80", "\xF0\x9F",
        "\xC3", "\xA9", "\xC3\xA9", "\xFF", "\xED\xA0\x80", "\xC0\x80", "\xF4\x90\x80\x80", "\xE3\x80\x80",     "<|endoftext|>",
        "!"};
    for (int round = 0; round < 2000; ++round) {
        std::string bytes, mixed;
        for (std::size_t n = random() % 200; n > 0; --n) bytes += static_cast<char>(random());
        for (std::size_t n = random() % 40; n > 0; --n) mixed += bits[random() % std::size(bits)];
        check_round_trip(small(), bytes);
        check_round_trip(small(), mixed);
        CHECK(small().decode(small().encode(mixed, special_tokens::recognised)) == mixed);
    }
}

TEST_CASE("tokenizer: bytes that are not UTF-8 are pieces between texts") {
    const auto joined = [](std::initializer_list<std::string> pieces) {
        ids_t all;
        for (const std::string& piece : pieces) {
            const ids_t ids = small().encode(piece);
            all.insert(all.end(), ids.begin(), ids.end());
        }
        return all;
    };
    CHECK(small().encode("the\xFF\xFEword") == joined({"the", "\xFF\xFE", "word"}));
    CHECK(small().encode("the \xE2\x80") == joined({"the", " ", "\xE2\x80"}));              // cut at the end
    CHECK(small().encode("\xC0\x80 the") == joined({"\xC0\x80", " the"}));                  // overlong
    CHECK(small().encode("a\xED\xA0\x80z") == joined({"a", "\xED\xA0\x80", "z"}));          // surrogate
    CHECK(small().encode("a\xF4\x90\x80\x80z") == joined({"a", "\xF4\x90\x80\x80", "z"}));  // beyond U+10FFFF
    CHECK(small().encode(std::string_view("\0\0", 2)).size() == 2);
}

TEST_CASE("tokenizer: special tokens only when asked for") {
    const std::int32_t end = small().special("<|endoftext|>").value();
    CHECK(end == 8191);
    CHECK_FALSE(small().special("the").has_value());
    CHECK_FALSE(small().special("").has_value());
    CHECK(small().token_bytes(end) == "<|endoftext|>");

    const std::string text = "one<|endoftext|> two<|endoftext|><|end<|endoftext|>";
    const ids_t plain = small().encode(text);
    CHECK(std::count(plain.begin(), plain.end(), end) == 0);

    ids_t expected = small().encode("one");
    expected.push_back(end);
    for (const std::int32_t id : small().encode(" two")) expected.push_back(id);
    expected.push_back(end);
    for (const std::int32_t id : small().encode("<|end")) expected.push_back(id);
    expected.push_back(end);
    CHECK(small().encode(text, special_tokens::recognised) == expected);
    CHECK(small().decode(expected) == text);
    CHECK(small().encode("<|endoftext", special_tokens::recognised) == small().encode("<|endoftext"));
}

TEST_CASE("tokenizer: an id outside of the vocabulary") {
    CHECK_THROWS_AS(small().token_bytes(-1), std::out_of_range);
    CHECK_THROWS_AS(small().token_bytes(8192), std::out_of_range);
    CHECK_THROWS_AS(small().decode(ids_t{0, 1, 2'000'000'000}), std::out_of_range);
    CHECK_NOTHROW(small().token_bytes(8191));
}

TEST_CASE("tokenizer: time grows with the length, not with its square") {
    const auto repeated = [](std::string_view unit, std::size_t size) {
        std::string text;
        while (text.size() < size) text += unit;
        return text;
    };
    const auto seconds = [](const std::string& text, std::size_t times) {
        double best = 1e9;
        for (int run = 0; run < 2; ++run) {
            const std::clock_t start = std::clock();  // time of this process, not of others that share the cores
            std::size_t tokens = 0;
            for (std::size_t i = 0; i < times; ++i) tokens += small().encode(text, special_tokens::recognised).size();
            best = std::min(best, static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
            REQUIRE(tokens > 0);
        }
        return best;
    };
    std::mt19937 random(3);
    std::string letters;
    for (int i = 0; i < 997; ++i) letters += static_cast<char>('a' + random() % 26);

    for (const std::string& unit : {std::string("a"), std::string(" "), std::string("the"), letters, std::string("\n"), std::string("' "),
                                    std::string("!"), std::string("a "), std::string("\xC3\xA9"), std::string("\xFF"), std::string("\xF0\x9F"),
                                    std::string("a\xFF"), std::string("<|"), std::string("<|endoftext|>")}) {
        CAPTURE(unit.substr(0, 20));
        // As many bytes in one text as in 64: about 1, up to 4 where the long one leaves the caches; n^1.6 would give 12, n^2 64.
        const double ratio = seconds(repeated(unit, 1 << 20), 1) / seconds(repeated(unit, 1 << 14), 64);
        CHECK(ratio <= 11);
    }
}

TEST_CASE("tokenizer: files that are wrong, each with one clear line") {
    const folder f;
    const std::string good_merges = "#version: 0.2\nh e\n";
    auto good = byte_vocabulary();
    good["he"] = 256;
    f.write(good, good_merges);
    REQUIRE(load_error(f.path()) == "");
    CHECK(tokenizer(f.path()).encode("he h") == ids_t{256, ' ', 'h'});

    const auto expect = [&f](const std::string& file, const std::string& what) {
        const std::string message = load_error(f.path());
        CAPTURE(message);
        CHECK(message.find((f.path() / file).string() + ": ") == 0);
        CHECK(message.find(what) != std::string::npos);
        CHECK(std::all_of(message.begin(), message.end(), [](char c) { return c >= ' ' && c <= '~'; }));
        CHECK(message.size() < f.path().string().size() + 120);
    };
    const auto with = [&good](const std::string& token, const nlohmann::json& id) {
        auto vocabulary = good;
        vocabulary[token] = id;
        return vocabulary.dump();
    };

    SECTION("vocab.json") {
        const std::string whole = good.dump();
        const std::pair<std::string, const char*> cases[] = {
            {"", "byte offset 0: not an object"},
            {whole.substr(0, whole.size() / 2), "JSON, byte offset 1"},
            {whole + "x", "expected the end of the text"},
            {"\xFF\xFE{", "byte offset 0: not an object"},
            {"\xEF\xBB\xBF" + whole, "byte offset 0: not an object"},
            {"{\"\x80\": 0}", "byte offset 2: the string is not UTF-8"},
            {"{\"\x01\": 0}", "byte offset 2: a control character"},
            {"{\"a\": 1e999}", "byte offset 6: expected an integer"},
            {"[]", "not an object"},
            {std::string(1 << 20, '['), "not an object"},
            {"{\"a\": {\"b\": 0}}", "byte offset 6: expected a number, found an object"},
            {"{}", "no tokens"},
            {"null", "not an object"},
            {"7", "not an object"},
            {"{\"a\": 0, \"a\": 1}", "duplicate key \"a\""},
            {with("he", -1), "found -1"},
            {with("he", 257), "id 257 is outside 0..256"},
            {with("he", 18446744073709551615u), "is outside 0..256"},
            {with("he", 0), "duplicate id 0"},
            {with("he", "256"), "expected a number, found a string"},
            {with("he", nullptr), "expected a number, found null"},
            {with("he", 256.0), "found 256.0"},
            {with("he", true), "expected a number, found true or false"},
            {"{\"a\": 0}", "no token for the byte 0"},
        };
        for (const auto& [text, what] : cases) {
            f.write("vocab.json", text);
            expect("vocab.json", what);
        }
        fs::remove(f.path() / "vocab.json");
        expect("vocab.json", "cannot open: No such file");
        fs::create_directory(f.path() / "vocab.json");
        expect("vocab.json", "not a regular file");
    }

    SECTION("merges.txt") {
        const std::pair<std::string, const char*> cases[] = {
            {"#version: 0.2\nh e\nhe\n", "line 3: not two pieces"},
            {"h e h\n", "line 1: not two pieces"},
            {"h  e\n", "line 1: not two pieces"},
            {" he\n", "line 1: not two pieces"},
            {"he \n", "line 1: not two pieces"},
            {"h e\r\n\r\nh f\r\n", "line 3: the merged token is not in the vocabulary"},
            {"h e\nhe he\n", "line 2: the merged token is not in the vocabulary"},
            {"h \xFF\n", "line 1: the second piece is not in the vocabulary"},
            {std::string("h \0e\n", 5), "line 1: the second piece is not in the vocabulary"},
            {" \xC4\xA0he\n", "line 1: not two pieces"},
            {"h e\nh e\n", "line 2: repeats an earlier merge"},
            {"h " + std::string(1 << 20, 'e') + "\n", "line 1: the second piece"},
            {std::string(1 << 20, 'e') + "\n", "line 1: not two pieces"},
        };
        for (const auto& [text, what] : cases) {
            f.write("merges.txt", text);
            expect("merges.txt", what);
        }
        auto abc = good;
        abc["abc"] = 257;
        f.write(abc, "a bc\n");
        expect("merges.txt", "line 1: the second piece is not in the vocabulary");
        f.write(abc, "ab c\n");
        expect("merges.txt", "line 1: the first piece is not in the vocabulary");
        fs::remove(f.path() / "merges.txt");
        expect("merges.txt", "cannot open: No such file");
    }

    SECTION("legal variants") {
        for (const char* merges : {"h e", "h e\n", "#version: 0.2\r\nh e\r\n", "#version\n\nh e\n\n"}) {
            f.write("merges.txt", merges);
            CHECK(tokenizer(f.path()).encode("the") == ids_t{'t', 256});
        }
        f.write("merges.txt", "");
        CHECK(tokenizer(f.path()).encode("the") == ids_t{'t', 'h', 'e'});
        f.write("vocab.json", with(std::string(1 << 20, 'x'), 257));
        CHECK(tokenizer(f.path()).token_bytes(257).size() == 1 << 20);
        f.write("vocab.json", with("two words \xE4\xB8\x96", 257));  // an added token
        CHECK(tokenizer(f.path()).token_bytes(257) == "two words \xE4\xB8\x96");
    }
}

TEST_CASE("utf8_stream: whole characters only") {
    const auto stream = [](std::string_view bytes, std::size_t step) {
        utf8_stream s;
        std::string text;
        for (std::size_t i = 0; i < bytes.size(); i += step) text += s.push(bytes.substr(i, step));
        return text + s.finish();
    };

    SECTION("characters wait for their last byte") {
        utf8_stream s;
        CHECK(s.push("a\xF0\x9F") == "a");
        CHECK(s.push("\x98") == "");
        CHECK(s.push("\x80z") == "\xF0\x9F\x98\x80z");
        CHECK(s.finish() == "");
        CHECK(s.push("\xE2\x80") == "");
        CHECK(s.finish() == "\xEF\xBF\xBD");
        CHECK(s.finish() == "");
    }

    SECTION("what cannot be a character becomes U+FFFD, one for each maximal subpart") {
        const std::string r = "\xEF\xBF\xBD";
        const std::pair<std::string, std::string> cases[] = {
            // tables 3-8 to 3-11 of the Unicode standard
            {"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", r + r + r + r + r + r + r + r + "A"},
            {"\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", r + r + r + r + r + r + r + r + "A"},
            {"\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", r + r + r + r + r + "A" + r + r + "B"},
            {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", r + r + r + r + "A"},
            {"\xC2", r},
            {"\xC2\xC2\xA9", r + "\xC2\xA9"},
        };
        for (const auto& [bytes, text] : cases) {
            for (std::size_t step = 1; step <= bytes.size(); ++step) CHECK(stream(bytes, step) == text);
        }
    }

    SECTION("the text does not depend on the steps; valid text is unchanged") {
        std::mt19937 random(4);
        const char32_t kinds[] = {0x7F, 0x7FF, 0xFFFF, 0x10FFFF};
        for (int round = 0; round < 500; ++round) {
            std::string valid, noise;
            for (std::size_t n = random() % 30; n > 0; --n) {
                const auto c = static_cast<char32_t>(random() % (kinds[random() % 4] + 1));
                if (c < 0xD800 || c > 0xDFFF) valid += utf8(c);
            }
            for (std::size_t n = random() % 60; n > 0; --n) noise += static_cast<char>(random() % 3 ? 0x80 | random() % 128 : random());
            const std::string whole = stream(noise, noise.size() + 1);
            for (std::size_t step = 1; step < 6; ++step) {
                if (stream(valid, step) != valid) CHECK(stream(valid, step) == valid);
                if (stream(noise, step) != whole) CHECK(stream(noise, step) == whole);
            }
            CHECK(stream(whole, 1) == whole);  // so it is valid
        }
    }

    SECTION("a reply of the tokenizer, token by token") {
        const std::string text = "na\xC3\xAFve \xF0\x9F\x98\x80 \xE4\xB8\x96\xE7\x95\x8C";
        utf8_stream s;
        std::string shown;
        for (const std::int32_t id : small().encode(text)) {
            const std::string part = s.push(small().token_bytes(id));
            utf8_stream check;
            CHECK(check.push(part) == part);
            shown += part;
        }
        CHECK(shown + s.finish() == text);
    }
}
