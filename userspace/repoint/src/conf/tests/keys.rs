//! The table of keys.

use serde_json::{Value, json};

/// A configuration with every key that is known.
pub(super) fn full() -> Value {
    json!({
        "cniVersion": "1.1.0",
        "name": "functions",
        "type": "repoint-cni",
        "ipMasq": true,
        "linkLocal": "allow",
        "localPath": "stack",
        "hook": "tcx",
        "isolation": "tenant",
        "mtu": 1400,
        "runDir": "/run/r1",
        "stateDir": "/var/lib/r1",
        "bpfDir": "/sys/fs/bpf/r1",
        "maxConcurrentBuilds": 3,
        "pool": {
            "warm": 16, "maxSlots": 64, "scope": "tenant", "checkSysctls": true, "mode": "replicate",
            "maxParkedPerFunction": 4, "maxParkedPerTenant": 16, "idleTTL": "10m", "cooldown": "1s",
            "shareWithoutTenant": true, "maxSlotsPerTenant": 9,
            "template": "resize", "templates": ["thumbs"], "functionFrom": "podName",
            "annotations": ["repoint.dev/mode", "repoint.dev/tenant", "repoint.dev/function"],
        },
        "capabilities": {"ipRanges": true, "mac": true},
        "ipam": {
            "type": "repoint",
            "subnet": "10.3.0.0/16",
            "rangeStart": "10.3.1.0",
            "rangeEnd": "10.3.1.255",
            "gateway": "10.3.0.254",
            "ranges": [
                [{"subnet": "fd00:1::/64"}],
                [{"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.10", "rangeEnd": "10.1.0.20",
                  "gateway": "10.1.0.1"},
                 {"subnet": "10.2.0.0/24"}],
            ],
            "routes": [
                {"dst": "0.0.0.0/0", "gw": "10.1.0.1", "mtu": 1300, "advmss": 1200, "priority": 9,
                 "table": 100, "scope": 0},
                {"dst": "::/0"},
            ],
            "resolvConf": "/etc/resolv.conf",
        },
        "dns": {
            "nameservers": ["192.0.2.53", "fe80::53%eth0"],
            "domain": "example.org",
            "search": ["a.example"],
            "options": ["ndots:5"],
        },
        "runtimeConfig": {
            "ips": ["10.1.0.15/24"],
            "mac": "02:00:00:00:00:07",
            "dns": {"servers": ["192.0.2.54"], "searches": ["b.example"], "options": ["rotate"]},
            "io.kubernetes.cri.pod-annotations": {
                "repoint.dev/function": "resize", "repoint.dev/tenant": "acme"},
            "ipRanges": [[{"subnet": "10.9.0.0/24", "rangeStart": "10.9.0.2",
                           "rangeEnd": "10.9.0.9", "gateway": "10.9.0.1"}]],
        },
        "args": {"cni": {"ips": ["fd00:1::5"], "repoint.dev/function": "thumb",
                         "repoint.dev/tenant": "bolt"}},
        "prevResult": {
            "cniVersion": "1.0.0",
            "interfaces": [{"name": "prev0", "mac": "02:00:00:00:00:08", "mtu": 1500,
                            "sandbox": "/run/netns/a", "socketPath": "/run/s", "pciID": "0"}],
            "ips": [{"address": "192.0.2.77/24", "gateway": "192.0.2.1", "interface": 0}],
            "routes": [{"dst": "198.51.100.0/24", "gw": "192.0.2.1", "mtu": 1, "advmss": 1,
                        "priority": 1, "table": 1, "scope": 1}],
            "dns": {"nameservers": ["x"], "domain": "y", "search": ["z"], "options": ["w"]},
        },
        "cni.dev/valid-attachments": [{"containerID": "a1", "ifname": "eth0"}],
        "cni.dev/attachments": [{"containerID": "a1", "ifname": "eth0"},
                                {"containerID": "a2", "ifname": "net1"}],
    })
}

/// What a key must not be.
pub(super) struct Key {
    /// Its JSON pointer in `full()`.
    pub pointer: &'static str,
    /// A value of a wrong type.
    pub wrong_type: Value,
    /// Values of the right type that cannot be used.
    pub bad: Vec<Value>,
    /// Whether its object must have the key.
    pub required: bool,
}

