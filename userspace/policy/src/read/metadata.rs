//! Field `metadata`: `ObjectMeta` of `meta/v1`.

use super::{
    Problem, ReadError,
    cursor::Cursor,
    names::{A_DNS_LABEL, A_SUBDOMAIN, is_dns_label, is_subdomain},
    problem::shown,
};
use crate::object::{Kind, ObjectId};

/// The fields. Only `name`, `namespace` and `annotations` count; but a misspelt `namespace` would
/// put a policy into another one.
const FIELDS: [&str; 15] = [
    "name",
    "namespace",
    "labels",
    "annotations",
    "uid",
    "resourceVersion",
    "generation",
    "generateName",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "ownerReferences",
    "finalizers",
    "managedFields",
    "selfLink",
];
/// What annotations of this project begin with.
const OWN: &str = "repoint.dev/";
const AUDIT: &str = "repoint.dev/audit";
/// The namespace of objects that name none.
pub(super) const DEFAULT_NAMESPACE: &str = "default";

/// What counts of the metadata.
pub(super) struct Metadata {
    /// The object's name.
    pub id: ObjectId,
    /// Whether it only reports.
    pub audit: bool,
}

/// The metadata of an object of this kind.
pub(super) fn read(metadata: Cursor<'_>, kind: Kind) -> Result<Metadata, ReadError> {
    let metadata = metadata.object(&FIELDS)?;
    let name = metadata.required("name", |name| {
        name.parse(A_SUBDOMAIN, |text| is_subdomain(text).then(|| text.to_owned()))
    })?;
    let namespace = metadata.optional("namespace", |field| namespace(field, kind))?;
    let namespace = match kind {
        Kind::NetworkPolicy => namespace.flatten().or_else(|| Some(DEFAULT_NAMESPACE.to_owned())),
        Kind::ClusterNetworkPolicy => None,
    };
    let audit = metadata.optional("annotations", audit)?.unwrap_or(false);
    Ok(Metadata { id: ObjectId { kind, namespace, name }, audit })
}

/// The namespace; none if the text is empty, which the server takes as absent.
fn namespace(field: Cursor<'_>, kind: Kind) -> Result<Option<String>, ReadError> {
    let text = field.text()?;
    if text.is_empty() {
        return Ok(None);
    }
    if kind == Kind::ClusterNetworkPolicy {
        return Err(field.error(Problem::HasNamespace));
    }
    field.parse(A_DNS_LABEL, |text| is_dns_label(text).then(|| Some(text.to_owned())))
}

fn audit(annotations: Cursor<'_>) -> Result<bool, ReadError> {
    let annotations = annotations.map()?;
    annotations.pairs(known_annotation)?;
    let audit = annotations.optional(AUDIT, |audit| {
        audit.parse("\"true\" or \"false\"", |text| text.parse::<bool>().ok())
    })?;
    Ok(audit.unwrap_or(false))
}

/// A misspelt `repoint.dev/audit` would drop packets.
fn known_annotation(key: Cursor<'_>, _: Cursor<'_>) -> Result<(), ReadError> {
    let text = key.text()?;
    if text.starts_with(OWN) && text != AUDIT {
        return Err(key.error(Problem::UnknownAnnotation(shown(text))));
    }
    Ok(())
}
