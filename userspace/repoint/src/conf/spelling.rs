//! Refuses misspelt keys.
//!
//! An unknown key belongs to another program, and is ignored. A key that differs from a known key by case
//! or by one letter is a mistake that would go unnoticed: `ipmasq` leaves a network without masquerade,
//! `maxslots` a pool without its limit. The spec lets a plugin refuse fields that it does not know
//! (section 1).

use super::{addresses, annotations::CAPABILITY, attachments};
use crate::cni::json::{KeyError, Node, Object};

const NETWORK: [&str; 22] = [
    "cniVersion",
    "name",
    "type",
    "ipMasq",
    "linkLocal",
    "localPath",
    "hook",
    "isolation",
    "mtu",
    "maxConcurrentBuilds",
    "runDir",
    "stateDir",
    "bpfDir",
    "dns",
    "capabilities",
    "pool",
    "ipam",
    "runtimeConfig",
    "args",
    "prevResult",
    attachments::KEYS[0],
    attachments::KEYS[1],
];
/// Keys of the spec that resemble known keys: lists have `cniVersions`.
const SPECS: [&str; 1] = ["cniVersions"];
const POOL: [&str; 15] = [
    "warm",
    "maxSlots",
    "mode",
    "scope",
    "shareWithoutTenant",
    "maxSlotsPerTenant",
    "template",
    "templates",
    "functionFrom",
    "annotations",
    "maxParkedPerFunction",
    "maxParkedPerTenant",
    "idleTTL",
    "cooldown",
    "checkSysctls",
];
const CAPABILITIES: [&str; 5] = ["ips", "mac", "dns", "ipRanges", CAPABILITY];
const RUNTIME: [&str; 5] = CAPABILITIES;
const RUNTIME_DNS: [&str; 3] = ["servers", "searches", "options"];
const DNS: [&str; 4] = ["nameservers", "domain", "search", "options"];
const ARGS: [&str; 1] = ["cni"];
const CNI: [&str; 1] = ["ips"];
/// With host-local's `dataDir` and `name`, which have no effect.
const IPAM: [&str; 10] = [
    "type",
    "ranges",
    "routes",
    "resolvConf",
    "subnet",
    "rangeStart",
    "rangeEnd",
    "gateway",
    "dataDir",
    "name",
];
const RANGE: [&str; 4] = ["subnet", "rangeStart", "rangeEnd", "gateway"];
const ROUTE: [&str; 7] = ["dst", "gw", "mtu", "advmss", "priority", "table", "scope"];

/// Refuses keys that differ from known keys by case or one letter.
///
/// The check skips values of a wrong type, which the code that reads them refuses, and annotations, which
/// have a check of their own. `prevResult` belongs to other plugins, and so does `ipam` where another
/// plugin gives addresses.
pub(super) fn check(conf: &Object<'_>) -> Result<(), KeyError> {
    check_keys(conf, &NETWORK)?;
    within(conf, "pool", |pool| check_keys(pool, &POOL))?;
    within(conf, "capabilities", |capabilities| check_keys(capabilities, &CAPABILITIES))?;
    within(conf, "dns", |dns| check_keys(dns, &DNS))?;
    within(conf, "ipam", check_ipam)?;
    within(conf, "runtimeConfig", |runtime| {
        check_keys(runtime, &RUNTIME)?;
        within(runtime, "dns", |dns| check_keys(dns, &RUNTIME_DNS))?;
        each(runtime, "ipRanges", |set| each_item(set, |range| check_keys(range, &RANGE)))
    })?;
    within(conf, "args", |args| {
        check_keys(args, &ARGS)?;
        within(args, "cni", |cni| check_keys(cni, &CNI))
    })
}

/// Refuses misspelt keys of GC's lists of valid attachments.
///
/// Without these lists GC removes nothing.
pub(super) fn check_removal(conf: &Object<'_>) -> Result<(), KeyError> {
    check_keys(conf, &attachments::KEYS)
}

