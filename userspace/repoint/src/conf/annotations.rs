//! The user of a slot, and what the user asks for.
//!
//! A runtime passes the pod's annotations (capability `io.kubernetes.cri.pod-annotations`); other
//! callers use `CNI_ARGS` or `args.cni`. Of each property the first value in this order counts, and
//! the network's configuration where there is none. Tenants write annotations, so the configuration
//! limits them. `CNI_ARGS` and `args.cni` are the node's own.

use std::{fmt, str::FromStr, time::Duration};

use super::{PoolConf, object, pod_name, pool::FunctionSource, spelling, time::Lasting};
use crate::{
    cni::{
        CniArgs,
        json::{KeyError, Object},
    },
    model::{FunctionKey, GivenLabels, InvalidValue, Mode, Scope, TemplateName, Tenant},
};

/// Prefix of repoint's annotations.
const PREFIX: &str = "repoint.dev/";
/// The pod's namespace: the tenant where the call names none.
const POD_NAMESPACE: &str = "K8S_POD_NAMESPACE";
/// The pod's name.
const POD_NAME: &str = "K8S_POD_NAME";
/// Makes unknown keys of `CNI_ARGS` no error (CNI conventions, `CNI_ARGS`).
const IGNORE_UNKNOWN: &str = "IgnoreUnknown";
/// The address asked for.
const IP: &str = "IP";
/// Known names in `CNI_ARGS`, beside annotations and [`IP`].
const ARGS: [&str; 3] = [POD_NAMESPACE, POD_NAME, IGNORE_UNKNOWN];
/// The capability by which a runtime passes a pod's annotations.
pub(super) const CAPABILITY: &str = "io.kubernetes.cri.pod-annotations";

/// A property that a pod or a caller can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Annotation {
    /// How the container is served.
    Mode,
    /// The function: what reuse is keyed by.
    Function,
    /// The tenant: a boundary that a slot crosses only where the network's scope allows it.
    Tenant,
    /// The stored template that the slot is made from.
    Template,
    /// How long the slot waits for its function afterwards.
    IdleTtl,
    /// How wide the container's trust domain is.
    Scope,
    /// Labels of the function, for policies.
    Labels,
    /// How many slots PREPARE and REPLICATE make. Not for pods.
    Count,
}

impl Annotation {
    /// The annotations that a pod can have.
    pub const ALL: [Self; 7] = [
        Self::Mode,
        Self::Function,
        Self::Tenant,
        Self::Template,
        Self::IdleTtl,
        Self::Scope,
        Self::Labels,
    ];

    /// Its whole name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mode => "repoint.dev/mode",
            Self::Function => "repoint.dev/function",
            Self::Tenant => "repoint.dev/tenant",
            Self::Template => "repoint.dev/template",
            Self::IdleTtl => "repoint.dev/idle-ttl",
            Self::Scope => "repoint.dev/scope",
            Self::Labels => "repoint.dev/labels",
            Self::Count => "repoint.dev/count",
        }
    }
}

impl FromStr for Annotation {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let found = Self::ALL.into_iter().find(|known| known.name() == text);
        let why = "must be repoint.dev/mode, function, tenant, template, idle-ttl, scope or labels";
        found.ok_or_else(|| InvalidValue::new("annotation", text, why))
    }
}

impl fmt::Display for Annotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The user of a slot, and what the user asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// The function.
    pub function: Option<FunctionKey>,
    /// The tenant.
    pub tenant: Option<Tenant>,
    /// How to serve the container; none: as the network's configuration says.
    pub mode: Option<Mode>,
    /// The stored template that the slot is made from; none: the network's.
    pub template: Option<TemplateName>,
    /// How long the slot waits for its function; none: as the network's slots do.
    pub idle_ttl: Option<Duration>,
    /// How wide the container's trust domain is; none: as the network's.
    pub scope: Option<Scope>,
    /// Labels of the function, for policies; none: those that it has.
    pub labels: Option<GivenLabels>,
}

/// Why a request of the user cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// A value in the configuration, or an annotation, is not of its form.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A value in `CNI_ARGS` is not of its form.
    #[error("CNI_ARGS: {annotation}: {source}")]
    Args {
        /// Which one.
        annotation: Annotation,
        /// What is wrong with it.
        source: InvalidValue,
    },
    /// A name in `CNI_ARGS` is unknown.
    #[error(
        "CNI_ARGS: {name} is not known: it must be repoint.dev/mode, function, tenant, template, idle-ttl, scope, labels or count"
    )]
    Unknown {
        /// The name.
        name: String,
    },
    /// A name differs from a known name by a letter or case.
    #[error("CNI_ARGS: {name} is not known: correct it to {known}, or set IgnoreUnknown=1")]
    Misspelt {
        /// The name.
        name: String,
        /// The known name that it resembles.
        known: &'static str,
    },
    /// The network does not let pods use the template.
    #[error(
        "annotation {}={template} is not allowed in this network: remove it, or have {template} listed \
         in key pool.templates of the network's configuration",
        Annotation::Template
    )]
    NotListed {
        /// What the pod asks for.
        template: TemplateName,
    },
    /// The network does not let pods set this annotation.
    #[error(
        "annotation {annotation}={value} is not allowed in this network: \
         remove it, or have it listed in key pool.annotations of the network's configuration"
    )]
    NotAllowed {
        /// The annotation.
        annotation: Annotation,
        /// What the pod asks for.
        value: String,
    },
}

