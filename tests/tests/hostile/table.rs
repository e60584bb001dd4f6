//! The attacks. Each is a test between functions, between tenants, and, where something is left in the
//! namespace itself, within one function.

use anyhow::{Context as _, Result};
use repoint_tests::hostile::Rights;

use crate::attack::{
    ADMIN, ADMIN_RAW, Attack, BPF, BPF_SYS, RAW, ROOT, Reach, SYS, Step,
    Who::{Accomplice as B, Attacker as A, Outside as O},
};

macro_rules! attacks {
    ($($reach:ident $name:ident { $($fields:tt)* })*) => {
        /// Every attack.
        pub(crate) static ALL: &[Attack] = &[$(Attack {
            name: stringify!($name),
            reach: Reach::$reach,
            $($fields)*
            ..Attack::BASE
        }),*];

        /// Scope `function`: the next owners are another tenant's function of the same name, another
        /// function of the same tenant, and nobody in particular.
        mod between_functions {
            $(#[test]
            fn $name() -> super::Result<()> {
                crate::across::play(super::find(stringify!($name))?, "function")
            })*
        }

        /// Scope `tenant`: the same without the tenant's other function.
        mod between_tenants {
            $(#[test]
            fn $name() -> super::Result<()> {
                crate::across::play(super::find(stringify!($name))?, "tenant")
            })*
        }

        /// The next owner is the same function.
        mod within_a_function {
            $(attacks!(@within $reach $name);)*
        }
    };
    (@within Both $name:ident) => {
        #[test]
        fn $name() -> super::Result<()> {
            crate::within::play(super::find(stringify!($name))?)
        }
    };
    (@within Across $name:ident) => {};
}

/// The attack of a name.
pub(crate) fn find(name: &str) -> Result<&'static Attack> {
    ALL.iter().find(|attack| attack.name == name).with_context(|| format!("no attack {name}"))
}

