#include <algorithm>
#include <filesystem>
#include <new>

#include "config/policy_reader.h"
#include "config/read_file.h"

namespace bulkhead {
namespace {

struct PolicyFile {
  Source source;
  yaml::Node root;
};

/// The policy's files while they are read, in order of name.
class PolicyLoader {
 public:
  explicit PolicyLoader(WallTime now) : now_(now) {}
  Report& report() { return report_; }

  void add_unreadable(const std::string& name, Error why) {
    report_.unreadable({name, 0, 0}, std::move(why));
    complete_ = false;
  }
  void add(const std::string& name, std::string_view text) {
    bool had_room = bytes_ <= kMaxPolicyBytes;
    bytes_ += text.size();
    if (bytes_ > kMaxPolicyBytes) {
      complete_ = false;
      if (!had_room) return;
      return report_.error(
          {name, 0, 0},
          "with this file the policy has more than 64 MiB of YAML, and the rest isn't read; put "
          "endpoints into a members_file, or several rules into one with lists or labels");
    }
    yaml::Document document = yaml::parse(text);
    Source source(report_, name);
    ErrorCode code = document.no_memory ? ErrorCode::kExhausted : ErrorCode::kInvalid;
    for (yaml::Problem& problem : document.problems)
      report_.unreadable(source.at(problem.mark), {code, std::move(problem.message)});
    if (!document.problems.empty() && document.root.kind == yaml::Kind::kNull) complete_ = false;
    policy_.files.push_back(name);
    files_.push_back({std::move(source), std::move(document.root)});
  }

  /// The files so far, for who ends without finish().
  std::vector<std::string> take_files() { return std::move(policy_.files); }

  LoadedPolicy finish() {
    for (PolicyFile& file : files_) check_keys(file);
    SegmentReader segments(policy_, report_);
    for (size_t i = 0; i < files_.size(); ++i)
      if (const yaml::Node* node = value_of(files_[i], "segments"))
        segments.read(*node, files_[i].source, static_cast<uint32_t>(i));
    segments.finish();
    SegmentNames names(policy_, complete_);
    RuleReader rules(policy_, names, now_);
    for (PolicyFile& file : files_)
      if (const yaml::Node* node = value_of(file, "policies")) rules.read_rules(*node, file.source);
    for (PolicyFile& file : files_)
      if (const yaml::Node* node = value_of(file, "tests")) rules.read_tests(*node, file.source);
    LoadedPolicy loaded;
    loaded.diagnostics = report_.finish();
    loaded.files = policy_.files;
    loaded.machine_short = report_.machine_short();
    if (!report_.has_errors()) loaded.policy = std::move(policy_);
    return loaded;
  }

 private:
  static const yaml::Node* value_of(const PolicyFile& file, std::string_view key) {
    const yaml::Node* node = file.root.find(key);
    return node != nullptr && node->kind != yaml::Kind::kNull ? node : nullptr;
  }

  static void check_keys(PolicyFile& file) {
    if (file.root.kind == yaml::Kind::kNull) return;  // an empty file, or one whose error is told already
    if (file.root.find("gateway") != nullptr)
      return file.source.error(file.root.mark,
                               "this is a gateway's configuration, not policy; move it out of the "
                               "policy's directory");
    Fields fields(file.root, file.source, "a policy file");
    for (std::string_view key : {"segments", "policies", "tests"}) fields.find(key);
    fields.done();
  }

  WallTime now_;
  Report report_;
  Policy policy_;
  std::vector<PolicyFile> files_;
  size_t bytes_ = 0;      ///< of YAML
  bool complete_ = true;  ///< every file could be read
};

/// The policy files at `path`, in order of name.
std::vector<std::string> policy_files(const std::string& path, Report& report) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (!fs::is_directory(path, error)) return {path};
  std::vector<std::string> files;
  auto read = read_names(path, [&](std::string_view name) {
    if (is_policy_file_name(name)) files.push_back((fs::path(path) / name).string());
    if (name.ends_with(".yml") && !name.starts_with('.'))
      report.warning({(fs::path(path) / name).string(), 0, 0}, "this isn't read; rename it to end in .yaml");
    return files.size() <= kMaxPolicyFiles;
  });
  if (!read) report.unreadable({path, 0, 0}, read.error());
  if (files.size() > kMaxPolicyFiles) {
    report.error({path, 0, 0},
                 "there are more than 65,536 *.yaml here, and none is read; put several into one");
    return {};
  }
  if (files.empty() && read) report.warning({path, 0, 0}, "there is no *.yaml here, so the policy is empty");
  std::ranges::sort(files);
  return files;
}

/// The policy that `add_files` gives a loader. `path`: what is named where memory runs out.
template <class AddFiles>
LoadedPolicy load_with(WallTime now, const std::string& path, AddFiles add_files) {
  std::optional<PolicyLoader> loader(now);
  try {
    add_files(*loader);
    return loader->finish();
  } catch (const std::bad_alloc&) {
    LoadedPolicy failed;
    failed.files = loader->take_files();
    failed.machine_short = true;
    loader.reset();  // what was read makes room for saying so
    failed.diagnostics.push_back(
        {Severity::kError,
         {path, 0, 0},
         "memory ran out while the policy was read; give this process more, or make the "
         "policy smaller"});
    return failed;
  }
}

}  // namespace

bool is_policy_file_name(std::string_view name) {
  return name.ends_with(".yaml") && !name.starts_with('.');
}

LoadedPolicy load_policy(const std::string& path, WallTime now) {
  return load_with(now, path, [&](PolicyLoader& loader) {
    for (const std::string& file : policy_files(path, loader.report())) {
      auto text = read_file(file, yaml::kMaxFileBytes);
      if (text) {
        loader.add(file, *text);
      } else {
        loader.add_unreadable(file, std::move(text.error()));
      }
    }
  });
}

LoadedPolicy load_policy_text(const std::vector<std::pair<std::string, std::string>>& files, WallTime now) {
  return load_with(now, files.empty() ? "policy" : files[0].first, [&](PolicyLoader& loader) {
    std::vector<const std::pair<std::string, std::string>*> in_order;
    for (const auto& file : files) in_order.push_back(&file);
    std::ranges::sort(in_order, {},
                      [](const auto* file) { return std::pair(std::string_view(file->first), file); });
    for (const auto* file : in_order) loader.add(file->first, file->second);
  });
}

}  // namespace bulkhead