/// The user of a slot, as far as the configuration describes it.
///
/// An error in it fails only calls that need the user. DEL still detaches the container of an ADD that
/// failed for this error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    annotations: Result<User, KeyError>,
    args: Result<Given, KeyError>,
}

/// The node's own values: a user, and the number of slots to make.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Given {
    user: User,
    count: Option<u32>,
}

impl Default for Named {
    fn default() -> Self {
        Self { annotations: Ok(User::default()), args: Ok(Given::default()) }
    }
}

impl Named {
    pub(super) fn read(conf: &Object<'_>, runtime: Option<&Object<'_>>) -> Result<Self, KeyError> {
        let args = object(conf, "args")?;
        let cni = args.as_ref().map_or(Ok(None), |args| object(args, "cni"))?;
        let annotations = runtime.map_or(Ok(None), |runtime| object(runtime, CAPABILITY));
        let annotations = annotations.and_then(|found| {
            found.as_ref().map_or(Ok(User::default()), |object| Ok(given(object, false)?.user))
        });
        let args = cni.as_ref().map_or(Ok(Given::default()), |object| given(object, true));
        Ok(Self { annotations, args })
    }

    /// The user of a pod, which may name only listed templates.
    ///
    /// Programs between the kubelet and a plugin also pass a pod's values in `CNI_ARGS` and `args.cni`
    /// (Multus: `cni-args`). A template that these name may therefore be the pod's choice.
    pub(super) fn pod(&self, conf: &PoolConf, args: &CniArgs) -> Result<User, UserError> {
        let user = self.user(conf, args)?;
        check_listed(conf, user.template.as_ref())?;
        Ok(user)
    }

    /// The user by annotations, `CNI_ARGS`, `args.cni` and the pod's names.
    pub(super) fn user(&self, conf: &PoolConf, args: &CniArgs) -> Result<User, UserError> {
        let (annotations, configured) = (self.annotations.clone()?, self.args.clone()?.user);
        let node = given_by_args(args)?.user.or(configured).or(User {
            tenant: args.get(POD_NAMESPACE).and_then(|name| name.parse().ok()),
            ..User::default()
        });
        annotations.check(conf, &node)?;
        check_listed(conf, annotations.template.as_ref())?;
        let mut user = annotations.or(node);
        if user.function.is_none() && conf.function_from == Some(FunctionSource::PodName) {
            let name = args.get(POD_NAME).map(pod_name::function);
            user.function = name.and_then(|name| name.parse().ok());
        }
        Ok(user)
    }

    /// How many slots the node asks for.
    pub(super) fn count(&self, args: &CniArgs) -> Result<Option<u32>, UserError> {
        Ok(given_by_args(args)?.count.or(self.args.clone()?.count))
    }
}

/// Refuses a template that pods of the network may not name.
fn check_listed(conf: &PoolConf, template: Option<&TemplateName>) -> Result<(), UserError> {
    match template.filter(|template| !conf.lists(template)) {
        Some(template) => Err(UserError::NotListed { template: template.clone() }),
        None => Ok(()),
    }
}

impl User {
    /// Refuses annotations that the network does not allow.
    ///
    /// A pod may always repeat the node's own value.
    fn check(&self, conf: &PoolConf, node: &Self) -> Result<(), UserError> {
        let [pods, nodes] = [self, node].map(Self::asked);
        for ((annotation, asked), (_, known)) in pods.into_iter().zip(nodes) {
            if let Some(value) = asked.filter(|_| !conf.annotations.holds(annotation))
                && known.as_ref() != Some(&value)
            {
                return Err(UserError::NotAllowed { annotation, value });
            }
        }
        Ok(())
    }

    /// The values of `self`, and those of `other` where `self` has none.
    fn or(self, other: Self) -> Self {
        Self {
            function: self.function.or(other.function),
            tenant: self.tenant.or(other.tenant),
            mode: self.mode.or(other.mode),
            template: self.template.or(other.template),
            idle_ttl: self.idle_ttl.or(other.idle_ttl),
            scope: self.scope.or(other.scope),
            labels: self.labels.or(other.labels),
        }
    }