attacks! {
    Across kept_namespace_descriptor {
        what: "opens its namespace's file and passes it to another container, which enters it",
        rights: SYS,
        accomplice: Some(SYS),
        prepare: &[
            Step(A, "keep-netns home"), Step(A, "give home"), Step(B, "receive home"),
        ],
        strike: &[
            Step(B, "enter home"), Step(B, "packet tap eth0"), Step(B, "spoof tap {lies}"),
            Step(B, "shell ip address add {next4}/32 dev eth0; ip link set eth0 down"),
        ],
    }
    Across kept_descriptor_without_rights {
        what: "an unprivileged process passes its namespace's file to one that may enter it",
        rights: Rights::NONE,
        accomplice: Some(SYS),
        prepare: &[
            Step(A, "keep-netns home"), Step(A, "give home"), Step(B, "receive home"),
        ],
        strike: &[
            Step(B, "enter home"), Step(B, "packet tap eth0"), Step(B, "spoof tap {lies}"),
        ],
    }
    Both accomplice_that_entered_before {
        what: "another container's process is in the namespace before DEL, and stays",
        rights: SYS,
        accomplice: Some(SYS),
        occupies: true,
        prepare: &[
            Step(A, "keep-netns home"), Step(A, "give home"), Step(B, "receive home"),
            Step(B, "enter home"), Step(B, "packet tap eth0"),
        ],
        strike: &[
            Step(B, "spoof tap {lies}"), Step(B, "shell ip address add {next4}/32 dev eth0"),
        ],
    }
    Both process_that_stays {
        what: "a process stays inside after DEL, sends in the next owner's name and listens",
        rights: ADMIN_RAW,
        occupies: true,
        stays: true,
        prepare: &[Step(A, "packet tap eth0")],
        strike: &[
            Step(A, "spoof tap {lies}"),
            Step(A, "shell ip address add {next4}/32 dev eth0; ip link set eth0 promisc on"),
            Step(A, "spoof tap {lies}"),
        ],
    }
    Across unprivileged_process_that_stays {
        what: "a process without any right stays inside after DEL",
        rights: Rights::NONE,
        occupies: true,
        stays: true,
        prepare: &[Step(A, "tcp-hold 7777")],
    }
    Both hidden_process {
        what: "a process that cannot be traced (not dumpable) stays inside",
        rights: Rights::NONE,
        occupies: true,
        stays: true,
        prepare: &[Step(A, "hide")],
    }
    Both process_name_that_is_no_text {
        what: "a process whose name is not UTF-8, and looks like a status line, stays inside",
        rights: Rights::NONE,
        occupies: true,
        stays: true,
        prepare: &[Step(A, "name-without-utf8")],
    }
    Across namespace_id_assigned_elsewhere {
        what: "gives the namespace an id in another namespace, by which its links are reached",
        accomplice: Some(SYS),
        prepare: &[
            Step(A, "keep-netns home"), Step(A, "give home"), Step(B, "receive home"),
            Step(B, "nsid home 77"), Step(B, "drop home"),
            // Otherwise nothing would be shown.
            Step(B, "shell ip link add try0 link-netnsid 77 link if2 type macvlan mode bridge
                ip link del try0"),
        ],
        strike: &[
            Step(B, "shell ip link add mv0 link-netnsid 77 link if2 type macvlan mode passthru
                ip link set mv0 up"),
            Step(B, "packet tap mv0"), Step(B, "spoof tap {lies}"),
            Step(B, "nsid-delete 77 eth0"),
        ],
    }
    Both macvlan_moved_away_while_down {
        what: "makes a macvlan (passthru) on eth0 and moves it, down, to the accomplice's namespace",
        accomplice: Some(SYS),
        prepare: &[
            Step(B, "keep-netns home"), Step(B, "give home"), Step(A, "receive peer"),
            Step(A, "shell ip link add mv0 link eth0 type macvlan mode passthru
                ip link set mv0 netns $FD_peer"),
        ],
        strike: &[
            Step(B, "shell ip link set mv0 up"), Step(B, "packet tap mv0"),
            Step(B, "spoof tap {lies}"),
        ],
    }
    Both vxlan_moved_away_while_down {
        what: "makes a vxlan that sends by eth0 and moves it to the accomplice's namespace",
        accomplice: Some(SYS),
        prepare: &[
            Step(B, "keep-netns home"), Step(B, "give home"), Step(A, "receive peer"),
            Step(A, "shell ip link add vx0 type vxlan id 7 dev eth0 remote {peer4} dstport 4789
                ip link set vx0 netns $FD_peer"),
        ],
        strike: &[
            Step(B, "shell ip link set vx0 up"), Step(B, "packet tap vx0"),
            Step(B, "spoof tap {lies}"),
        ],
    }
    Both ipvlan_moved_away_while_down {
        what: "makes an ipvlan on eth0 and moves it to the accomplice's namespace",
        accomplice: Some(SYS),
        prepare: &[
            Step(B, "keep-netns home"), Step(B, "give home"), Step(A, "receive peer"),
            Step(A, "shell ip link add iv0 link eth0 type ipvlan mode l2
                ip link set iv0 netns $FD_peer"),
        ],
        strike: &[
            Step(B, "shell ip link set iv0 up"), Step(B, "packet tap iv0"),
            Step(B, "spoof tap {lies}"),
        ],
    }
    Both veth_into_another_container {
        what: "makes a veth pair with one end in the accomplice's namespace",
        accomplice: Some(SYS),
        prepare: &[
            Step(B, "keep-netns home"), Step(B, "give home"), Step(A, "receive peer"),
            Step(A, "shell ip link add left0 type veth peer name right0 netns $FD_peer
                ip address add 192.0.2.1/24 dev left0; ip link set left0 up
                ip route add {outside4} via 192.0.2.2 dev left0"),
            Step(B, "shell ip address add 192.0.2.2/24 dev right0; ip link set right0 up"),
        ],
        strike: &[Step(B, "packet tap right0"), Step(B, "spoof tap {lies}")],
    }
    Both substitute_for_eth0 {
        what: "moves eth0 to the accomplice and puts a veth of that name, addresses and MAC there",
        accomplice: Some(SYS),
        prepare: &[
            Step(B, "keep-netns home"), Step(B, "give home"), Step(A, "receive peer"),
            Step(A, "shell ip link set eth0 down; ip link set eth0 name real0
                ip link set real0 netns $FD_peer
                ip link add eth0 address {ownmac} type veth peer name sub0
                ip link set sub0 netns $FD_peer
                ip link set eth0 addrgenmode none up
                ip address add {own4}/24 dev eth0; ip address add {own6}/64 dev eth0 nodad
                ip neighbour add 169.254.1.1 lladdr {gateway} dev eth0 nud permanent
                ip neighbour add fe80::1 lladdr {gateway} dev eth0 nud permanent
                ip route add default via 169.254.1.1 dev eth0 onlink
                ip -6 route add default via fe80::1 dev eth0"),
            Step(B, "shell ip link set real0 up; ip link set sub0 up"),
            Step(B, "packet tap sub0"),
        ],
        strike: &[
            Step(B, "spoof tap {lies}"), Step(B, "packet real real0"),
            Step(B, "spoof real {lies}"),
        ],
    }
    Both eth0_moved_away {
        what: "moves eth0 to the accomplice's namespace",
        accomplice: Some(SYS),
        prepare: &[
            Step(B, "keep-netns home"), Step(B, "give home"), Step(A, "receive peer"),
            Step(A, "shell ip link set eth0 down; ip link set eth0 name real0
                ip link set real0 netns $FD_peer"),
            Step(B, "shell ip link set real0 up"), Step(B, "packet real real0"),
        ],
        strike: &[Step(B, "spoof real {lies}")],
    }
    Both eth0_deleted {
        what: "deletes eth0",
        prepare: &[Step(A, "shell ip link del eth0")],
    }
    Both tap_device_held_elsewhere {
        what: "makes a tap device whose descriptor the accomplice holds, with a route by it",
        accomplice: Some(ADMIN),
        occupies: true,
        prepare: &[
            Step(A, "tun tap-held tap0 tap"),
            Step(A, "shell ip address add 192.0.2.1/24 dev tap0; ip link set tap0 up
                ip neighbour add 192.0.2.2 lladdr 02:00:00:00:00:02 dev tap0 nud permanent
                ip route add {outside4} via 192.0.2.2"),
            Step(A, "give tap-held"), Step(B, "receive tap-held"),
        ],
        strike: &[Step(B, "write-frame tap-held")],
    }
    Both tun_device_that_persists {
        what: "leaves a tun device that needs no process",
        prepare: &[Step(A, "shell ip tuntap add dev tun0 mode tun
            ip address add 192.0.2.1/24 dev tun0; ip link set tun0 up")],
    }
    Both packet_socket_kept_open {
        what: "passes a packet socket to another container, which listens and sends by it",
        rights: RAW,
        accomplice: Some(ROOT),
        occupies: true,
        prepare: &[
            Step(A, "packet tap eth0"), Step(A, "give tap tap-out"),
            Step(B, "receive tap tap-out"),
        ],
        strike: &[Step(B, "spoof tap {lies}")],
    }
    Across socket_bound_to_the_interface {
        what: "passes a connected UDP socket (SO_BINDTODEVICE) to another container, which sends",
        rights: RAW,
        accomplice: Some(Rights::NONE),
        occupies: true,
        prepare: &[
            Step(A, "bind-device line eth0 {peer4} 9"), Step(A, "bind-device line6 eth0 {peer6} 9"),
            Step(A, "give line line6"), Step(B, "receive line line6"),
        ],
        strike: &[Step(B, "send line"), Step(B, "send line6")],
    }
    Both express_program_on_eth0 {
        what: "attaches an XDP program that drops everything to eth0",
        rights: BPF,
        prepare: &[
            Step(A, "object /run/hostile-xdp.o xdp 1"),
            Step(A, "shell ip link set dev eth0 xdpgeneric object /run/hostile-xdp.o section xdp"),
        ],
    }
    Both classifier_on_eth0 {
        what: "attaches an eBPF classifier that drops everything to eth0, with a clsact",
        rights: BPF,
        prepare: &[
            Step(A, "object /run/hostile-tc.o classifier 2"),
            Step(A, "shell tc qdisc add dev eth0 clsact
                tc filter add dev eth0 ingress bpf da object-file /run/hostile-tc.o section classifier
                tc filter add dev eth0 egress bpf da object-file /run/hostile-tc.o section classifier"),
        ],
    }
    Both flow_dissector_of_the_namespace {
        what: "attaches a flow dissector program to the namespace",
        rights: BPF_SYS,
        prepare: &[
            Step(A, "object /run/hostile-flow.o flow_dissector 0"),
            Step(A, "shell unshare --mount sh -ec 'mount -t bpf none /mnt
                bpftool prog load /run/hostile-flow.o /mnt/flow type flow_dissector
                bpftool prog attach pinned /mnt/flow flow_dissector'"),
        ],
    }
    Both classic_filter_program {
        what: "attaches a classic BPF filter that drops everything, for which CAP_NET_ADMIN is enough",
        prepare: &[Step(A, "shell tc qdisc add dev eth0 clsact
            tc filter add dev eth0 ingress bpf da bytecode '1,6 0 0 2'
            tc filter add dev eth0 egress bpf da bytecode '1,6 0 0 2'")],
    }
    Across flood_of_arp_and_ndp_claims {
        what: "claims the node's addresses by ARP and NDP a thousand times a second, before and after DEL",
        rights: RAW,
        occupies: true,
        stays: true,
        prepare: &[Step(A, "packet tap eth0"), Step(A, "flood tap {ownlies}")],
        strike: &[Step(A, "flood tap {lies}")],
    }
    Across flood_from_another_container {
        what: "another container floods in the name of the attacker's address, which goes to the next owner",
        rights: Rights::NONE,
        accomplice: Some(ADMIN_RAW),
        prepare: &[
            Step(B, "packet tap eth0"), Step(B, "flood tap {ownlies}"),
        ],
        strike: &[Step(B, "flood tap {lies}")],
    }
    Across address_claimed_by_another_container {
        what: "another container adds the attacker's addresses as its own second ones",
        rights: Rights::NONE,
        accomplice: Some(ADMIN_RAW),
        prepare: &[
            Step(B, "shell ip address add {own4}/32 dev eth0
                ip address add {own6}/128 dev eth0 nodad"),
            Step(B, "packet tap eth0"),
        ],
        strike: &[
            Step(B, "shell ip address replace {next4}/32 dev eth0
                ip address replace {next6}/128 dev eth0 nodad"),
            Step(B, "spoof tap {lies}"),
        ],
    }
    Across udp_mapping_kept_alive_by_a_peer {
        what: "a peer outside keeps the node's masquerade mapping of the address alive (IPv4)",
        rights: Rights::NONE,
        prepare: &[Step(O, "udp-beat 4000"), Step(A, "udp-send line {outside4} 4000")],
    }
    Across udp_mapping_of_ipv6_kept_alive_by_a_peer {
        what: "a peer outside keeps the node's masquerade mapping of the address alive (IPv6)",
        rights: Rights::NONE,
        prepare: &[Step(O, "udp-beat 4000"), Step(A, "udp-send line {outside6} 4000")],
    }
    Across tcp_connection_kept_by_a_peer {
        what: "a peer outside keeps sending over the attacker's connections, both families",
        rights: Rights::NONE,
        prepare: &[
            Step(O, "tcp-hold 4001"), Step(A, "tcp-connect line {outside4} 4001"),
            Step(A, "tcp-connect line6 {outside6} 4001"),
        ],
    }
    Across tcp_connection_kept_by_a_container {
        what: "another container keeps a connection to a server of the attacker's that never closed it",
        rights: Rights::NONE,
        accomplice: Some(Rights::NONE),
        stays: true,
        occupies: true,
        prepare: &[Step(A, "tcp-hold 7777"), Step(B, "tcp-connect line {own4} 7777")],
    }
    Both chosen_fast_open_key {
        what: "sets the key of TCP fast open",
        prepare: &[Step(A, "shell sysctl -qw \
            net.ipv4.tcp_fastopen_key=0badc0de-0badc0de-0badc0de-0badc0de")],
    }
    Both fast_open_key_made_by_listening {
        what: "an unprivileged listener makes the kernel draw the namespace's TCP fast open key",
        rights: Rights::NONE,
        prepare: &[Step(A, "fast-open 7778")],
    }
    Both exclusive_flow_label {
        what: "takes an IPv6 flow label for itself, which lingers for a minute",
        rights: Rights::NONE,
        prepare: &[Step(A, "flow-label")],
    }
    Both changed_sysctls {
        what: "sets sysctls of every kind",
        prepare: &[Step(A, "shell sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=2 \
            net.ipv4.ip_local_port_range='2000 3000' net.core.somaxconn=7 \
            net.ipv4.conf.eth0.accept_local=1 net.ipv4.tcp_congestion_control=reno \
            net.ipv6.conf.all.forwarding=1 net.ipv6.conf.eth0.accept_ra=2 \
            net.ipv6.conf.default.hop_limit=3 net.ipv4.ping_group_range='0 5' \
            net.ipv4.conf.eth0.force_igmp_version=1 net.ipv4.igmp_max_memberships=3 \
            net.ipv6.neigh.eth0.retrans_time_ms=5 net.ipv4.ip_default_ttl=3 \
            net.netfilter.nf_conntrack_max=7 2>&1 | grep -v nf_conntrack_max || true")],
    }
    Both stable_secret {
        what: "sets a stable_secret of IPv6, which cannot be unset",
        prepare: &[Step(A, "shell sysctl -qw net.ipv6.conf.eth0.stable_secret=2001:db8::1 \
            net.ipv6.conf.default.stable_secret=2001:db8::2")],
    }
    Both firewall_rules {
        what: "leaves nftables tables, sets, a timeout object and flow rules that drop and redirect",
        prepare: &[Step(A, "shell nft add table inet left
            nft add chain inet left in '{ type filter hook input priority 0; policy drop; }'
            nft add rule inet left in tcp dport 80 counter accept
            nft add set inet left s '{ type ipv4_addr; flags timeout; }'
            nft add element inet left s '{ 192.0.2.1 timeout 1h }'
            nft add table ip nat
            nft add chain ip nat out '{ type nat hook output priority 0; }'
            nft add rule ip nat out ip daddr {outside4} dnat to {peer4}
            nft add table netdev left
            nft add chain netdev left in '{ type filter hook ingress device eth0 priority 0; }'
            nft add rule netdev left in drop")],
    }
    Both iptables_rules {
        what: "leaves rules of iptables (nft)",
        rights: ADMIN_RAW,
        prepare: &[Step(A, "shell iptables-nft -A INPUT -j DROP
            iptables-nft -t nat -A OUTPUT -d {outside4} -j DNAT --to-destination {peer4}
            ip6tables-nft -P OUTPUT DROP")],
    }
    Both legacy_iptables_rules {
        what: "leaves rules of legacy iptables, whose tables cannot be removed",
        rights: ADMIN_RAW,
        prepare: &[Step(A, "shell iptables-legacy -A INPUT -j DROP || \
            { echo 'unsupported: legacy iptables'; exit 1; }")],
    }
    Both queueing_disciplines {
        what: "leaves a shaper with classes and filters",
        prepare: &[Step(A, "shell tc qdisc replace dev eth0 root handle 1: htb default 1
            tc class add dev eth0 parent 1: classid 1:1 htb rate 8kbit
            tc filter add dev eth0 parent 1: protocol ip u32 match ip dst 0.0.0.0/0 flowid 1:1
            tc qdisc add dev lo root handle 77: pfifo limit 1")],
    }
    Both traffic_control_actions {
        what: "leaves actions of traffic control that no filter refers to",
        prepare: &[Step(A, "shell tc actions add action gact drop index 77")],
    }
    Both stolen_routes {
        what: "leads all traffic elsewhere by more specific routes, and by other tables and rules",
        prepare: &[Step(A, "shell ip route add 0.0.0.0/1 via {peer4} dev eth0 onlink
            ip route add blackhole 128.0.0.0/1; ip -6 route add unreachable 2000::/3
            ip route add default dev eth0 table 77; ip rule add lookup 77 priority 1
            ip -6 rule add to ::/0 blackhole priority 1; ip rule del priority 32766
            ip route del local {own4} dev eth0 table local")],
    }
    Both next_hops_and_labels {
        what: "leaves next hop objects and address labels",
        prepare: &[Step(A, "shell ip nexthop add id 5 blackhole
            ip route add 203.0.113.0/24 nhid 5
            ip addrlabel add prefix 2001:db8::/32 label 77")],
    }
    Both stolen_neighbours {
        what: "gives the gateway another hardware address, and leaves proxies",
        prepare: &[Step(A, "shell \
            ip neighbour replace 169.254.1.1 lladdr 02:00:00:00:00:99 dev eth0 nud permanent
            ip neighbour replace fe80::1 lladdr 02:00:00:00:00:99 dev eth0 nud permanent
            ip neighbour add {peer4} lladdr 02:00:00:00:00:98 dev eth0 nud permanent
            ip neighbour add proxy 192.0.2.8 dev eth0")],
    }
    Both ipsec_policies {
        what: "leaves IPsec policies that take all traffic",
        prepare: &[Step(A, "shell ip xfrm policy add src 0.0.0.0/0 dst 0.0.0.0/0 dir out \
                tmpl src {own4} dst {peer4} proto esp mode tunnel
            ip -6 xfrm policy add src ::/0 dst ::/0 dir in action block")],
    }
    Both ipsec_default_policy {
        what: "sets the namespace's IPsec default to block",
        prepare: &[Step(A, "shell ip xfrm policy setdefault in block fwd block out block")],
    }
    Both multipath_tcp_endpoints {
        what: "leaves MPTCP endpoints and limits",
        prepare: &[Step(A, "shell ip mptcp endpoint add 192.0.2.9 id 7 signal
            ip mptcp limits set subflow 7 add_addr_accepted 7")],
    }
    Both segment_routing {
        what: "sets the source of SRv6 tunnels and an HMAC key",
        prepare: &[Step(A, "shell ip sr tunsrc set 2001:db8::9")],
    }
    Both in_situ_oam {
        what: "leaves IOAM namespaces and schemas",
        prepare: &[Step(A, "shell ip ioam namespace add 5 data 7
            ip ioam schema add 9 secret; ip ioam namespace set 5 schema 9")],
    }
    Both remembered_peers {
        what: "fills TCP's memory of its peers, and caches a path with a small MTU",
        prepare: &[
            Step(O, "tcp-hold 4001"), Step(A, "tcp-connect line {outside4} 4001"),
            Step(A, "shell ip route add {peer4} via 169.254.1.1 dev eth0 onlink mtu lock 600"),
        ],
    }
    Both many_routes {
        what: "adds 200,000 routes",
        prepare: &[Step(A, "shell awk 'BEGIN { for (i = 0; i < 200000; i++) printf \
            \"route add 11.%d.%d.%d dev eth0\\n\", i / 65536, i / 256 % 256, i % 256 }' | \
            ip -batch -")],
    }
    Both many_addresses {
        what: "adds 5,000 addresses",
        prepare: &[Step(A, "shell awk 'BEGIN { for (i = 0; i < 5000; i++) printf \
            \"address add 11.0.%d.%d/32 dev lo\\n\", i / 256, i % 256 }' | ip -batch -")],
    }
    Both many_links {
        what: "makes 300 interfaces",
        prepare: &[Step(A, "shell for i in $(seq 300); do \
            echo link add m$i link eth0 type macvlan mode bridge; done | ip -batch -")],
    }
    Both many_sockets {
        what: "an unprivileged process opens 5,000 sockets, and is killed",
        rights: Rights::NONE,
        prepare: &[Step(A, "sockets 5000")],
    }
    Across many_sockets_kept_elsewhere {
        what: "sockets of the namespace are kept by another container",
        rights: Rights::NONE,
        accomplice: Some(Rights::NONE),
        occupies: true,
        prepare: &[
            Step(A, "sockets 64"), Step(A, "give socket-0 socket-1 socket-2"),
            Step(B, "receive s0 s1 s2"),
        ],
    }
    Both storm_of_forks {
        what: "an unprivileged container has 300 processes and forks until it is killed",
        rights: Rights::NONE,
        prepare: &[
            Step(A, "forks 300"),
            Step(A, "shell (while :; do /bin/true; done) >/dev/null 2>&1 &"),
        ],
    }
    Both storm_of_forks_that_goes_on {
        what: "the same, and it goes on after DEL",
        rights: Rights::NONE,
        occupies: true,
        stays: true,
        prepare: &[
            Step(A, "forks 100"),
            Step(A, "shell (while :; do /bin/true; done) >/dev/null 2>&1 &"),
        ],
    }
    Both name_that_looks_like_a_placeholder {
        what: "renames eth0 to {ifname}, which the product's own notes of a slot may call it",
        prepare: &[Step(A, "shell ip link set eth0 down; ip link set eth0 name '{ifname}'
            ip link set '{ifname}' up")],
    }
    Both name_of_the_next_slots_link {
        what: "renames eth0 to the name that the next slot's interface on the node will have",
        prepare: &[Step(A, "shell ip link set eth0 down; ip link set eth0 name {nexthost}
            ip link set {nexthost} up")],
    }
    Both alternative_name {
        what: "gives eth0 an alternative name and an alias",
        prepare: &[Step(A, "shell ip link property add dev eth0 altname {nexthost}
            ip link set eth0 alias '{ifname} {mac} {address}'")],
    }
    Both state_testing {
        what: "sets eth0's operational state to TESTING",
        prepare: &[Step(A, "shell ip link set eth0 state testing")],
    }
    Both state_dormant {
        what: "sets eth0's link mode to dormant",
        prepare: &[Step(A, "shell ip link set eth0 mode dormant
            ip link set eth0 state dormant")],
    }
    Both segmentation_limits {
        what: "limits the segments that eth0 and lo put together",
        prepare: &[Step(A, "shell ip link set eth0 gso_max_size 2000 gso_max_segs 1
            ip link set eth0 gro_max_size 2000; ip link set lo gso_max_segs 1")],
    }
    Both shared_filter_block {
        what: "leaves a block of filters that interfaces share",
        prepare: &[Step(A, "shell tc qdisc add dev lo ingress_block 7 clsact
            tc qdisc add dev eth0 ingress_block 7 clsact
            tc filter add block 7 bpf da bytecode '1,6 0 0 2'")],
    }
    Both sets_of_addresses {
        what: "leaves an ipset",
        prepare: &[Step(A, "ipset left")],
    }
    Both changed_interface {
        what: "changes eth0's MAC address, MTU, queue length, group and flags, and lo's",
        prepare: &[Step(A, "shell ip link set eth0 down
            ip link set eth0 address 02:00:00:00:00:99 mtu 1300 txqueuelen 7 group 9
            ip link set eth0 promisc on allmulticast on arp off addrgenmode eui64 up
            ip link set lo mtu 1300 group 7; ip link set lo down")],
    }
    Across lock_on_the_namespaces_file {
        what: "an unprivileged process locks its namespace's file (flock), and another keeps the lock",
        rights: Rights::NONE,
        accomplice: Some(Rights::NONE),
        prepare: &[Step(A, "lock-netns"), Step(A, "give lock"), Step(B, "receive lock")],
    }
    Across locks_on_the_run_folder {
        what: "an unprivileged process of the node locks every file of the run folder that it can open",
        rights: Rights::NONE,
        stays: true,
        occupies: true,
        prepare: &[Step(A, "lock-tree {run}")],
        strike: &[Step(A, "lock-tree {run}")],
    }
    Across watches_on_the_run_folder {
        what: "an unprivileged process of the node watches every file of the run folder that it can see",
        rights: Rights::NONE,
        stays: true,
        occupies: true,
        prepare: &[Step(A, "watch-tree {run}")],
    }
    Across user_namespace_with_its_own_network {
        what: "an unprivileged process makes a user namespace with a network namespace of its own, and stays in that",
        rights: Rights::NONE,
        stays: true,
        prepare: &[Step(A, "shell unshare --user --map-root-user --net /bin/busybox sleep 1000 \
            >/dev/null 2>&1 &")],
        occupies: true,
    }
    Both veth_into_a_user_namespace {
        what: "a veth leads into a network namespace that a user namespace of the container owns",
        rights: SYS,
        prepare: &[Step(A, "shell mkfifo /run/hostile-ready
            unshare --user --net \
                sh -c 'echo > /run/hostile-ready; exec /bin/busybox sleep 1000' >/dev/null 2>&1 &
            child=$!; read ready < /run/hostile-ready
            ip link add deep0 type veth peer name deep1 netns $child
            ip address add 192.0.2.1/24 dev deep0; ip link set deep0 up")],
    }
    Both mount_of_the_namespaces_file {
        what: "mounts the namespace's file in a mount namespace of its own, and goes to another network",
        rights: SYS,
        stays: true,
        occupies: true,
        prepare: &[Step(A, "shell : > /run/hostile-ns; mkfifo /run/hostile-ready
            unshare --mount sh -ec 'mount --bind /proc/self/ns/net /run/hostile-ns
                exec unshare --net \
                    sh -c \"echo > /run/hostile-ready; exec /bin/busybox sleep 1000\"' \
                >/dev/null 2>&1 &
            read ready < /run/hostile-ready")],
    }
    Both multicast_membership {
        what: "passes sockets that are members of multicast groups to another container",
        rights: Rights::NONE,
        accomplice: Some(Rights::NONE),
        occupies: true,
        prepare: &[Step(A, "join group"), Step(A, "give group group6"), Step(B, "receive group group6")],
    }
    Both static_multicast_addresses {
        what: "adds link-layer multicast addresses, which no socket holds",
        prepare: &[Step(A, "shell ip maddress add 33:33:00:00:00:77 dev eth0
            ip maddress add 01:00:5e:00:00:77 dev eth0")],
    }
    Both group_memberships_of_old_versions {
        what: "forces IGMPv1 and MLDv1, and reports groups",
        prepare: &[
            Step(A, "shell sysctl -qw net.ipv4.conf.all.force_igmp_version=1 \
                net.ipv6.conf.all.force_mld_version=1"),
            Step(A, "join group"),
        ],
    }
    Both connections_in_time_wait {
        what: "leaves connections in TIME_WAIT",
        rights: Rights::NONE,
        prepare: &[Step(A, "time-wait 50")],
    }
    Both tracked_connections {
        what: "has its own connection tracking, with entries",
        prepare: &[
            Step(A, "shell nft add table inet track
                nft add chain inet track out '{ type filter hook output priority 0; }'
                nft add rule inet track out ct state new ct mark set 7 accept"),
            Step(A, "time-wait 20"),
        ],
    }
    Across abstract_socket {
        what: "an abstract Unix socket of the namespace is kept by another container",
        rights: Rights::NONE,
        accomplice: Some(Rights::NONE),
        occupies: true,
        prepare: &[Step(A, "abstract api"), Step(A, "give api"), Step(B, "receive api")],
    }
    Both queues_in_sysfs {
        what: "sets packet steering and queue limits of eth0 in sysfs",
        rights: SYS,
        prepare: &[Step(A, "shell unshare --mount sh -ec 'mount -t sysfs none /sys
            echo 1 > /sys/class/net/eth0/queues/rx-0/rps_cpus
            echo 64 > /sys/class/net/eth0/queues/rx-0/rps_flow_cnt
            echo 5000 > /sys/class/net/eth0/gro_flush_timeout
            echo 3 > /sys/class/net/eth0/napi_defer_hard_irqs'")],
    }
    Both lost_loopback {
        what: "removes every address and takes lo down",
        prepare: &[Step(A, "shell ip address flush dev lo; ip address flush dev eth0
            ip link set lo down")],
    }
}
