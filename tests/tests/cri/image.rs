//! The pods' image: Debian's static busybox and nothing else, as `docker save` would write it.

use std::{env::consts::ARCH, fs};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

/// Name of the image.
pub(crate) const NAME: &str = "localhost/repoint/busybox:test";
/// Debian's static busybox, in the machine and in the image.
pub(crate) const BUSYBOX: &str = "/bin/busybox";

/// An archive that `ctr images import` takes.
///
/// The image sleeps, so that it is a pause image, too.
pub(crate) fn archive() -> Result<Vec<u8>> {
    let layer = layer().context("layer of the image")?;
    let configuration = configuration(&digest(&layer)).to_string().into_bytes();
    let configuration_name = format!("{}.json", digest(&configuration));
    let manifest = json!([{
        "Config": configuration_name, "RepoTags": [NAME], "Layers": ["layer.tar"],
    }]);
    let mut archive = tar::Builder::new(Vec::new());
    append(&mut archive, "layer.tar", 0o644, &layer)?;
    append(&mut archive, &configuration_name, 0o644, &configuration)?;
    append(&mut archive, "manifest.json", 0o644, manifest.to_string().as_bytes())?;
    archive.into_inner().context("end the image's archive")
}

fn layer() -> Result<Vec<u8>> {
    let mut layer = tar::Builder::new(Vec::new());
    for folder in ["bin/", "www/"] {
        let mut header = header(0o755, 0);
        header.set_entry_type(EntryType::Directory);
        layer.append_data(&mut header, folder, std::io::empty())?;
    }
    let busybox = fs::read(BUSYBOX).with_context(|| format!("read {BUSYBOX}"))?;
    append(&mut layer, BUSYBOX.trim_start_matches('/'), 0o755, &busybox)?;
    layer.into_inner().context("end the layer's archive")
}

fn configuration(layer: &str) -> Value {
    let architecture = match ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    json!({
        "architecture": architecture,
        "os": "linux",
        "config": { "Cmd": [BUSYBOX, "sleep", "2147483647"], "Env": ["PATH=/bin"] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer}")] },
    })
}

fn append(archive: &mut tar::Builder<Vec<u8>>, name: &str, mode: u32, data: &[u8]) -> Result<()> {
    let size = data.len().try_into()?;
    archive
        .append_data(&mut header(mode, size), name, data)
        .with_context(|| format!("add {name} to an archive"))
}

fn header(mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(mode);
    header.set_size(size);
    header
}

fn digest(data: &[u8]) -> String {
    Sha256::digest(data).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}