    /// What is asked for, as text.
    fn asked(&self) -> [(Annotation, Option<String>); 7] {
        [
            (Annotation::Mode, self.mode.map(|mode| mode.name().to_owned())),
            (Annotation::Function, self.function.as_ref().map(ToString::to_string)),
            (Annotation::Tenant, self.tenant.as_ref().map(ToString::to_string)),
            (Annotation::Template, self.template.as_ref().map(ToString::to_string)),
            (
                Annotation::IdleTtl,
                self.idle_ttl.map(|ttl| humantime::format_duration(ttl).to_string()),
            ),
            (Annotation::Scope, self.scope.map(|scope| scope.name().to_owned())),
            (Annotation::Labels, self.labels.as_ref().map(ToString::to_string)),
        ]
    }
}

/// Reads the requests of an object.
///
/// An unknown name of repoint's is an error: with a misspelt scope, other functions could get a slot
/// that was meant for one function alone.
fn given(object: &Object<'_>, by_node: bool) -> Result<Given, KeyError> {
    let known = |name: &str| {
        name.parse::<Annotation>().is_ok() || (by_node && name == Annotation::Count.name())
    };
    let is_ours = |name: &str| name.starts_with(PREFIX) || is_misspelt(name);
    if let Some(name) = object.keys().find(|name| is_ours(name) && !known(name)) {
        return Err(object.bad_value(
            name,
            "this is no annotation of repoint: it must be repoint.dev/mode, function, tenant, \
             template, idle-ttl, scope or labels",
        ));
    }
    let user = User {
        function: value(object, Annotation::Function)?,
        tenant: value(object, Annotation::Tenant)?,
        mode: value(object, Annotation::Mode)?,
        template: value(object, Annotation::Template)?,
        idle_ttl: value(object, Annotation::IdleTtl)?.map(|Lasting(time)| time),
        scope: value(object, Annotation::Scope)?,
        labels: value(object, Annotation::Labels)?,
    };
    let count = object.get(Annotation::Count.name()).filter(|_| by_node);
    Ok(Given { user, count: count.map(|node| node.integer(COUNTS)).transpose()? })
}

/// Numbers of slots that one call can ask for.
const COUNTS: std::ops::RangeInclusive<u32> = 0..=65_536;

fn value<T>(object: &Object<'_>, annotation: Annotation) -> Result<Option<T>, KeyError>
where
    T: FromStr<Err = InvalidValue>,
{
    let node = object.text(annotation.name());
    node.map(|node| node.checked("a text such as \"resize-image\"")).transpose()
}

fn given_by_args(args: &CniArgs) -> Result<Given, UserError> {
    if args.get(IGNORE_UNKNOWN).is_none_or(|value| !matches!(value, "1" | "true")) {
        args.keys().try_for_each(check_arg)?;
    }
    let user = User {
        function: arg(args, Annotation::Function)?,
        tenant: arg(args, Annotation::Tenant)?,
        mode: arg(args, Annotation::Mode)?,
        template: arg(args, Annotation::Template)?,
        idle_ttl: arg(args, Annotation::IdleTtl)?.map(|Lasting(time)| time),
        scope: arg(args, Annotation::Scope)?,
        labels: arg(args, Annotation::Labels)?,
    };
    Ok(Given { user, count: arg(args, Annotation::Count)?.map(|Count(number)| number) })
}

/// Refuses unknown and misspelt names of repoint's in `CNI_ARGS`.
fn check_arg(name: &str) -> Result<(), UserError> {
    if name.parse::<Annotation>().is_ok() || name == Annotation::Count.name() {
        return Ok(());
    }
    if name.starts_with(PREFIX) || is_misspelt(name) {
        return Err(UserError::Unknown { name: name.to_owned() });
    }
    let is_ip = name != IP && name.eq_ignore_ascii_case(IP);
    // `IP` has two letters: a name that is one letter off may be any other name.
    match spelling::nearest(name, &ARGS).first().copied().or(is_ip.then_some(IP)) {
        Some(known) => Err(UserError::Misspelt { name: name.to_owned(), known }),
        None => Ok(()),
    }
}

/// Whether a name is nearly an annotation's.
fn is_misspelt(name: &str) -> bool {
    let names = Annotation::ALL.map(Annotation::name);
    !spelling::nearest(name, &names).is_empty() || spelling::is_near(name, Annotation::Count.name())
}

/// A value of `CNI_ARGS`; an empty one is none.
fn arg<T>(args: &CniArgs, annotation: Annotation) -> Result<Option<T>, UserError>
where
    T: FromStr<Err = InvalidValue>,
{
    let text = args.get(annotation.name()).filter(|text| !text.is_empty());
    text.map(str::parse).transpose().map_err(|source| UserError::Args { annotation, source })
}

/// A number of slots.
struct Count(u32);

impl FromStr for Count {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let number = text.parse().ok().filter(|number| COUNTS.contains(number));
        let why = "must be a whole number from 0 to 65536";
        number.map(Self).ok_or_else(|| InvalidValue::new("count", text, why))
    }
}