fn key(pointer: &'static str, wrong_type: Value, bad: Value) -> Key {
    let Value::Array(bad) = bad else { panic!("the bad values of {pointer} are no list") };
    Key { pointer, wrong_type, bad, required: false }
}

fn required(pointer: &'static str, wrong_type: Value, bad: Value) -> Key {
    Key { required: true, ..key(pointer, wrong_type, bad) }
}

pub(super) fn keys() -> Vec<Key> {
    let mut keys = network_keys();
    keys.extend(address_keys());
    keys.extend(runtime_keys());
    keys.extend(result_keys());
    keys
}

fn network_keys() -> Vec<Key> {
    vec![
        key("/cniVersion", json!(1.0), json!([])),
        required("/name", json!(7), json!(["", "../x", "a/b", "a b", "-x", "x".repeat(201)])),
        required("/type", json!(true), json!(["", "..", "/bin/sh"])),
        key("/ipMasq", json!("true"), json!([])),
        key("/linkLocal", json!(true), json!(["Deny", "drop"])),
        key("/localPath", json!(true), json!(["Stack", "host"])),
        key("/hook", json!(1), json!(["TCX", "xdp"])),
        key("/isolation", json!(false), json!(["Tenant", "namespace"])),
        key("/mtu", json!("1500"), json!([67, 65_536, -1, 1500.5, 1279])),
        key("/runDir", json!(1), json!(["run", "./run", "/run\u{0}"])),
        key("/stateDir", json!([]), json!(["lib"])),
        key("/bpfDir", json!({}), json!(["bpf"])),
        key("/maxConcurrentBuilds", json!("2"), json!([0, 257, -1, 1.5])),
        key("/pool", json!(8), json!([])),
        key("/pool/warm", json!("8"), json!([-1, 65, 65_537, 0.5])),
        key("/pool/maxSlots", json!("64"), json!([0, 65_537])),
        key("/pool/shareWithoutTenant", json!("yes"), json!([])),
        key("/pool/maxSlotsPerTenant", json!("9"), json!([0, -1, 65_537])),
        key("/pool/checkSysctls", json!("yes"), json!([])),
        key("/pool/scope", json!(1), json!(["Tenant", "node"])),
        key("/pool/mode", json!(true), json!(["Reuse", "recycle"])),
        key("/pool/maxParkedPerFunction", json!("4"), json!([-1, 65_537])),
        key("/pool/maxParkedPerTenant", json!("4"), json!([-1, 65_537])),
        key("/pool/idleTTL", json!(600), json!(["600", "never", "-1s"])),
        key("/pool/cooldown", json!(1), json!(["1", "forever"])),
        key("/pool/template", json!(1), json!(["../x", "a b"])),
        key("/pool/templates", json!("resize"), json!([])),
        key("/pool/templates/0", json!(1), json!(["", "../x", "a b"])),
        key("/pool/functionFrom", json!(true), json!(["pod", "containerId"])),
        key("/pool/annotations", json!("repoint.dev/mode"), json!([])),
        key("/pool/annotations/0", json!(1), json!(["mode", "repoint.dev/count"])),
        key("/capabilities", json!([]), json!([])),
        key("/capabilities/ipRanges", json!("yes"), json!([])),
        key("/dns", json!([]), json!([])),
        key("/dns/nameservers", json!("192.0.2.53"), json!([])),
        key("/dns/nameservers/0", json!(1), json!(["", "localhost", "192.0.2.53:53"])),
        key("/dns/domain", json!(1), json!([])),
        key("/dns/search", json!("a.example"), json!([])),
        key("/dns/search/0", json!(1), json!([])),
        key("/dns/options", json!(1), json!([])),
        key("/dns/options/0", json!({}), json!([])),
        key("/cni.dev~1valid-attachments", json!({}), json!([])),
        key("/cni.dev~1valid-attachments/0", json!("a1"), json!([])),
        required("/cni.dev~1valid-attachments/0/containerID", json!(1), json!(["", "../a"])),
        required("/cni.dev~1valid-attachments/0/ifname", json!(1), json!(["", "a b", "."])),
        key("/cni.dev~1attachments", json!("a1"), json!([])),
        key("/cni.dev~1attachments/1", json!(["a2", "net1"]), json!([])),
        required("/cni.dev~1attachments/1/containerID", json!(1), json!(["", "../a"])),
        required("/cni.dev~1attachments/1/ifname", json!(1), json!(["", "a/b"])),
    ]
}