fn check_ipam(ipam: &Object<'_>) -> Result<(), KeyError> {
    if addresses::delegated(ipam).is_ok_and(|plugin| plugin.is_some()) {
        return Ok(());
    }
    check_keys(ipam, &IPAM)?;
    each(ipam, "ranges", |set| each_item(set, |range| check_keys(range, &RANGE)))?;
    each(ipam, "routes", |route| in_object(route, |route| check_keys(route, &ROUTE)))
}

fn check_keys(object: &Object<'_>, known: &[&'static str]) -> Result<(), KeyError> {
    for key in object.keys().filter(|key| !known.contains(key) && !SPECS.contains(key)) {
        let right = nearest(key, known);
        if !right.is_empty() {
            let why = format!("there is no such key: correct it to {}", right.join(" or "));
            return Err(object.bad_value(key, why));
        }
    }
    Ok(())
}

/// Checks the object that a key holds, if it holds one.
fn within(
    parent: &Object<'_>,
    key: &str,
    check: impl FnOnce(&Object<'_>) -> Result<(), KeyError>,
) -> Result<(), KeyError> {
    parent.get(key).map_or(Ok(()), |node| in_object(&node, check))
}

fn in_object(
    node: &Node<'_>,
    check: impl FnOnce(&Object<'_>) -> Result<(), KeyError>,
) -> Result<(), KeyError> {
    node.object("").map_or(Ok(()), |object| check(&object))
}

/// Checks the elements of the list that a key holds, if it holds one.
fn each(
    parent: &Object<'_>,
    key: &str,
    check: impl FnMut(&Node<'_>) -> Result<(), KeyError>,
) -> Result<(), KeyError> {
    let mut check = check;
    let Some(node) = parent.get(key) else { return Ok(()) };
    node.items("").map_or(Ok(()), |mut items| items.try_for_each(|item| check(&item)))
}

/// Checks the objects of a list.
fn each_item(
    list: &Node<'_>,
    check: impl Fn(&Object<'_>) -> Result<(), KeyError>,
) -> Result<(), KeyError> {
    list.items("").map_or(Ok(()), |mut items| items.try_for_each(|item| in_object(&item, &check)))
}

/// The known names that a misspelt name may stand for.
///
/// These are the names that differ from it by case, or else those that differ by one letter.
pub(super) fn nearest(given: &str, known: &[&'static str]) -> Vec<&'static str> {
    let mut near: Vec<_> = known.iter().copied().filter(|known| is_near(given, known)).collect();
    if near.iter().any(|known| known.eq_ignore_ascii_case(given)) {
        near.retain(|known| known.eq_ignore_ascii_case(given));
    }
    near
}

/// Whether two names differ by case alone, or by one letter.
///
/// That letter is added, missing or another, or two neighbours have changed places.
pub(super) fn is_near(given: &str, known: &str) -> bool {
    let (given, known) = (given.as_bytes(), known.as_bytes());
    if given == known || given.len().abs_diff(known.len()) > 1 {
        return false;
    }
    let same = |(a, b): &(&u8, &u8)| a.eq_ignore_ascii_case(b);
    let begin = given.iter().zip(known).take_while(same).count();
    let (given, known) = (&given[begin..], &known[begin..]);
    let end = given.iter().rev().zip(known.iter().rev()).take_while(same).count();
    let (given, known) = (&given[..given.len() - end], &known[..known.len() - end]);
    match (given, known) {
        ([a, b], [c, d]) => a.eq_ignore_ascii_case(d) && b.eq_ignore_ascii_case(c),
        _ => given.len().max(known.len()) <= 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_near_another_by_case_or_one_letter() {
        for given in [
            "ipmasq", "IPMASQ", "iPMasq", "ipMask", "ipMas", "ipMasqq", "pMasq", "xipMasq",
            "ipMsaq", "ipmsk",
        ] {
            let expected = given != "ipmsk";
            assert_eq!(is_near(given, "ipMasq"), expected, "{given}");
        }
        for given in ["ipMasq", "masq", "ipMasqBackend", "isGateway", "", "qsaMpi", "üpMasq"] {
            assert!(!is_near(given, "ipMasq"), "{given}");
        }
        for (given, known) in [("wg", "gw"), ("g", "gw"), ("gww", "gw"), ("ip", "ips"), ("aa", "a")]
        {
            assert!(is_near(given, known), "{given} {known}");
        }
    }
}
