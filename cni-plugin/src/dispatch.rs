//! From a call to its answer.

use std::io;

use repoint::{
    cni::{CniError, CniResult, CniVersion, ErrorCode},
    conf::{Document, NetConf, Purpose},
    model::{AttachmentId, IfName, InvalidValue},
    node::{NetworkRequest, NodeError, Request},
    store::Slot,
    sweep,
    verbs::{self, Made, OperationRequest},
};
use serde_json::{Value, json};

use crate::environment::{
    AttachmentVerb, Command, Environment, EnvironmentError, NetworkVerb, Operation,
};

/// This executable, which `main` lets remove interfaces.
const THIS: &str = "/proc/self/exe";

/// The operations beside the spec's verbs, as VERSION reports them.
const OPERATIONS: [Command; 4] = [
    Command::Operation(Operation::Prepare),
    Command::Attachment(AttachmentVerb::Activate),
    Command::Attachment(AttachmentVerb::Park),
    Command::Operation(Operation::Replicate),
];

/// The interface in a container where the call names none, for operations that allow that.
const INTERFACE: &str = "eth0";

/// A failed call, and the protocol version of its answer.
#[derive(Debug)]
pub struct Failure {
    version: CniVersion,
    error: CniError,
}

impl Failure {
    /// Standard input could not be read.
    pub fn input(error: &io::Error) -> Self {
        let msg = "reading the network configuration from standard input";
        let details = error.to_string();
        CniError { details, ..CniError::new(ErrorCode::IO_FAILURE, msg) }.into()
    }

    /// Standard input is longer than `most` bytes.
    pub fn too_long(most: u64) -> Self {
        let msg =
            format!("the network configuration on standard input is longer than {most} bytes");
        CniError::new(ErrorCode::DECODING_FAILURE, msg).into()
    }

    /// The JSON object to print.
    pub fn to_json(&self) -> String {
        self.error.to_json(self.version)
    }
}

/// Failures before the configuration's version is known.
impl From<CniError> for Failure {
    fn from(error: CniError) -> Self {
        Self { version: CniVersion::LATEST, error }
    }
}

impl From<EnvironmentError> for Failure {
    fn from(error: EnvironmentError) -> Self {
        error.to_cni().into()
    }
}

/// Answers a call: what to print on success.
pub fn answer(
    command: Command,
    environment: &Environment<'_>,
    input: Vec<u8>,
) -> Result<Option<String>, Failure> {
    match command {
        Command::Version => Ok(Some(versions(&input))),
        Command::Attachment(verb) => configured(command, input, |document, input| {
            attachment(verb, &request(verb, environment, document, input)?)
        }),
        Command::Operation(operation) => configured(command, input, |document, _| {
            operate(operation, &operation_request(environment, document)?).map(Some)
        }),
        Command::Network(verb) => configured(command, input, |document, input| {
            network(verb, &network_request(verb, environment, document, input)?).map(|()| None)
        }),
    }
}

/// Executes a verb, if the configuration's version has it.
fn configured<T>(
    command: Command,
    input: Vec<u8>,
    execute: impl FnOnce(&Document, Vec<u8>) -> Result<T, CniError>,
) -> Result<T, Failure> {
    let document = Document::parse(&input).map_err(|error| error.to_cni())?;
    let version = document.cni_version().map_err(|error| error.to_cni())?;
    check_since(command, version)
        .and_then(|()| execute(&document, input))
        .map_err(|error| Failure { version, error })
}

/// The answer to VERSION. It returns the caller's version, known or not. A caller that gives no
/// version, or no JSON at all, still gets the supported versions.
fn versions(input: &[u8]) -> String {
    let document = Document::parse(input).ok();
    let given = document.as_ref().and_then(Document::cni_version_text);
    let given = given.filter(|text| !text.is_empty());
    json!({
        "cniVersion": given.unwrap_or(CniVersion::LATEST.as_str()),
        "supportedVersions": CniVersion::ALL.map(CniVersion::as_str),
        "repoint.dev/operations": OPERATIONS.map(Command::name),
    })
    .to_string()
}

/// Refuses a verb that the configuration's version does not have.
fn check_since(command: Command, version: CniVersion) -> Result<(), CniError> {
    if version >= command.since() {
        return Ok(());
    }
    let (name, since) = (command.name(), command.since());
    let msg = format!("{name} came with CNI version {since}, but cniVersion is {version}");
    Err(CniError::new(ErrorCode::INCOMPATIBLE_VERSION, msg))
}

