//! Every verb with `prevResult` absent, null, empty, of each version, of an unknown version and of a
//! wrong type.

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    Netns, Pooled, dist,
    plugin::{Call, Outcome},
    with_pool,
};
use serde_json::{Value, json};

use super::{INVALID_CONFIGURATION, attached, call, network_call};

const VERSIONS: [&str; 7] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// What a verb makes of a `prevResult`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Absent,
    Null,
    Empty,
    Version(&'static str),
    UnknownVersion,
    WrongType,
    WrongForm,
}

fn kinds() -> Vec<Kind> {
    let mut kinds = vec![Kind::Absent, Kind::Null, Kind::Empty];
    kinds.extend(VERSIONS.map(Kind::Version));
    kinds.extend([Kind::UnknownVersion, Kind::WrongType, Kind::WrongForm]);
    kinds
}

impl Kind {
    /// Whether a verb that reads it can.
    fn is_readable(self) -> bool {
        !matches!(self, Self::UnknownVersion | Self::WrongType | Self::WrongForm)
    }

    fn is_given(self) -> bool {
        !matches!(self, Self::Absent | Self::Null)
    }

    /// The value, with these addresses, one a family; none: the key is absent.
    fn value(self, addresses: &[String]) -> Option<Value> {
        match self {
            Self::Absent => None,
            Self::Null => Some(Value::Null),
            Self::Empty => Some(json!({})),
            Self::Version(version) => Some(result(version, addresses)),
            Self::UnknownVersion => Some(result("9.9.9", addresses)),
            Self::WrongType => Some(json!([result("1.0.0", addresses)])),
            Self::WrongForm => Some(json!({"cniVersion": "1.0.0", "ips": "10.0.0.1"})),
        }
    }

    fn put(self, configuration: &Value, addresses: &[String]) -> Value {
        let mut configuration = configuration.clone();
        if let Some(value) = self.value(addresses) {
            configuration["prevResult"] = value;
        }
        configuration
    }
}

/// A result of a version, in its form.
fn result(version: &str, addresses: &[String]) -> Value {
    if ["0.1.0", "0.2.0"].contains(&version) {
        let mut result = json!({"cniVersion": version});
        for address in addresses {
            let key = if address.contains(':') { "ip6" } else { "ip4" };
            result[key] = json!({"ip": address});
        }
        return result;
    }
    let ip = |address: &String| {
        let family = if address.contains(':') { "6" } else { "4" };
        json!({"address": address, "version": family, "interface": 0})
    };
    let ips: Vec<Value> = addresses.iter().map(ip).collect();
    json!({"cniVersion": version, "interfaces": [{"name": "prev0"}], "ips": ips})
}

/// Addresses of a plugin before.
fn others() -> Vec<String> {
    vec!["192.0.2.77/24".to_owned(), "2001:db8:77::5/64".to_owned()]
}

fn addresses(result: &Value) -> Result<Vec<String>> {
    let ips = result["ips"].as_array().context("no ips")?;
    Ok(ips.iter().filter_map(|ip| ip["address"].as_str()).map(str::to_owned).collect())
}

fn expect(verb: &str, kind: Kind, outcome: Outcome, succeeds: bool) -> Result<Option<Value>> {
    if succeeds {
        let outcome = outcome.success().with_context(|| format!("{verb}, {kind:?}"))?;
        return Ok(serde_json::from_str(&outcome.stdout).ok());
    }
    let error = outcome.error().with_context(|| format!("{verb}, {kind:?}"))?;
    println!("{verb}, {kind:?}: code {}: {}", error.code, error.msg);
    ensure!(error.code == INVALID_CONFIGURATION, "{verb}, {kind:?}: code {}", error.code);
    ensure!(error.msg.contains("prevResult"), "{verb}, {kind:?}: {}", error.msg);
    Ok(None)
}

