// What the agent said, on its way to the relay.
#pragma once

#include "dataplane/fetcher/destinations.h"
#include "dataplane/fetcher/mailbox.h"

namespace bulkhead {

/// Hands the latest to the relay, whenever there is something new or another relay, for ever; what came while
/// the relay read what was before it is the latest alone. A relay of
/// another user gets nothing. One that isn't there, or doesn't stay, is tried again after 100 ms, doubled
/// each time up to a second. Thread: one of its own.
[[noreturn]] void deliver(const sockaddr_un& relay, Mailbox& mailbox);

}  // namespace bulkhead
