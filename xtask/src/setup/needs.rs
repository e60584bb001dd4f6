//! What must be on the machine, what for, and what shows that it is there.
//!
//! A check looks for the file or program itself and does not ask the package manager, so that it
//! costs no process, and a machine of another distribution, or one with Docker's packages, passes
//! as well.

use std::{fmt, path::Path, process::Command};

use anyhow::Result;

use super::crates;
use crate::{
    build::{DEBIAN_SOURCE, EbpfToolchain, MUSL_GCC},
    command, elf, tools,
};

/// What something is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The eBPF object and the executables.
    Build,
    /// The tests, the demonstration and the benchmark.
    Test,
    /// The checks of `.ci/run`.
    Check,
    /// Virtual machines with other kernels.
    Guest,
}

/// Something that Debian's packages bring.
pub struct Need {
    /// What it is needed for.
    pub purpose: Purpose,
    /// The packages to install.
    pub packages: &'static [&'static str],
    /// Its part in that, for a reader who wonders.
    pub why: &'static str,
    /// What shows that it is there.
    pub proof: Proof,
}

/// What shows that a need is met.
pub enum Proof {
    /// A program that can be found.
    Program(&'static str),
    /// A program that can be found and needs no dynamic loader.
    StaticProgram(&'static str),
    /// A file or folder.
    File(&'static str),
    /// A library that the C compiler finds.
    Library(&'static str),
    /// A module that Python finds.
    PythonModule(&'static str),
    /// A compiler for eBPF.
    EbpfToolchain,
    /// The eBPF linker, or what it is built with.
    BpfLinkerOr(&'static str),
}

const NEEDS: &[Need] = &[
    Need {
        purpose: Purpose::Build,
        packages: &["gcc"],
        why: "links the executables, compiles LMDB",
        proof: Proof::Program("cc"),
    },
    Need {
        purpose: Purpose::Build,
        packages: &["libc6-dev"],
        why: "libc.a of the static executables",
        proof: Proof::Library("libc.a"),
    },
    Need {
        purpose: Purpose::Build,
        packages: &["rustc-web", "libstd-rust-web-dev-bpf"],
        why: "a compiler with core for bpfel-unknown-none, which rustup does not offer",
        proof: Proof::EbpfToolchain,
    },
    Need {
        purpose: Purpose::Build,
        packages: &["llvm-22-dev"],
        why: "libLLVM of the compiler's version, which bpf-linker is linked with",
        proof: Proof::BpfLinkerOr("/usr/lib/llvm-22/lib/libLLVM.so"),
    },
    Need {
        purpose: Purpose::Build,
        packages: &["musl-tools"],
        why: "a C library that starts in a third of the time in virtual machines, for the plugin",
        proof: Proof::Program(MUSL_GCC),
    },
    Need {
        purpose: Purpose::Build,
        packages: &["rust-web-src"],
        why: "source of the standard library, which is compiled for musl",
        proof: Proof::File(DEBIAN_SOURCE),
    },
    Need {
        purpose: Purpose::Test,
        packages: &["procps"],
        why: "sysctl: what a function leaves in its namespace",
        proof: Proof::Program("sysctl"),
    },
    Need {
        purpose: Purpose::Test,
        packages: &["strace"],
        why: "the system calls of one ADD, in the benchmark",
        proof: Proof::Program("strace"),
    },
    Need {
        purpose: Purpose::Test,
        packages: &["valgrind"],
        why: "runs the tests of the plugin's allocator",
        proof: Proof::Program("valgrind"),
    },
    Need {
        purpose: Purpose::Test,
        packages: &["protobuf-compiler"],
        why: "compiles the CRI's protocol for its client",
        proof: Proof::Program("protoc"),
    },
    Need {
        purpose: Purpose::Test,
        packages: &["iproute2"],
        why: "ip and tc: what the kernel holds, as an operator sees it",
        proof: Proof::Program("tc"),
    },
    Need {
        purpose: Purpose::Test,
        packages: &["bpftool"],
        why: "BPF maps and programs, as an operator sees them",
        proof: Proof::Program("bpftool"),
    },
    Need {
        purpose: Purpose::Test,
        packages: &["nftables"],
        why: "the masquerade rule, as an operator sees it",
        proof: Proof::Program("nft"),
    },
    Need {
        purpose: Purpose::Test,
        packages: &["containernetworking-plugins"],
        why: "the reference plugins: chained behind ours, and measured against",
        proof: Proof::File("/usr/lib/cni/ptp"),
    },
    Need {
        purpose: Purpose::Test,
        packages: &["iptables"],
        why: "what portmap, firewall and bridge's masquerade call",
        proof: Proof::Program("iptables"),
    },
    Need {
        purpose: Purpose::Test,
        packages: &["containerd", "runc"],
        why: "a runtime that drives the plugin as it does in production",
        proof: Proof::Program("containerd"),
    },
    Need {
        purpose: Purpose::Test,
        packages: &["busybox-static"],
        why: "the image of the pods that containerd runs",
        proof: Proof::StaticProgram("busybox"),
    },
    Need {
        purpose: Purpose::Test,
        packages: &["python3"],
        why: "runs the conformance suite",
        proof: Proof::Program("python3"),
    },
    Need {
        purpose: Purpose::Guest,
        packages: &["kmod"],
        why: "the index of a kernel's modules",
        proof: Proof::Program("depmod"),
    },
    Need {
        purpose: Purpose::Guest,
        packages: &["ipvsadm"],
        why: "virtual servers, which kernels of virtual machines have",
        proof: Proof::Program("ipvsadm"),
    },
    Need {
        purpose: Purpose::Guest,
        packages: &["python3", "python3-venv"],
        why: "runs virtme-ng, from PyPI, which starts virtual machines",
        proof: Proof::PythonModule("ensurepip"),
    },
];

/// The needs of these purposes that nothing on this machine meets.
pub fn missing(purposes: &[Purpose]) -> Result<Vec<&'static Need>> {
    let mut missing = Vec::new();
    for need in NEEDS.iter().filter(|need| purposes.contains(&need.purpose)) {
        if !need.proof.holds()? {
            missing.push(need);
        }
    }
    Ok(missing)
}

impl Proof {
    fn holds(&self) -> Result<bool> {
        Ok(match self {
            Self::Program(name) => tools::find(name).is_some(),
            Self::StaticProgram(name) => match tools::find(name) {
                Some(program) => elf::linkage(&program)? != elf::Linkage::Dynamic,
                None => false,
            },
            Self::File(path) => Path::new(path).exists(),
            Self::Library(name) => has_library(name)?,
            Self::PythonModule(name) => has_python_module(name),
            Self::EbpfToolchain => EbpfToolchain::find()?.is_some(),
            Self::BpfLinkerOr(path) => {
                crates::BPF_LINKER.find()?.is_some() || Path::new(path).exists()
            }
        })
    }
}

/// Whether the C compiler has a library: it answers with a path, or else with the name alone.
fn has_library(name: &str) -> Result<bool> {
    let Some(compiler) = tools::find("cc") else {
        return Ok(false);
    };
    let mut ask = Command::new(compiler);
    let answer = command::output(ask.arg(format!("-print-file-name={name}")))?;
    Ok(Path::new(answer.trim()).is_absolute())
}

fn has_python_module(name: &str) -> bool {
    let Some(python) = tools::find("python3") else {
        return false;
    };
    command::output(Command::new(python).args(["-c", &format!("import {name}")])).is_ok()
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program(name) => write!(f, "program {name}"),
            Self::StaticProgram(name) => write!(f, "statically linked program {name}"),
            Self::File(path) | Self::BpfLinkerOr(path) => f.write_str(path),
            Self::Library(name) => write!(f, "library {name} that cc finds"),
            Self::PythonModule(name) => write!(f, "module {name} of python3"),
            Self::EbpfToolchain => f.write_str(EbpfToolchain::WHAT),
        }
    }
}
