#include "archive/lookup.hpp"

#include <algorithm>

namespace roost {
namespace {

constexpr std::uint64_t kHeaderSlack =
    64;  // a local header beside its name, with the extra fields that Roost writes, and a descriptor

Error disagrees(const std::string& what) { return Error{Code::data_loss, "the archive is damaged: " + what, 0}; }

}  // namespace

// ---- the walk -----------------------------------------------------------------------------------------------------------

std::optional<ByteRange> ManifestWalk::wanted() const {
  if (done_) return std::nullopt;
  return manifest_ ? manifest_->wanted() : layout_range(size_);
}

Status ManifestWalk::feed(std::string_view bytes) {
  if (manifest_) {
    ROOST_CHECK(manifest_->feed(bytes));
    return advance();
  }
  ROOST_TRY(layout_, read_layout(size_, bytes));
  manifest_ = std::make_unique<ManifestReading>(*layout_);
  return {};
}

Status ManifestWalk::advance() {
  for (;;) {
    ROOST_TRY(const auto line, manifest_->next());
    if (!line) return {};
    ROOST_TRY(const bool more, take(*line, manifest_->text()));
    if (more && !manifest_->ended()) continue;
    done_ = true;
    return finish();
  }
}

// ---- one entry ----------------------------------------------------------------------------------------------------------

std::optional<ByteRange> EntryLookup::wanted() const {
  if (zip_) return std::nullopt;
  return directory_ ? directory_->wanted() : ManifestWalk::wanted();
}

Status EntryLookup::feed(std::string_view bytes) {
  if (!directory_) return ManifestWalk::feed(bytes);
  ROOST_CHECK(directory_->feed(bytes));
  return search();
}

Result<bool> EntryLookup::take(const ManifestLine& line, const std::string&) {
  const auto* entry = std::get_if<ManifestEntry>(&line);
  if (entry == nullptr || entry->abandoned > 0 || entry->path != path_) return true;
  line_ = *entry;
  return false;
}

Status EntryLookup::finish() {
  if (!line_) return {};
  name_ = line_->type == EntryType::directory ? path_ + "/" : path_;
  directory_ = std::make_unique<DirectoryReading>(layout());
  return {};
}

Status EntryLookup::search() {
  for (;;) {
    ROOST_TRY(auto entry, directory_->next());
    if (!entry) {
      if (directory_->ended()) return disagrees("its central directory lacks \"" + escape_path(path_) + "\"");
      return {};
    }
    if (entry->name != name_) continue;
    if (entry->size != static_cast<std::uint64_t>(line_->size))
      return disagrees("\"" + escape_path(path_) + "\" has another size in its manifest");
    limit_ = std::min(layout().comment.manifest_offset, entry->offset + kHeaderSlack + name_.size() + entry->stored_size);
    zip_ = std::move(entry);
    return {};
  }
}

std::unique_ptr<EntryReading> EntryLookup::contents() const {
  return std::make_unique<EntryReading>(zip_->offset, limit_, name_, zip_->stored_size);
}

// ---- a list -------------------------------------------------------------------------------------------------------------

Result<bool> FileListing::take(const ManifestLine& line, const std::string&) {
  const auto* entry = std::get_if<ManifestEntry>(&line);
  if (entry == nullptr || entry->abandoned > 0) return true;
  if (seen_++ < query_.skip || !entry->path.starts_with(query_.prefix)) return true;
  if (files_.size() >= query_.limit || path_bytes_ >= query_.path_bytes) {  // one more than the page holds
    next_skip_ = seen_ - 1;
    return false;
  }
  path_bytes_ += entry->path.size();
  files_.push_back(*entry);
  return true;
}

// ---- the sums -----------------------------------------------------------------------------------------------------------

Result<bool> ManifestSummary::take(const ManifestLine& line, const std::string& text) {
  tree_.update(text);
  if (const auto* header = std::get_if<ManifestHeader>(&line)) {
    receipt_.backup_id = header->backup_id;
    receipt_.archive = header->archive;
    receipt_.session_id = header->session_id;
    receipt_.operation_id = header->operation_id;
    receipt_.volume_uid = header->volume_uid;
    receipt_.made_at_us = header->made_at_us;
    receipt_.live = header->live;
    receipt_.exclusions = header->exclusions;
    user_id_ = header->user_id;
  } else if (const auto* skip = std::get_if<ManifestSkip>(&line)) {
    ++counted_.skipped;
    count_skip(receipt_.skipped, *skip);
  } else if (const auto* entry = std::get_if<ManifestEntry>(&line)) {
    if (entry->abandoned > 0) return true;
    ++counted_.files;
    if (entry->type == EntryType::file) counted_.bytes += entry->size;
  } else {
    said_ = std::get<ManifestEnd>(line);
  }
  return true;
}

Status ManifestSummary::finish() {
  if (said_ != counted_) return disagrees("its manifest counts other numbers than it lists");
  receipt_.files = counted_.files;
  receipt_.bytes = counted_.bytes;
  receipt_.archive_bytes = static_cast<std::int64_t>(size_);
  receipt_.tree_hash = to_hex(tree_.finish());
  receipt_.empty_volume = nothing_to_save(counted_.files, receipt_.skipped);
  return {};
}

}  // namespace roost
