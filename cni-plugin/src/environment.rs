//! The parameters of a call: variables whose names begin with `CNI_` (CNI spec, section 2).
//!
//! An empty variable counts as missing, because libcni sets variables to nothing that a verb does not need.

use std::{env, ffi::OsString, path::PathBuf, str::FromStr};

use repoint::{
    cni::{CniArgs, CniError, CniVersion, ErrorCode, args::ArgsError},
    model::{InvalidValue, NetnsPath},
};

/// `CNI_COMMAND`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// About one attachment.
    Attachment(AttachmentVerb),
    /// About a network.
    Network(NetworkVerb),
    /// About configurations to come.
    Operation(Operation),
    /// About the plugin.
    Version,
}

/// What is done to one attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachmentVerb {
    /// Attach.
    Add,
    /// Detach.
    Del,
    /// Compare with what ADD left.
    Check,
    /// Attach with what is prepared: an operation of repoint.
    Activate,
    /// Detach, and keep what was attached: an operation of repoint.
    Park,
}

impl AttachmentVerb {
    /// Whether it removes an attachment. Such a verb ignores errors in variables that it does not need.
    const fn removes(self) -> bool {
        matches!(self, Self::Del | Self::Park)
    }
}

/// What is made before there is a container: operations of repoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Make configurations and keep them.
    Prepare,
    /// Make a template, and configurations of it.
    Replicate,
}

/// What is done to a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkVerb {
    /// Remove attachments that are no longer valid.
    Gc,
    /// Report whether ADD can be served.
    Status,
}

/// A variable is missing or wrong.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// The call names no verb.
    #[error("CNI_COMMAND is missing or empty: it must be {COMMANDS}")]
    NoCommand,
    /// The call names an unknown verb.
    #[error("CNI_COMMAND is {given:?}: it must be {COMMANDS}")]
    UnknownCommand {
        /// What was given.
        given: String,
    },
    /// The verb needs the variable.
    #[error("{variable} is missing or empty: {command} needs it")]
    Missing {
        /// The variable.
        variable: &'static str,
        /// The verb.
        command: &'static str,
    },
    /// The variable's value is not of its form.
    #[error("{variable} is wrong: {source}")]
    Invalid {
        /// The variable.
        variable: &'static str,
        /// What is wrong with it.
        source: InvalidValue,
    },
    /// `CNI_ARGS` is not of its form.
    #[error("CNI_ARGS {0}")]
    Args(#[from] ArgsError),
    /// The variable's value is no text.
    #[error("{variable} is {given:?}: it must be UTF-8")]
    NotText {
        /// The variable.
        variable: &'static str,
        /// What was given.
        given: OsString,
    },
}

const COMMANDS: &str = "ADD, DEL, CHECK, GC, STATUS, VERSION, PREPARE, ACTIVATE, PARK or REPLICATE";

impl EnvironmentError {
    /// The error to print.
    pub fn to_cni(&self) -> CniError {
        CniError::from_error(ErrorCode::INVALID_ENVIRONMENT, self)
    }
}

impl Command {
    /// The value of `CNI_COMMAND`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Attachment(AttachmentVerb::Add) => "ADD",
            Self::Attachment(AttachmentVerb::Del) => "DEL",
            Self::Attachment(AttachmentVerb::Check) => "CHECK",
            Self::Attachment(AttachmentVerb::Activate) => "ACTIVATE",
            Self::Attachment(AttachmentVerb::Park) => "PARK",
            Self::Operation(Operation::Prepare) => "PREPARE",
            Self::Operation(Operation::Replicate) => "REPLICATE",
            Self::Network(NetworkVerb::Gc) => "GC",
            Self::Network(NetworkVerb::Status) => "STATUS",
            Self::Version => "VERSION",
        }
    }

    /// The version of the spec that brought it.
    pub const fn since(self) -> CniVersion {
        match self {
            Self::Attachment(AttachmentVerb::Check) => CniVersion::V0_4_0,
            Self::Network(_) => CniVersion::V1_1_0,
            Self::Attachment(_) | Self::Operation(_) | Self::Version => CniVersion::V0_1_0,
        }
    }
}

impl FromStr for Command {
    type Err = EnvironmentError;

