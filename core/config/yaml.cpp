#include "config/yaml.hpp"

#include <yaml-cpp/anchor.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <istream>
#include <optional>
#include <sstream>
#include <vector>

#include "base/crypto.hpp"

namespace roost::config {
namespace {

struct Refused {
  YAML::Mark mark;
  std::string why;
};

bool one_of(std::string_view text, std::initializer_list<std::string_view> values) {
  return std::find(values.begin(), values.end(), text) != values.end();
}

bool all_digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// A number by YAML 1.2, or nothing. A leading zero makes a text: 0755 means 493 to some and 755 to others.
std::optional<Json> number(const std::string& text, const YAML::Mark& mark) {
  const std::string_view unsigned_part = std::string_view(text).substr(text[0] == '-' || text[0] == '+' ? 1 : 0);
  if (all_digits(unsigned_part)) {
    if (unsigned_part.size() > 1 && unsigned_part[0] == '0') return std::nullopt;
    std::int64_t value = 0;
    const char* begin = text.data() + (text[0] == '+' ? 1 : 0);
    if (std::from_chars(begin, text.data() + text.size(), value).ec != std::errc()) {
      throw Refused{mark, "the number does not fit 64 bits"};
    }
    return Json(value);
  }
  const bool begins = !unsigned_part.empty() && unsigned_part[0] >= '0' && unsigned_part[0] <= '9';
  if (!begins || unsigned_part.find_first_not_of("0123456789.eE+-") != std::string_view::npos) return std::nullopt;
  double value = 0;
  const auto parsed = std::from_chars(text.data() + (text[0] == '+' ? 1 : 0), text.data() + text.size(), value);
  if (parsed.ptr != text.data() + text.size()) return std::nullopt;
  if (parsed.ec != std::errc() || !std::isfinite(value)) throw Refused{mark, "the number does not fit a double"};
  return Json(value);
}

Json plain_scalar(const std::string& text, const YAML::Mark& mark) {
  if (one_of(text, {"", "~", "null", "Null", "NULL"})) return {};
  if (one_of(text, {"true", "True", "TRUE"})) return Json(true);
  if (one_of(text, {"false", "False", "FALSE"})) return Json(false);
  if (auto value = number(text, mark)) return *value;
  return Json(text);
}

// Builds the tree from yaml-cpp's events. A value is put into its parent when it is complete.
class Builder : public YAML::EventHandler {
 public:
  Builder(std::string source, const YamlLimits& limits) : source_(std::move(source)), limits_(limits) {}

  YamlDocument take() { return std::move(document_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { scalar(mark, anchor, Json()); }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, const std::string& value) override {
    if (!valid_utf8(value) || value.find('\0') != std::string::npos) throw Refused{mark, "not valid UTF-8 text"};
    const bool wants_key = !stack_.empty() && stack_.back().value.is_object() && !stack_.back().has_key;
    if (wants_key) return begin_key(mark, tag, anchor, value);
    if (tag == "?" || tag.empty()) return scalar(mark, anchor, plain_scalar(value, mark));
    if (tag == "!" || tag == "tag:yaml.org,2002:str") return scalar(mark, anchor, Json(value));
    throw Refused{mark, "the tag " + tag.substr(0, 64) + " is not supported"};
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    refuse_as_key(mark);
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) throw Refused{mark, "an alias inside the value that it names"};
    count(mark, found->second.values);
    if (depth_here() + found->second.depth > limits_.depth) throw Refused{mark, too_deep()};
    add(mark, 0, found->second);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, Json::array());
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, Json::object());
  }
  void OnMapEnd() override { close(); }

 private:
  struct Sized {  // a complete value, with how many values it holds and how deep they are
    Json value;
    std::size_t values = 1;
    int depth = 0;
  };
  struct Frame {
    Json value;
    YAML::Mark mark;
    YAML::anchor_t anchor = 0;
    std::string pointer;
    std::string key;
    YAML::Mark key_mark;
    bool has_key = false;
    std::size_t values = 1;
    int depth = 1;
    std::vector<std::string> seen;  // sorted keys
  };

  int depth_here() const { return static_cast<int>(stack_.size()); }
  std::string too_deep() const { return "nested deeper than " + std::to_string(limits_.depth); }

  void count(const YAML::Mark& mark, std::size_t values) {
    total_ += values;
    if (total_ > limits_.values) throw Refused{mark, "more than " + std::to_string(limits_.values) + " values"};
  }

  void refuse_as_key(const YAML::Mark& mark) const {
    if (!stack_.empty() && stack_.back().value.is_object() && !stack_.back().has_key) {
      throw Refused{mark, "a key must be a plain or quoted text"};
    }
  }

  void begin_key(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, const std::string& key) {
    if (anchor != 0) throw Refused{mark, "a key cannot have an anchor"};
    if (key == "<<" && tag != "!") throw Refused{mark, "merge keys (<<) are not supported; write the keys out"};
    Frame& frame = stack_.back();
    if (frame.seen.size() >= limits_.keys) throw Refused{mark, "more than " + std::to_string(limits_.keys) + " keys in one map"};
    const auto place = std::lower_bound(frame.seen.begin(), frame.seen.end(), key);
    if (place != frame.seen.end() && *place == key) throw Refused{mark, "the key \"" + key.substr(0, 64) + "\" stands twice"};
    frame.seen.insert(place, key);
    frame.key = key;
    frame.key_mark = mark;
    frame.has_key = true;
  }

