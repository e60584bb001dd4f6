//! Addresses that another plugin gives.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    Container, dist, dist::REFERENCE_PLUGINS, missing, plugin::Network, program, with_pool,
};
use serde_json::json;

/// Where the plugin that kills is, and what makes it kill.
const FOLDER: &str = "/run/plugins";
const TRIGGER: &str = "/run/kill";

/// A DEL that is killed when the address is given back, and not on record as that: the next container
/// gets it all the same.
#[test]
fn an_address_is_another_s_when_its_plugin_has_it_back() -> Result<()> {
    if missing([Path::new(REFERENCE_PLUGINS).join("host-local")]) {
        return Ok(());
    }
    with_pool(&json!({ "warm": 0, "maxSlots": 4 }), |pooled| {
        let kills = script()?;
        let mut configuration = json!({
            "cniVersion": "1.0.0", "name": "delegated", "type": "repoint-cni",
            "ipam": {
                "type": kills,
                "ranges": [[{
                    "subnet": "10.219.8.0/24",
                    "rangeStart": "10.219.8.9",
                    "rangeEnd": "10.219.8.9",
                }]],
            },
        });
        pooled.node().dirs().patch(&mut configuration);
        let path = format!("{FOLDER}:{}", dist::cni_path());
        let network = Network::new(&configuration, path)?;
        let first = Container::add(&network, "first")?;
        fs::write(TRIGGER, "").context("write the trigger")?;
        let outcome = network.call_single("DEL", first.attachment(), None)?;
        ensure!(outcome.was_killed(), "{outcome:?}");
        fs::remove_file(TRIGGER).context("remove the trigger")?;
        let second = Container::add(&network, "second")?;
        ensure!(second.addresses()? == first.addresses()?, "{:?}", second.addresses()?);
        first.remove()?;
        second.check()?;
        second.remove()
    })
}

/// host-local, which kills who calls it at DEL, when it has done its part, if the trigger is there.
fn script() -> Result<&'static str> {
    fs::create_dir_all(FOLDER).context("make a folder")?;
    let path = Path::new(FOLDER).join("killing");
    let text = format!(
        "#!/bin/sh\n{REFERENCE_PLUGINS}/host-local || exit\n\
         [ $CNI_COMMAND = DEL ] && [ -e {TRIGGER} ] && kill -9 $PPID\nexit 0\n"
    );
    program::script(&path, &text)?;
    Ok("killing")
}
