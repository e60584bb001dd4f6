//! Who is to use a slot: a function, and the tenant that it belongs to.
//!
//! A runtime says so by annotations of the pod (capability `io.kubernetes.cri.pod-annotations`),
//! others by `CNI_ARGS` or `args.cni`; the first of these that names one counts.

use super::object;
use crate::{
    cni::{
        CniArgs,
        json::{KeyError, Object},
    },
    types::{FunctionKey, InvalidValue, Tenant},
};

/// The function: what reuse is keyed by.
pub const FUNCTION: &str = "repoint.dev/function";
/// The tenant: a boundary that a slot crosses only where the network's scope allows it.
pub const TENANT: &str = "repoint.dev/tenant";
/// What stands for the tenant where none is named: the pod's namespace.
const POD_NAMESPACE: &str = "K8S_POD_NAMESPACE";
/// The capability by which a runtime passes a pod's annotations.
const ANNOTATIONS: &str = "io.kubernetes.cri.pod-annotations";

const EXAMPLE: &str = "a name such as \"resize-image\"";

/// Who is to use a slot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// The function.
    pub function: Option<FunctionKey>,
    /// The tenant.
    pub tenant: Option<Tenant>,
}

/// Who uses a slot, as far as the configuration says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    annotations: User,
    args: User,
}

impl Named {
    pub(super) fn read(conf: &Object<'_>, runtime: Option<&Object<'_>>) -> Result<Self, KeyError> {
        let annotations = runtime.map_or(Ok(None), |runtime| object(runtime, ANNOTATIONS))?;
        let args = object(conf, "args")?;
        let cni = args.as_ref().map_or(Ok(None), |args| object(args, "cni"))?;
        Ok(Self { annotations: user(annotations.as_ref())?, args: user(cni.as_ref())? })
    }

    /// With what `CNI_ARGS` says.
    pub(super) fn user(&self, args: &CniArgs) -> Result<User, InvalidValue> {
        let function = args.get(FUNCTION).filter(|name| !name.is_empty());
        let tenant = args.get(TENANT).filter(|name| !name.is_empty());
        let function = function.map(str::parse).transpose()?;
        let tenant = tenant.map(str::parse).transpose()?;
        let namespace = args.get(POD_NAMESPACE).and_then(|name| name.parse().ok());
        let (annotated, last) = (self.annotations.clone(), self.args.clone());
        Ok(User {
            function: annotated.function.or(function).or(last.function),
            tenant: annotated.tenant.or(tenant).or(last.tenant).or(namespace),
        })
    }
}

fn user(object: Option<&Object<'_>>) -> Result<User, KeyError> {
    let Some(object) = object else {
        return Ok(User::default());
    };
    Ok(User {
        function: object.get(FUNCTION).map(|node| node.checked(EXAMPLE)).transpose()?,
        tenant: object.get(TENANT).map(|node| node.checked(EXAMPLE)).transpose()?,
    })
}