fn with_functions(test: impl FnOnce(&Pooled<'_>, &Value) -> Result<()> + Send) -> Result<()> {
    with_pool(&json!({ "warm": 2, "scope": "network", "maxSlots": 64 }), |pooled| {
        let mut configuration = json!({
            "cniVersion": "1.1.0", "name": "functions", "type": "repoint-cni", "ipMasq": true,
            "pool": { "warm": 2, "scope": "network", "maxSlots": 64 },
            "ipam": {
                "ranges": [[{ "subnet": "10.217.9.0/24" }], [{ "subnet": "fd00:217:9::/64" }]],
                "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }],
            },
        });
        pooled.node().dirs().patch(&mut configuration);
        test(pooled, &configuration)
    })
}

/// ADD appends to it, so it must be able to read it.
#[test]
fn add_needs_to_read_it() -> Result<()> {
    with_functions(|pooled, configuration| {
        for (number, kind) in kinds().into_iter().enumerate() {
            let container = format!("add{number}");
            let netns = Netns::create(&container)?;
            let own = kind.put(configuration, &others());
            let outcome = call("ADD", &own, &container, &netns).run()?;
            let result = expect("ADD", kind, outcome, kind.is_readable())?;
            if let (Kind::Version(_), Some(result)) = (kind, &result) {
                let found = addresses(result)?;
                ensure!(found.starts_with(&others()), "{kind:?}: {found:?} lack the previous ones");
                ensure!(found.len() == 4, "{kind:?}: {found:?}");
            }
            ensure!(result.is_some() == attached(pooled.node())?.contains(&container));
            call("DEL", configuration, &container, &netns).run()?.success()?;
            netns.remove()?;
        }
        Ok(())
    })
}

/// CHECK compares with it.
#[test]
fn check_needs_it_and_to_read_it() -> Result<()> {
    with_functions(|_, configuration| {
        let (netns, result) = super::add(configuration, "checked")?;
        let own = addresses(&result)?;
        for kind in kinds() {
            let outcome = call("CHECK", &kind.put(configuration, &own), "checked", &netns).run()?;
            if kind == Kind::Empty {
                // It is there, and has none of the addresses.
                super::refused("CHECK, Empty", outcome, 104, &["prevResult lacks"])?;
                continue;
            }
            expect("CHECK", kind, outcome, kind.is_given() && kind.is_readable())?;
        }
        super::end(configuration, "checked", netns)
    })
}

/// Nothing that removes reads it: not of a slot, nor of an interface of the container's own.
#[test]
fn del_park_and_gc_succeed_whatever_it_is() -> Result<()> {
    with_functions(|pooled, configuration| {
        let mut direct = configuration.clone();
        direct["args"] = json!({"cni": {"repoint.dev/mode": "none"}});
        for (number, kind) in kinds().into_iter().enumerate() {
            for (verb, added) in
                [("DEL", configuration), ("DEL", &direct), ("PARK", configuration), ("GC", &direct)]
            {
                let container = format!("removed{number}");
                let (netns, result) = super::add(added, &container)?;
                let mut own = kind.put(added, &addresses(&result)?);
                let removal = if verb == "GC" {
                    own["cni.dev/valid-attachments"] = json!([]);
                    network_call(verb, &own)
                } else {
                    call(verb, &own, &container, &netns)
                };
                expect(verb, kind, removal.run()?, true)?;
                let left = attached(pooled.node())?;
                ensure!(left.is_empty(), "{verb}, {kind:?}: {left:?} are attached still");
                super::end(configuration, &container, netns)?;
            }
        }
        Ok(())
    })
}

/// Nor do those that are about no container.
#[test]
fn status_version_prepare_and_replicate_succeed_whatever_it_is() -> Result<()> {
    with_functions(|_, configuration| {
        for kind in kinds() {
            let own = kind.put(configuration, &others());
            for verb in ["STATUS", "VERSION"] {
                expect(verb, kind, network_call(verb, &own).run()?, true)?;
            }
            let args = "repoint.dev/count=0";
            expect("PREPARE", kind, network_call("PREPARE", &own).args(args).run()?, true)?;
            let args = "repoint.dev/count=0;repoint.dev/template=t";
            expect("REPLICATE", kind, network_call("REPLICATE", &own).args(args).run()?, true)?;
        }
        Ok(())
    })
}

/// ACTIVATE gives a slot, which is no next step of a chain: it is declined where one is given.
#[test]
fn activate_takes_none() -> Result<()> {
    with_functions(|pooled, configuration| {
        pooled.fill()?;
        for (number, kind) in kinds().into_iter().enumerate() {
            let container = format!("activated{number}");
            let netns = Netns::create(&container)?;
            let own = kind.put(configuration, &others());
            let outcome = call("ACTIVATE", &own, &container, &netns).run()?;
            if kind.is_given() && kind.is_readable() {
                let error = outcome.error()?;
                println!("ACTIVATE, {kind:?}: code {}: {}", error.code, error.msg);
                ensure!(error.code == 100, "{kind:?}: code {}", error.code);
            } else {
                expect("ACTIVATE", kind, outcome, kind.is_readable())?;
            }
            super::end(configuration, &container, netns)?;
            pooled.fill()?;
        }
        let call = Call::new(dist::plugin(), "VERSION", configuration);
        call.run()?.success().map(drop)
    })
}