    fn from_str(text: &str) -> Result<Self, EnvironmentError> {
        match text {
            "ADD" => Ok(Self::Attachment(AttachmentVerb::Add)),
            "DEL" => Ok(Self::Attachment(AttachmentVerb::Del)),
            "CHECK" => Ok(Self::Attachment(AttachmentVerb::Check)),
            "ACTIVATE" => Ok(Self::Attachment(AttachmentVerb::Activate)),
            "PARK" => Ok(Self::Attachment(AttachmentVerb::Park)),
            "PREPARE" => Ok(Self::Operation(Operation::Prepare)),
            "REPLICATE" => Ok(Self::Operation(Operation::Replicate)),
            "GC" => Ok(Self::Network(NetworkVerb::Gc)),
            "STATUS" => Ok(Self::Network(NetworkVerb::Status)),
            "VERSION" => Ok(Self::Version),
            _ => Err(EnvironmentError::UnknownCommand { given: text.to_owned() }),
        }
    }
}

/// The variables of a call.
#[derive(Clone, Copy)]
pub struct Environment<'a> {
    variable: &'a dyn Fn(&str) -> Option<OsString>,
}

impl<'a> Environment<'a> {
    /// Variables as `variable` returns them.
    pub fn new(variable: &'a dyn Fn(&str) -> Option<OsString>) -> Self {
        Self { variable }
    }

    /// `CNI_COMMAND`.
    pub fn command(&self) -> Result<Command, EnvironmentError> {
        self.text("CNI_COMMAND")?.ok_or(EnvironmentError::NoCommand)?.parse()
    }

    /// A variable that the verb needs, in the form of its type.
    pub fn require<T>(
        &self,
        variable: &'static str,
        command: Command,
    ) -> Result<T, EnvironmentError>
    where
        T: FromStr<Err = InvalidValue>,
    {
        let missing = || EnvironmentError::Missing { variable, command: command.name() };
        self.optional(variable)?.ok_or_else(missing)
    }