fn address_keys() -> Vec<Key> {
    let far = json!(["10.3.1", "192.0.2.1", "fd00::1"]);
    let other = json!(["fd00::1", "10.1.0.1/24"]);
    vec![
        required("/ipam", json!("host-local"), json!([])),
        key("/ipam/type", json!(1), json!(["..", "a/b"])),
        key(
            "/ipam/subnet",
            json!(10),
            json!([
                "10.3.0.0",
                "0.0.0.0/0",
                "10.3.0.1/16",
                "10.3.1.0/31",
                "10.3.1.1/32",
                "10.3.1.0/33"
            ]),
        ),
        key("/ipam/rangeStart", json!(1), far.clone()),
        key("/ipam/rangeEnd", json!(1), far),
        key("/ipam/gateway", json!(1), other.clone()),
        key("/ipam/ranges", json!({}), json!([])),
        key("/ipam/ranges/0", json!({"subnet": "fd00:1::/64"}), json!([[]])),
        key("/ipam/ranges/1/1", json!("10.2.0.0/24"), json!([])),
        required(
            "/ipam/ranges/0/0/subnet",
            json!(42),
            json!([
                "fe80::/64",
                "ff02::/64",
                "::/64",
                "::ffff:10.1.0.0/120",
                "fd00:1::1/64",
                "fd00:1::/127",
                "fd00:1::/128",
                "::",
                "fd00:1::/129"
            ]),
        ),
        required(
            "/ipam/ranges/1/0/subnet",
            json!(42),
            json!([
                "10.1.0.1/24",
                "10.1.0",
                "127.1.0.0/24",
                "0.1.0.0/24",
                "224.1.0.0/24",
                "255.255.255.0/24"
            ]),
        ),
        key("/ipam/ranges/1/0/rangeStart", json!(1), json!(["10.2.0.1", "fd00::1"])),
        key("/ipam/ranges/1/0/rangeEnd", json!(1), json!(["10.2.0.1", "10.1.0.9", "x"])),
        key("/ipam/ranges/1/0/gateway", json!(1), other),
        key("/ipam/routes", json!({}), json!([])),
        key("/ipam/routes/1", json!("::/0"), json!([])),
        required("/ipam/routes/0/dst", json!(0), json!(["", "default", "10.0.0.1/8", "10.0.0.1"])),
        key(
            "/ipam/routes/0/gw",
            json!(1),
            json!(["eth0", "fe80::1", "0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"]),
        ),
        key("/ipam/routes/0/mtu", json!("1300"), json!([-1, 5_000_000_000_u64])),
        key("/ipam/routes/0/advmss", json!("1200"), json!([-1])),
        key("/ipam/routes/0/priority", json!("9"), json!([-1, 0.5])),
        key("/ipam/routes/0/table", json!("main"), json!([-1])),
        key("/ipam/routes/0/scope", json!("link"), json!([-1, 256])),
        key("/ipam/resolvConf", json!(1), json!(["resolv.conf"])),
    ]
}

