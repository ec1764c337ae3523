// What the dataplane may still do once it runs.
//
// Workers, and DPDK's own thread, run without any capability, and nothing that could be started from here
// would get one. Where no port is an interface of the kernel's, the whole process stops being root as well.
//
// Elsewhere the main thread stays root's, since the lock file by which gateways tell whose an interface is
// belongs to root. It uses no capability, but keeps in reserve what it takes to guard and open an interface
// that went away and came back, and to take the guard off at a clean stop:
//   CAP_NET_ADMIN          interfaces up, programs attached to them and taken off
//   CAP_NET_RAW            packet and AF_XDP sockets
//   CAP_BPF, CAP_PERFMON   loading the guard's programs
//   CAP_SYS_ADMIN          the kernel asks for it where a program or map is looked up by its id
//   CAP_IPC_LOCK           packet memory that the kernel pins
#pragma once

#include <sys/types.h>

#include "base/error.h"

namespace bulkhead {

inline constexpr uid_t kNobody = 65534;

/// No exec of this process or its threads ever gains or keeps anything. Before threads are made.
Expected<> forbid_new_privileges();

/// All threads of this process, which is root's, are `user`'s afterwards, and have no capability; for good.
/// Before drop_privileges(). Errors: kPermission, kSystem; the gateway must not start then.
Expected<> become(uid_t user);

/// The main thread and DPDK's own have no capability in effect afterwards. `keep_reserve`: whether the main
/// thread may raise the above again; else nothing can. Once, from the main thread, after EAL has started;
/// worker threads call drop_all_privileges() themselves. Errors: kSystem, kPermission; some thread may then
/// have more, and the gateway must not start.
Expected<> drop_privileges(bool keep_reserve);

/// No process of the same user can read or change this one's memory from now on: where the dataplane isn't
/// root, the control plane runs as the same user. Once it is the user that it stays, since the kernel decides
/// anew where that changes (fs.suid_dumpable). It leaves no core file either. Errors: kSystem.
Expected<> forbid_inspection();

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