    /// A variable that the verb can do without, in the form of its type.
    pub fn optional<T>(&self, variable: &'static str) -> Result<Option<T>, EnvironmentError>
    where
        T: FromStr<Err = InvalidValue>,
    {
        let value = self.text(variable)?.map(|text| text.parse());
        value.transpose().map_err(|source| EnvironmentError::Invalid { variable, source })
    }

    /// `CNI_NETNS`. DEL and PARK take a wrong value as missing.
    pub fn netns(&self, verb: AttachmentVerb) -> Result<Option<NetnsPath>, EnvironmentError> {
        match self.checked_netns(verb) {
            Err(_) if verb.removes() => Ok(None),
            netns => netns.map(Some),
        }
    }

    fn checked_netns(&self, verb: AttachmentVerb) -> Result<NetnsPath, EnvironmentError> {
        let variable = "CNI_NETNS";
        match self.text(variable)? {
            None => {
                let command = Command::Attachment(verb).name();
                Err(EnvironmentError::Missing { variable, command })
            }
            Some(path) => match NetnsPath::new(path) {
                Ok(path) => Ok(path),
                Err(source) => Err(EnvironmentError::Invalid { variable, source }),
            },
        }
    }

    /// `CNI_ARGS`. DEL and PARK pass it on without a check.
    pub fn args(&self, verb: AttachmentVerb) -> Result<CniArgs, EnvironmentError> {
        if verb.removes() {
            let given = (self.variable)("CNI_ARGS").unwrap_or_default();
            return Ok(CniArgs::unchecked(given.to_string_lossy()));
        }
        self.checked_args()
    }

    /// `CNI_ARGS`, in its form.
    pub fn checked_args(&self) -> Result<CniArgs, EnvironmentError> {
        Ok(self.text("CNI_ARGS")?.unwrap_or_default().parse()?)
    }

    /// The directories of `CNI_PATH`.
    pub fn path(&self) -> Vec<PathBuf> {
        let path = (self.variable)("CNI_PATH").unwrap_or_default();
        env::split_paths(&path).filter(|directory| !directory.as_os_str().is_empty()).collect()
    }

    fn text(&self, variable: &'static str) -> Result<Option<String>, EnvironmentError> {
        match (self.variable)(variable).map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
            Some(Err(given)) => Err(EnvironmentError::NotText { variable, given }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use repoint::model::{ContainerId, IfName};

    use super::*;

    const ADD: Command = Command::Attachment(AttachmentVerb::Add);

    /// The outcome for an environment in which every variable has one value.
    fn with<T>(value: impl Into<OsString>, read: impl Fn(&Environment<'_>) -> T) -> T {
        let value = value.into();
        read(&Environment::new(&|_| Some(value.clone())))
    }

    #[test]
    fn every_command_is_known_by_its_name() {
        for name in [
            "ADD",
            "DEL",
            "CHECK",
            "GC",
            "STATUS",
            "VERSION",
            "PREPARE",
            "ACTIVATE",
            "PARK",
            "REPLICATE",
        ] {
            assert_eq!(with(name, |env| env.command().unwrap().name()), name);
        }
        for name in ["FROB", "add", " ADD"] {
            let error = with(name, |env| env.command().unwrap_err()).to_cni();
            assert_eq!(error.code, ErrorCode::INVALID_ENVIRONMENT);
            assert!(error.msg.contains("CNI_COMMAND") && error.msg.contains(name), "{error}");
        }
    }

    #[test]
    fn what_is_empty_is_missing_and_named() {
        let absent = Environment::new(&|_| None);
        let empty = Environment::new(&|_| Some(OsString::new()));
        for environment in [absent, empty] {
            let error = environment.require::<ContainerId>("CNI_CONTAINERID", ADD).unwrap_err();
            let expected = "CNI_CONTAINERID is missing or empty: ADD needs it";
            assert_eq!(error.to_string(), expected);
            let error = environment.netns(AttachmentVerb::Check).unwrap_err();
            assert_eq!(error.to_string(), "CNI_NETNS is missing or empty: CHECK needs it");
            assert_eq!(environment.netns(AttachmentVerb::Del).unwrap(), None);
            assert!(matches!(environment.command(), Err(EnvironmentError::NoCommand)));
            assert_eq!(environment.checked_args().unwrap(), CniArgs::default());
            assert_eq!(environment.args(AttachmentVerb::Del).unwrap(), CniArgs::default());
            assert_eq!(environment.path(), Vec::<PathBuf>::new());
        }
    }

    #[test]
    fn what_is_malformed_is_named() {
        let named = |variable: &str, error: EnvironmentError| {
            let error = error.to_cni();
            assert_eq!(error.code, ErrorCode::INVALID_ENVIRONMENT, "{error}");
            assert!(error.msg.starts_with(variable), "{error}");
        };
        for id in ["../x", " x", "a/b", "-x", "a\nb"] {
            let variable = "CNI_CONTAINERID";
            named(variable, with(id, |env| env.require::<ContainerId>(variable, ADD).unwrap_err()));
        }
        for ifname in ["abcdefghijklmnop", "a/b", "a:b", "a b", ".", ".."] {
            let variable = "CNI_IFNAME";
            named(variable, with(ifname, |env| env.require::<IfName>(variable, ADD).unwrap_err()));
        }
        named("CNI_NETNS", with("netns", |env| env.netns(AttachmentVerb::Add).unwrap_err()));
        named("CNI_ARGS", with("nonsense", |env| env.args(AttachmentVerb::Add).unwrap_err()));
        named("CNI_ARGS", with("nonsense", |env| env.checked_args().unwrap_err()));
        let bytes = OsString::from_vec(vec![b'/', 0xff]);
        named("CNI_NETNS", with(bytes, |env| env.netns(AttachmentVerb::Check).unwrap_err()));
    }

    #[test]
    fn del_and_park_succeed_with_what_they_have_no_use_for() {
        let bytes = OsString::from_vec(vec![b'/', 0xff]);
        for verb in [AttachmentVerb::Del, AttachmentVerb::Park] {
            for netns in [OsString::from("netns"), bytes.clone()] {
                assert_eq!(with(netns, |env| env.netns(verb).unwrap()), None);
            }
            for args in ["nonsense", "IP=10.1.0", "A=1;b"] {
                assert_eq!(with(args, |env| env.args(verb).unwrap().as_str().to_owned()), args);
            }
        }
    }

    #[test]
    fn the_path_is_split() {
        let environment = Environment::new(&|_| Some("/opt/cni/bin::/usr/lib/cni".into()));
        let expected: Vec<PathBuf> = vec!["/opt/cni/bin".into(), "/usr/lib/cni".into()];
        assert_eq!(environment.path(), expected);
    }
}
