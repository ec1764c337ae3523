// A segment's members from a CSV file, read as a stream: a million lines take well under a second.
#pragma once

#include <string>
#include <vector>

#include "config/policy.h"
#include "config/report.h"

namespace bulkhead {

/// Appends the members in the file `source` stands for, at most `room`. `file` is its index in Policy::files.
/// The first line names the columns, of prefix, port, vlan, mac, spiffe and workload; an empty field is one
/// that isn't set. Errors: reported; nothing is thrown. Lines that are wrong give no member.
void read_members_file(Source& source, uint32_t file, size_t room, std::vector<Member>& members);

}  // namespace bulkhead
