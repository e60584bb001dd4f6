//! An initial file system in memory: busybox, modules and a first process, in the format `newc` of cpio (the
//! kernel's Documentation/driver-api/early-userspace/buffer-format.rst).

use std::{collections::HashMap, fs, path::Path};

use anyhow::{Context as _, Result};
use repoint_tests::web::BUSYBOX;

/// What the driver of a virtual network card is, for [`modules`].
const DRIVERS: [&str; 2] = ["virtio_pci", "virtio_net"];
const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const TEXT: u32 = 0o100_644;

/// Makes one, with the modules of a kernel and the settings that the first process reads.
pub(super) fn make(modules_folder: &Path, settings: &str) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "modules", "proc", "sys"] {
        archive.add(folder, FOLDER, &[]);
    }
    archive.add("bin/busybox", PROGRAM, &read(Path::new(BUSYBOX))?);
    for (index, module) in modules(modules_folder)?.iter().enumerate() {
        // The shell lists them in this order.
        let bytes = read(&modules_folder.join(module))?;
        archive.add(&format!("modules/{index:02}.ko"), TEXT, &bytes);
    }
    archive.add("settings", TEXT, settings.as_bytes());
    archive.add("init", PROGRAM, include_bytes!("init.sh"));
    archive.add("TRAILER!!!", 0, &[]);
    Ok(archive.bytes)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}

/// Paths of the drivers' modules, each after those that it needs.
fn modules(folder: &Path) -> Result<Vec<String>> {
    let path = folder.join("modules.dep");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let needs: HashMap<&str, &str> = text.lines().filter_map(|line| line.split_once(':')).collect();
    let mut ordered = Vec::new();
    for driver in DRIVERS {
        let name = format!("/{driver}.ko");
        let module = needs.keys().find(|module| module.ends_with(&name));
        let module = module.with_context(|| format!("no module {driver} in {}", path.display()))?;
        // `depmod` writes all that a module needs, the last to be loaded first.
        let needed = needs[module].split_whitespace().rev();
        for module in needed.chain([*module]) {
            if !ordered.iter().any(|known| known == module) {
                ordered.push(module.to_owned());
            }
        }
    }
    Ok(ordered)
}

#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: usize,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, data: &[u8]) {
        self.entries += 1;
        self.bytes.extend(b"070701");
        // Inode, mode, owner, group, links, time, length, device, device of a node, length of the name, sum.
        let mode = usize::try_from(mode).unwrap_or_default();
        let length = name.len() + 1;
        for field in [self.entries, mode, 0, 0, 1, 0, data.len(), 0, 0, 0, 0, length, 0] {
            self.bytes.extend(format!("{field:08X}").bytes());
        }
        self.bytes.extend(name.bytes().chain([0]));
        self.pad();
        self.bytes.extend(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}
