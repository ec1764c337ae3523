#include "dataplane/fetcher/mailbox.h"

#include <sys/eventfd.h>

#include <cerrno>

namespace bulkhead {

Expected<std::unique_ptr<Mailbox>> Mailbox::create() {
  auto mailbox = std::make_unique<Mailbox>();
  mailbox->event_ = Fd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!mailbox->event_) return fail_errno(errno, "eventfd");
  return mailbox;
}

void Mailbox::put(std::shared_ptr<const std::string> response) {
  std::lock_guard lock(mutex_);
  if (!response && latest_.number != 0 && !latest_.response) return;
  latest_ = {latest_.number + 1, std::move(response)};
  eventfd_write(event_.get(), 1);
}

Mailbox::Item Mailbox::latest() {
  std::lock_guard lock(mutex_);
  return latest_;
}

void Mailbox::take_notice() {
  eventfd_t count;
  eventfd_read(event_.get(), &count);
}

}  // namespace bulkhead
