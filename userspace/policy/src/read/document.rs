//! Documents: objects and lists of objects.

use std::collections::BTreeMap;

use super::{
    MAX_OBJECTS, Problem, ReadError, cases, cluster,
    cursor::{Cursor, Nulls},
    metadata::{self, DEFAULT_NAMESPACE, Metadata},
    network,
    problem::shown,
    tree::Node,
};
use crate::object::{Kind, Object, ObjectId, Spec};

const OBJECT: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
const LIST: [&str; 4] = ["apiVersion", "kind", "metadata", "items"];
/// Longest name of an object that an error shows.
const MAX_NAME: usize = 253;

const NETWORK_V1: &str = "networking.k8s.io/v1";
const CLUSTER_V1ALPHA2: &str = "policy.networking.k8s.io/v1alpha2";
const CLUSTER_V1BETA1: &str = "policy.networking.k8s.io/v1beta1";

/// What a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// An object.
    Object(Kind),
    /// A list of objects of one kind.
    ListOf(Kind),
    /// A list of objects.
    List,
}

/// The objects of a text, and the lines on which they begin.
#[derive(Default)]
pub(super) struct Collection {
    objects: Vec<Object>,
    lines: BTreeMap<ObjectId, u64>,
}

/// The objects of all documents.
pub(super) fn read_all(documents: &[Node<'_>]) -> Result<Vec<Object>, ReadError> {
    let mut collection = Collection::default();
    for document in documents {
        collection.add_document(Cursor::root(document))?;
    }
    Ok(collection.objects)
}

impl Collection {
    /// The objects of a document, beside those of the documents before.
    pub(super) fn add_document(&mut self, root: Cursor<'_>) -> Result<(), ReadError> {
        self.add_form(root).map_err(|error| error.in_object(label(root, None)))
    }

    /// The objects, in their order.
    pub(super) fn into_objects(self) -> Vec<Object> {
        self.objects
    }

    fn add_form(&mut self, root: Cursor<'_>) -> Result<(), ReadError> {
        if cases::is_test(root) {
            return Ok(());
        }
        match form(root)? {
            Form::Object(kind) => self.add(root, kind),
            Form::ListOf(kind) => self.add_list(root, |item| check_item(item, kind).map(|()| kind)),
            Form::List => self.add_list(root, item_kind),
        }
    }

    fn add_list(
        &mut self,
        root: Cursor<'_>,
        kind: impl Fn(Cursor<'_>) -> Result<Kind, ReadError>,
    ) -> Result<(), ReadError> {
        let list = root.object(&LIST)?;
        let add = |item: Cursor<'_>| {
            let item = item.as_root();
            let kind = kind(item).map_err(|error| error.in_object(label(item, None)))?;
            self.add(item, kind).map_err(|error| error.in_object(label(item, Some(kind))))
        };
        list.optional("items", |items| items.items(add)).map(|_| ())
    }

    fn add(&mut self, root: Cursor<'_>, kind: Kind) -> Result<(), ReadError> {
        let object = object(root, kind)?;
        if self.objects.len() == MAX_OBJECTS {
            return Err(root.error(Problem::TooManyObjects));
        }
        if let Some(line) = self.lines.insert(object.id.clone(), root.position().line) {
            return Err(root.error(Problem::SameObject { line }));
        }
        self.objects.push(object);
        Ok(())
    }
}

fn object(root: Cursor<'_>, kind: Kind) -> Result<Object, ReadError> {
    let fields = root.object(&OBJECT)?;
    let Metadata { id, audit } =
        fields.required("metadata", |metadata| metadata::read(metadata, kind))?;
    let spec = fields.required("spec", |spec| match kind {
        Kind::NetworkPolicy => network::read(spec).map(Spec::Network),
        Kind::ClusterNetworkPolicy => {
            cluster::read(spec.with_nulls(Nulls::Refused)).map(Spec::Cluster)
        }
    })?;
    Ok(Object { id, audit, spec })
}

/// What a document is, by its kind and API version.
fn form(root: Cursor<'_>) -> Result<Form, ReadError> {
    let fields = root.map()?;
    let owned = |field: Cursor<'_>| field.text().map(str::to_owned);
    let api_version = fields.required("apiVersion", owned)?;
    let kind = fields.required("kind", owned)?;
    match (kind.as_str(), api_version.as_str()) {
        ("NetworkPolicy", NETWORK_V1) => Ok(Form::Object(Kind::NetworkPolicy)),
        ("NetworkPolicyList", NETWORK_V1) => Ok(Form::ListOf(Kind::NetworkPolicy)),
        ("ClusterNetworkPolicy", CLUSTER_V1ALPHA2 | CLUSTER_V1BETA1) => {
            Ok(Form::Object(Kind::ClusterNetworkPolicy))
        }
        ("ClusterNetworkPolicyList", CLUSTER_V1ALPHA2 | CLUSTER_V1BETA1) => {
            Ok(Form::ListOf(Kind::ClusterNetworkPolicy))
        }
        ("List", "v1") => Ok(Form::List),
        _ => {
            let (kind, api_version) = (shown(&kind), shown(&api_version));
            Err(root.error(Problem::WrongKind { kind, api_version }))
        }
    }
}

/// The kind of an element of a `List`, which has no lists in it.
fn item_kind(item: Cursor<'_>) -> Result<Kind, ReadError> {
    match form(item)? {
        Form::Object(kind) => Ok(kind),
        Form::ListOf(_) | Form::List => Err(item.error(Problem::NestedList)),
    }
}

/// Checks kind and API version of an element of a list of one kind. The server omits them.
fn check_item(item: Cursor<'_>, kind: Kind) -> Result<(), ReadError> {
    let fields = item.map()?;
    let versions: &[&str] = match kind {
        Kind::NetworkPolicy => &[NETWORK_V1],
        Kind::ClusterNetworkPolicy => &[CLUSTER_V1ALPHA2, CLUSTER_V1BETA1],
    };
    fields.optional("kind", |field| check_text(field, &[kind.name()]))?;
    fields.optional("apiVersion", |field| check_text(field, versions))?;
    Ok(())
}

fn check_text(field: Cursor<'_>, allowed: &[&'static str]) -> Result<(), ReadError> {
    let text = field.text()?;
    match allowed {
        [wanted, ..] if !allowed.contains(&text) => {
            Err(field.error(Problem::WrongItem { found: shown(text), wanted }))
        }
        _ => Ok(()),
    }
}

/// Kind, namespace and name as they are written, for errors; the kind, if it is not written.
fn label(root: Cursor<'_>, kind: Option<Kind>) -> Option<String> {
    let fields = root.map().ok()?;
    let kind = fields.get("kind").and_then(printable).or(kind.map(|kind| kind.name().to_owned()))?;
    let metadata = fields.get("metadata")?.map().ok()?;
    let name = metadata.get("name").and_then(printable)?;
    let is_namespaced = kind == Kind::NetworkPolicy.name();
    let namespace = metadata
        .get("namespace")
        .and_then(printable)
        .or_else(|| is_namespaced.then(|| DEFAULT_NAMESPACE.to_owned()));
    Some(match namespace {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    })
}

fn printable(field: Cursor<'_>) -> Option<String> {
    let text = field.text().ok()?;
    let is_printable = text.len() <= MAX_NAME && text.bytes().all(|byte| byte.is_ascii_graphic());
    (is_printable && !text.is_empty()).then(|| text.to_owned())
}