  void scalar(const YAML::Mark& mark, YAML::anchor_t anchor, Json value) {
    refuse_as_key(mark);
    count(mark, 1);
    add(mark, anchor, Sized{std::move(value), 1, 0});
  }

  std::string next_pointer() const {
    if (stack_.empty()) return "";
    const Frame& frame = stack_.back();
    return child_pointer(frame.pointer, frame.value.is_object() ? frame.key : std::to_string(frame.value.items().size()));
  }

  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, Json empty) {
    refuse_as_key(mark);
    if (tag != "?" && !tag.empty() && tag != "!" && tag != "tag:yaml.org,2002:map" && tag != "tag:yaml.org,2002:seq") {
      throw Refused{mark, "the tag " + tag.substr(0, 64) + " is not supported"};
    }
    if (depth_here() >= limits_.depth) throw Refused{mark, too_deep()};
    count(mark, 1);
    Frame frame;
    frame.value = std::move(empty);
    frame.mark = mark;
    frame.anchor = anchor;
    frame.pointer = next_pointer();
    stack_.push_back(std::move(frame));
  }

  void close() {
    Frame frame = std::move(stack_.back());
    stack_.pop_back();
    add(frame.mark, frame.anchor, Sized{std::move(frame.value), frame.values, frame.depth});
  }

  Position position(const YAML::Mark& mark) const { return {source_, mark.line + 1, mark.column + 1}; }

  void add(const YAML::Mark& mark, YAML::anchor_t anchor, Sized sized) {
    if (anchor != 0) anchors_[anchor] = sized;
    const bool keyed = !stack_.empty() && stack_.back().value.is_object();
    document_.positions.set(next_pointer(), position(mark), position(keyed ? stack_.back().key_mark : mark));
    if (stack_.empty()) {
      document_.value = std::move(sized.value);
      return;
    }
    Frame& parent = stack_.back();
    parent.values += sized.values;
    parent.depth = std::max(parent.depth, sized.depth + 1);
    if (keyed) {
      parent.value.set(parent.key, std::move(sized.value));
      parent.has_key = false;
    } else {
      parent.value.push(std::move(sized.value));
    }
  }

  const std::string source_;
  const YamlLimits limits_;
  YamlDocument document_;
  std::vector<Frame> stack_;
  std::map<YAML::anchor_t, Sized> anchors_;
  std::size_t total_ = 0;
};

Error at(const std::string& source, const YAML::Mark& mark, const std::string& why) {
  const Position position{source, mark.line + 1, mark.column + 1};
  return Error{Code::invalid, position.text() + ": " + why, 0};
}

}  // namespace

std::string Position::text() const {
  if (line <= 0) return source;
  return source + ":" + std::to_string(line) + ":" + std::to_string(column);
}

void Positions::set(const std::string& pointer, Position value, Position key) {
  entries_[pointer] = Entry{std::move(value), std::move(key)};
}

void Positions::erase_below(const std::string& pointer) {
  entries_.erase(pointer);
  const std::string prefix = pointer + "/";
  auto first = entries_.lower_bound(prefix);
  auto last = first;
  while (last != entries_.end() && last->first.compare(0, prefix.size(), prefix) == 0) ++last;
  entries_.erase(first, last);
}

const Positions::Entry* Positions::nearest(std::string_view pointer) const {
  for (;;) {
    if (const auto found = entries_.find(pointer); found != entries_.end()) return &found->second;
    const auto slash = pointer.rfind('/');
    if (slash == std::string_view::npos) return nullptr;
    pointer = pointer.substr(0, slash);
  }
}

Position Positions::value(std::string_view pointer) const {
  const Entry* entry = nearest(pointer);
  return entry ? entry->value : Position{};
}

Position Positions::key(std::string_view pointer) const {
  const Entry* entry = nearest(pointer);
  return entry ? entry->key : Position{};
}

Result<YamlDocument> parse_yaml(std::string_view text, const std::string& source, const YamlLimits& limits) {
  if (text.size() > limits.bytes) {
    return Error{Code::invalid, source + ": larger than " + std::to_string(limits.bytes) + " bytes", 0};
  }
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    Builder builder(source, limits);
    if (parser.HandleNextDocument(builder)) {
      Builder second(source, limits);
      if (parser.HandleNextDocument(second)) return Error{Code::invalid, source + ": more than one document", 0};
    }
    return builder.take();
  } catch (const Refused& refused) {
    return at(source, refused.mark, refused.why);
  } catch (const YAML::Exception& e) {
    return at(source, e.mark, e.msg);
  } catch (const std::exception& e) {
    return Error{Code::invalid, source + ": " + e.what(), 0};
  }
}

std::string child_pointer(std::string_view pointer, std::string_view segment) {
  std::string out(pointer);
  out += '/';
  for (const char c : segment) {
    if (c == '~')
      out += "~0";
    else if (c == '/')
      out += "~1";
    else
      out += c;
  }
  return out;
}

}  // namespace roost::config