fn attachment(verb: AttachmentVerb, request: &Request) -> Result<Option<String>, CniError> {
    match verb {
        AttachmentVerb::Add => printed(request, verbs::add).map(Some),
        AttachmentVerb::Activate => printed(request, verbs::activate_request).map(Some),
        AttachmentVerb::Park => verbs::park_request(request).map(|()| None).map_err(|e| e.to_cni()),
        AttachmentVerb::Del => verbs::del(request).map(|()| None).map_err(|e| e.to_cni()),
        AttachmentVerb::Check => verbs::check(request).map(|()| None).map_err(|e| e.to_cni()),
    }
}

/// The result of a verb that attaches.
fn printed(
    request: &Request,
    attach: impl FnOnce(&Request) -> Result<CniResult, NodeError>,
) -> Result<String, CniError> {
    let result = attach(request).map_err(|error| error.to_cni())?;
    let printed = result.to_json(request.conf.cni_version);
    printed.map_err(|error| CniError::from_error(ErrorCode::IO_FAILURE, &error))
}

fn operate(operation: Operation, request: &OperationRequest) -> Result<String, CniError> {
    let version = request.conf.cni_version.as_str();
    let answer = match operation {
        Operation::Prepare => verbs::prepare_request(request)
            .map(|slots| json!({ "cniVersion": version, "slots": listed(&slots) })),
        Operation::Replicate => {
            verbs::replicate_request(request).map(|replicated| replica(version, &replicated))
        }
    };
    answer.map(|answer| answer.to_string()).map_err(|error| error.to_cni())
}

fn replica(version: &str, replicated: &Made) -> Value {
    json!({
        "cniVersion": version,
        "template": {
            "name": replicated.name,
            "digest": replicated.digest.to_string(),
            "version": replicated.template.version,
            "origin": replicated.template.origin,
            "stored": replicated.put.name(),
            "confirmed": replicated.owner.is_none(),
        },
        "slots": listed(&replicated.slots),
    })
}

fn listed(slots: &[Slot]) -> Vec<Value> {
    let listed = |slot: &Slot| {
        json!({
            "slot": slot.id.to_string(),
            "state": slot.state(),
            "mac": slot.mac,
            "addresses": slot.addresses,
            "template": slot.template.map(|digest| digest.to_string()),
        })
    };
    slots.iter().map(listed).collect()
}

fn network(verb: NetworkVerb, request: &NetworkRequest) -> Result<(), CniError> {
    match verb {
        NetworkVerb::Gc => sweep::gc(request),
        NetworkVerb::Status => verbs::status(request),
    }
    .map_err(|error| error.to_cni())
}

/// Which keys of the configuration count for a verb.
fn purpose(command: Command) -> Purpose {
    use AttachmentVerb::{Activate, Add, Check, Del, Park};
    match command {
        Command::Attachment(Add | Check | Activate) => Purpose::Attachment,
        Command::Attachment(Del | Park) | Command::Network(NetworkVerb::Gc) => Purpose::Removal,
        _ => Purpose::Network,
    }
}

/// Builds the request. Checks the parameters before the configuration's keys, as libcni does.
fn request(
    verb: AttachmentVerb,
    environment: &Environment<'_>,
    document: &Document,
    input: Vec<u8>,
) -> Result<Request, CniError> {
    let command = Command::Attachment(verb);
    let parameters = || {
        let container = environment.require("CNI_CONTAINERID", command)?;
        let ifname = environment.require("CNI_IFNAME", command)?;
        Ok((container, ifname, environment.netns(verb)?, environment.args(verb)?))
    };
    let (container, ifname, netns, args) =
        parameters().map_err(|error: EnvironmentError| error.to_cni())?;
    let conf = NetConf::read(document, purpose(command)).map_err(|error| error.to_cni())?;
    let attachment = AttachmentId { network: conf.name.clone(), container, ifname };
    Ok(Request {
        conf,
        attachment,
        netns,
        args,
        cni_path: environment.path(),
        input,
        remover: Some(THIS.into()),
    })
}

fn operation_request(
    environment: &Environment<'_>,
    document: &Document,
) -> Result<OperationRequest, CniError> {
    let parameters = || {
        let container = environment.optional("CNI_CONTAINERID")?;
        let ifname: Option<IfName> = environment.optional("CNI_IFNAME")?;
        let default =
            |source: InvalidValue| EnvironmentError::Invalid { variable: "CNI_IFNAME", source };
        let ifname = ifname.map_or_else(|| INTERFACE.parse().map_err(default), Ok)?;
        Ok((container, ifname, environment.checked_args()?))
    };
    let (container, ifname, args) =
        parameters().map_err(|error: EnvironmentError| error.to_cni())?;
    let conf = NetConf::read(document, Purpose::Network).map_err(|error| error.to_cni())?;
    Ok(OperationRequest { conf, ifname, container, args })
}