fn runtime_keys() -> Vec<Key> {
    vec![
        key("/runtimeConfig", json!([]), json!([])),
        key("/runtimeConfig/ips", json!("10.1.0.15"), json!([])),
        key("/runtimeConfig/ips/0", json!(1), json!(["", "10.1.0", "10.1.0.15/33"])),
        key(
            "/runtimeConfig/mac",
            json!(2),
            json!([
                "02:00:00:00:00",
                "01:00:00:00:00:07",
                "00:00:00:00:00:00",
                "02:72:70:00:00:01"
            ]),
        ),
        key("/runtimeConfig/dns", json!("192.0.2.53"), json!([])),
        key("/runtimeConfig/dns/servers", json!({}), json!([])),
        key("/runtimeConfig/dns/servers/0", json!(1), json!(["localhost"])),
        key("/runtimeConfig/dns/searches", json!("b.example"), json!([])),
        key("/runtimeConfig/dns/searches/0", json!(1), json!([])),
        key("/runtimeConfig/dns/options", json!(1), json!([])),
        key("/runtimeConfig/dns/options/0", json!(1), json!([])),
        key("/runtimeConfig/ipRanges", json!({}), json!([])),
        key("/runtimeConfig/ipRanges/0", json!("10.9.0.0/24"), json!([[]])),
        key("/runtimeConfig/ipRanges/0/0", json!("10.9.0.0/24"), json!([])),
        required(
            "/runtimeConfig/ipRanges/0/0/subnet",
            json!(9),
            json!(["10.9.0.1/24", "x", "127.0.0.0/24"]),
        ),
        key("/runtimeConfig/ipRanges/0/0/rangeStart", json!(9), json!(["10.8.0.1"])),
        key("/runtimeConfig/ipRanges/0/0/rangeEnd", json!(9), json!(["10.8.0.1", "10.9.0.1"])),
        key("/runtimeConfig/ipRanges/0/0/gateway", json!(9), json!(["fd00::1"])),
        key("/runtimeConfig/io.kubernetes.cri.pod-annotations", json!([]), json!([])),
        key(
            "/runtimeConfig/io.kubernetes.cri.pod-annotations/repoint.dev~1function",
            json!(1),
            json!(["a\nb", "x".repeat(254)]),
        ),
        key(
            "/runtimeConfig/io.kubernetes.cri.pod-annotations/repoint.dev~1tenant",
            json!(1),
            json!(["a\nb"]),
        ),
        key("/args/cni/repoint.dev~1function", json!(1), json!(["a\nb"])),
        key("/args/cni/repoint.dev~1tenant", json!({}), json!(["a\nb"])),
        key("/args", json!("IP=10.1.0.5"), json!([])),
        key("/args/cni", json!([]), json!([])),
        key("/args/cni/ips", json!("fd00:1::5"), json!([])),
        key("/args/cni/ips/0", json!(5), json!(["", "fd00:1::5/129"])),
    ]
}

fn result_keys() -> Vec<Key> {
    vec![
        key("/prevResult", json!([]), json!([])),
        key("/prevResult/cniVersion", json!(1), json!(["9.9.9"])),
        key("/prevResult/interfaces", json!({}), json!([])),
        key("/prevResult/interfaces/0", json!("prev0"), json!([])),
        required("/prevResult/interfaces/0/name", json!(1), json!([])),
        key("/prevResult/interfaces/0/mac", json!(1), json!([])),
        key("/prevResult/interfaces/0/mtu", json!("1500"), json!([-1])),
        key("/prevResult/interfaces/0/sandbox", json!(1), json!([])),
        key("/prevResult/interfaces/0/socketPath", json!(1), json!([])),
        key("/prevResult/interfaces/0/pciID", json!(1), json!([])),
        key("/prevResult/ips", json!({}), json!([])),
        key("/prevResult/ips/0", json!("192.0.2.77/24"), json!([])),
        required("/prevResult/ips/0/address", json!(1), json!(["192.0.2.77", "192.0.2.77/33"])),
        key("/prevResult/ips/0/gateway", json!(1), json!(["x"])),
        key("/prevResult/ips/0/interface", json!("0"), json!([-1])),
        key("/prevResult/routes", json!({}), json!([])),
        key("/prevResult/routes/0", json!("0.0.0.0/0"), json!([])),
        required("/prevResult/routes/0/dst", json!(1), json!(["198.51.100.0"])),
        key("/prevResult/routes/0/gw", json!(1), json!(["x"])),
        key("/prevResult/routes/0/mtu", json!("1"), json!([-1])),
        key("/prevResult/routes/0/advmss", json!("1"), json!([-1])),
        key("/prevResult/routes/0/priority", json!("1"), json!([-1])),
        key("/prevResult/routes/0/table", json!("1"), json!([-1])),
        key("/prevResult/routes/0/scope", json!("1"), json!([-1, 256])),
        key("/prevResult/dns", json!([]), json!([])),
        key("/prevResult/dns/nameservers", json!("x"), json!([])),
        key("/prevResult/dns/nameservers/0", json!(1), json!([])),
        key("/prevResult/dns/domain", json!(1), json!([])),
        key("/prevResult/dns/search", json!("x"), json!([])),
        key("/prevResult/dns/search/0", json!(1), json!([])),
        key("/prevResult/dns/options", json!("x"), json!([])),
        key("/prevResult/dns/options/0", json!(1), json!([])),
    ]
}
