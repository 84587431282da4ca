// Checks JSON against a schema: the part of JSON Schema 2020-12 that our schemas use; anything else in a schema is an error.
#pragma once
#include <algorithm>
#include <filesystem>
#include <map>
#include <regex>
#include <stdexcept>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "text.hpp"

class json_schema {
public:
    using json = nlohmann::ordered_json;

    explicit json_schema(const std::string& path)
        : folder_(std::filesystem::path(path).parent_path()), file_(std::filesystem::path(path).filename()) {}

    // What is wrong, one line each; empty: nothing.
    std::vector<std::string> problems(const json& value) {
        found_.clear();
        check(value, document(file_), file_, "");
        return found_;
    }

private:
    const json& document(const std::string& file) {
        json& j = documents_[file];
        if (j.is_null()) j = json::parse(text_of((folder_ / file).string()));
        return j;
    }
    void fail(const std::string& at, const std::string& what) { found_.push_back((at.empty() ? "/" : at) + ": " + what); }

    static bool has_type(const json& v, const std::string& type) {
        if (type == "integer") return v.is_number_integer();
        if (type == "number") return v.is_number();
        if (type == "string") return v.is_string();
        if (type == "boolean") return v.is_boolean();
        if (type == "array") return v.is_array();
        if (type == "object") return v.is_object();
        if (type == "null") return v.is_null();
        throw std::runtime_error("schema: unknown type " + type);
    }

    void check(const json& v, const json& schema, const std::string& file, const std::string& at) {
        for (const auto& [key, rule] : schema.items()) {
            if (key == "$ref") {
                const std::string ref = rule, target = ref.substr(0, ref.find('#'));
                const std::string in = target.empty() ? file : target;
                check(v, document(in).at(json::json_pointer(ref.substr(ref.find('#') + 1))), in, at);
            } else if (key == "type") {
                bool ok = false;
                for (const json& t : rule.is_array() ? rule : json::array({rule})) ok = ok || has_type(v, t);
                if (!ok) fail(at, "is " + v.dump().substr(0, 60) + ", not " + rule.dump());
            } else if (key == "enum") {
                if (std::find(rule.begin(), rule.end(), v) == rule.end()) fail(at, v.dump() + " is not one of " + rule.dump());
            } else if (key == "minimum") {
                if (v.is_number() && v.get<double>() < rule.get<double>()) fail(at, v.dump() + " is below " + rule.dump());
            } else if (key == "maximum") {
                if (v.is_number() && v.get<double>() > rule.get<double>()) fail(at, v.dump() + " is above " + rule.dump());
            } else if (key == "pattern") {
                if (v.is_string() && !std::regex_search(v.get<std::string>(), std::regex(rule.get<std::string>())))
                    fail(at, v.dump() + " does not match");
            } else if (key == "required") {
                for (const json& name : rule)
                    if (v.is_object() && !v.contains(name.get<std::string>())) fail(at, "misses " + name.dump());
            } else if (key == "properties") {
                for (const auto& [name, sub] : rule.items())
                    if (v.is_object() && v.contains(name)) check(v[name], sub, file, at + "/" + name);
            } else if (key == "additionalProperties") {
                if (rule != false) throw std::runtime_error("schema: additionalProperties must be false");
                if (!v.is_object()) continue;
                for (const auto& [name, ignored] : v.items())
                    if (!schema["properties"].contains(name)) fail(at, "has an unknown " + name);
            } else if (key == "items") {
                for (std::size_t i = 0; v.is_array() && i < v.size(); ++i) check(v[i], rule, file, at + "/" + std::to_string(i));
            } else if (key != "description" && key != "title" && key != "$schema" && key != "$defs") {
                throw std::runtime_error("schema: unknown keyword " + key);
            }
        }
    }

    std::filesystem::path folder_;
    std::string file_;
    std::map<std::string, json> documents_;
    std::vector<std::string> found_;
};
