// Frames of ARP and neighbour discovery that the router sends.
#pragma once

#include "dataplane/fastpath/pipeline_state.h"

namespace bulkhead {

/// Asks for `address` in the name of `own`, of the same family, whose MAC is `mac`: an ARP request (RFC 826),
/// or a neighbour solicitation to its solicited-node group (RFC 4861 §4.3). `owner`: only that station is
/// asked (RFC 1122 §2.3.2.1, RFC 4861 §7.3.3); nullptr: everybody. nullptr where memory is short.
rte_mbuf* make_solicitation(PipelineState& s, const MacAddress& mac, const IpAddress& own,
                            const IpAddress& address, const MacAddress* owner) noexcept;

/// Answers an ARP request or a neighbour solicitation for the port's own `address`.
rte_mbuf* make_arp_reply(PipelineState& s, const PortView& port, const IpAddress& address,
                         const IpAddress& asker, const MacAddress& asker_mac) noexcept;
rte_mbuf* make_advertisement(PipelineState& s, const PortView& port, const IpAddress& address,
                             const IpAddress& asker, const MacAddress& asker_mac) noexcept;

/// The port's address in the subnet of `other`, else its first of that family; nothing where it has none.
const IpAddress* own_address_for(const PortView& port, const IpAddress& other) noexcept;

/// fe80:: with the interface identifier made from the MAC (RFC 4291 §2.5.6, Appendix A).
IpAddress link_local_of(const MacAddress& mac) noexcept;

}  // namespace bulkhead