fn network_request(
    verb: NetworkVerb,
    environment: &Environment<'_>,
    document: &Document,
    input: Vec<u8>,
) -> Result<NetworkRequest, CniError> {
    let purpose = purpose(Command::Network(verb));
    let conf = NetConf::read(document, purpose).map_err(|error| error.to_cni())?;
    Ok(NetworkRequest { conf, cni_path: environment.path(), input, remover: Some(THIS.into()) })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::environment::Environment;

    /// The answer, or the error, to a call with every variable but `CNI_PATH` set.
    fn call(command: &str, input: &str) -> Result<Option<Value>, Value> {
        let variables = |name: &str| {
            let value = match name {
                "CNI_CONTAINERID" => "c1",
                "CNI_IFNAME" => "eth0",
                "CNI_NETNS" => "/nonexistent/netns",
                _ => return None,
            };
            Some(value.into())
        };
        let command = command.parse().unwrap();
        let json = |text: String| serde_json::from_str(&text).unwrap();
        answer(command, &Environment::new(&variables), input.into())
            .map(|answer| answer.map(json))
            .map_err(|failure| json(failure.to_json()))
    }

    #[test]
    fn version_returns_the_version_that_it_is_asked_in() {
        for (input, expected) in [
            (r#"{"cniVersion": "0.3.1"}"#, "0.3.1"),
            (r#"{"cniVersion": "9.9.9"}"#, "9.9.9"),
            ("", "1.1.0"),
            ("\n", "1.1.0"),
            ("{}", "1.1.0"),
            (r#"{"cniVersion": ""}"#, "1.1.0"),
            ("not json", "1.1.0"),
        ] {
            let answer = call("VERSION", input).unwrap().unwrap();
            assert_eq!(answer["cniVersion"], expected, "{input:?}");
            let operations = json!(["PREPARE", "ACTIVATE", "PARK", "REPLICATE"]);
            assert_eq!(answer["repoint.dev/operations"], operations, "{input:?}");
            let expected = json!(["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]);
            assert_eq!(answer["supportedVersions"], expected, "{input:?}");
        }
    }

    #[test]
    fn a_verb_that_the_version_does_not_have_is_refused_in_that_version() {
        for (command, version) in [("CHECK", "0.3.1"), ("GC", "1.0.0"), ("STATUS", "1.0.0")] {
            let error = call(command, &json!({"cniVersion": version}).to_string()).unwrap_err();
            assert_eq!(error["code"], 1, "{error}");
            assert_eq!(error["cniVersion"], version, "{error}");
            let msg = error["msg"].as_str().unwrap();
            assert!(msg.contains(command) && msg.contains(version), "{error}");
        }
    }

    #[test]
    fn errors_about_the_configuration_have_the_specs_codes() {
        for command in
            ["ADD", "DEL", "CHECK", "GC", "STATUS", "PREPARE", "ACTIVATE", "PARK", "REPLICATE"]
        {
            for (input, code, reported) in [
                ("{", 6, "not JSON"),
                ("", 6, "standard input"),
                ("[]", 7, "network configuration"),
                (r#"{"cniVersion": 1.0}"#, 7, "cniVersion"),
                (r#"{"cniVersion": "9.9.9"}"#, 1, "cniVersion"),
                (r#"{"cniVersion": "1.1.0", "type": "repoint-cni"}"#, 7, "name"),
                (r#"{"cniVersion": "1.1.0", "name": "../x"}"#, 7, "name"),
            ] {
                let error = call(command, input).unwrap_err();
                assert_eq!(error["code"], code, "{command} {input}: {error}");
                let msg = error["msg"].as_str().unwrap();
                assert!(msg.contains(reported), "{command} {input}: {error}");
            }
        }
    }

    #[test]
    fn parameters_come_before_the_configurations_keys() {
        let environment = Environment::new(&|_| None);
        let input = br#"{"cniVersion": "0.4.0", "name": "../x"}"#.to_vec();
        let command = "ADD".parse().unwrap();
        let failure = answer(command, &environment, input).unwrap_err();
        assert_eq!(failure.version, CniVersion::V0_4_0);
        assert_eq!(failure.error.code, ErrorCode::INVALID_ENVIRONMENT);
        assert!(failure.error.msg.contains("CNI_CONTAINERID"), "{failure:?}");
    }
}
