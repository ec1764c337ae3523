// What the dataplane may still do once it runs.
//
// Workers, and DPDK's own thread, run without any capability. The main thread uses none either, but keeps in
// reserve what it takes to guard and open an interface that went away and came back, and to take the guard
// off at a clean stop:
//   CAP_NET_ADMIN          interfaces up, programs attached to them and taken off
//   CAP_NET_RAW            packet and AF_XDP sockets
//   CAP_BPF, CAP_PERFMON   loading the guard's programs
//   CAP_SYS_ADMIN          the kernel asks for it where a program or map is looked up by its id
//   CAP_IPC_LOCK           packet memory that the kernel pins
#pragma once

#include "base/error.h"

namespace bulkhead {

/// No exec of this process or its threads ever gains anything. Before threads are made.
Expected<> forbid_new_privileges();

/// The main thread and DPDK's own have no capability in effect afterwards. `keep_reserve`: whether the main
/// thread may raise the above again; else nothing can. Once, from the main thread, after EAL has started;
/// worker threads call drop_all_privileges() themselves. Errors: kSystem, kPermission; some thread may then
/// have more, and the gateway must not start.
Expected<> drop_privileges(bool keep_reserve);

/// Leaves the calling thread without any capability, for good.
Expected<> drop_all_privileges();

/// The reserve is in effect for the calling thread while this lives.
class RaisedPrivileges {
 public:
  RaisedPrivileges();
  ~RaisedPrivileges();
  RaisedPrivileges(const RaisedPrivileges&) = delete;
  RaisedPrivileges& operator=(const RaisedPrivileges&) = delete;
};

}  // namespace bulkhead
