// The SPIFFE Workload API's agent, as a client of it hears it.
#pragma once

#include "dataplane/fetcher/destinations.h"
#include "dataplane/fetcher/mailbox.h"

namespace bulkhead {

/// Puts into the mailbox whatever the agent says, for ever (SPIFFE Workload API §4.2, §5.2.1). One that
/// is away, or breaks off, is asked again after 100 ms, doubled each time up to 5 s until a stream lasts
/// longer, and nothing is put meanwhile; PermissionDenied withdraws all. Each reason is logged once in a row.
/// Thread: one of its own.
[[noreturn]] void follow_agent(const sockaddr_un& agent, Mailbox& mailbox);

}  // namespace bulkhead
