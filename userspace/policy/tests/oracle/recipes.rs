//! The recipes of `docs/examples/policies` as sets, with their cases as flows.

use std::{collections::BTreeMap, fs, path::Path};

use repoint_policy::{
    Object, Traffic,
    cases::{Case, CaseEnd, CaseFile, Function},
    object::Kind,
    read::read_cases,
    write::to_json,
};
use serde_json::{Value, json};

/// From the crate's folder.
const FOLDER: &str = "../../docs/examples/policies";

/// A recipe, and the cases that the analyzer is asked about.
pub struct Recipe {
    name: String,
    file: CaseFile,
    asked: Vec<Case>,
}

/// All recipes of `NetworkPolicy` objects.
pub fn all() -> Vec<Recipe> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDER);
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort_unstable();
    let of_yaml = paths.iter().filter(|path| path.extension().is_some_and(|it| it == "yaml"));
    let recipes = of_yaml.map(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let mut file = read_cases(&fs::read(path).unwrap(), &name).unwrap();
        let cases = std::mem::take(&mut file.cases);
        let asked = cases.into_iter().filter(|case| is_known(&file, case)).collect();
        Recipe { name, file, asked }
    });
    let is_network = |object: &Object| object.id.kind == Kind::NetworkPolicy;
    recipes.filter(|recipe| recipe.file.objects.iter().all(is_network)).collect()
}

/// Whether the analyzer can answer: it knows neither the node, pings, nor functions without a tenant.
fn is_known(file: &CaseFile, case: &Case) -> bool {
    let is_pod = |end: &CaseEnd| match end {
        CaseEnd::Function(place) => file.functions[*place].party.tenant.is_some(),
        CaseEnd::Address(_) => true,
        CaseEnd::Host => false,
    };
    let Traffic { protocol, .. } = Traffic::from(case.traffic);
    [6, 17, 132].contains(&protocol) && is_pod(&case.from) && is_pod(&case.to)
}

impl Recipe {
    /// The recipe as text: JSON in one line.
    pub fn text(&self, id: usize) -> String {
        let with_tenant = self.file.functions.iter().filter(|it| it.party.tenant.is_some());
        let pods = with_tenant.clone().map(|Function { name, party, .. }| {
            let ports = party.ports.iter().map(
                |port| json!({ "name": port.name, "port": port.number, "protocol": port.protocol }),
            );
            let (_, name) = name.split_once('/').unwrap();
            json!({
                "namespace": party.tenant,
                "name": name,
                "labels": party.labels,
                "ports": ports.collect::<Vec<_>>(),
            })
        });
        let namespaces: BTreeMap<_, _> =
            with_tenant.map(|it| (it.party.tenant.clone(), &it.party.namespace_labels)).collect();
        let namespaces =
            namespaces.iter().map(|(name, labels)| json!({ "name": name, "labels": labels }));
        json!({
            "id": id,
            "namespaces": namespaces.collect::<Vec<_>>(),
            "pods": pods.collect::<Vec<_>>(),
            "policies": self.file.objects.iter().map(to_json).collect::<Vec<_>>(),
            "queries": self.asked.iter().map(|case| self.query(case)).collect::<Vec<_>>(),
        })
        .to_string()
    }

    fn query(&self, case: &Case) -> Value {
        let end = |end: &CaseEnd| match end {
            CaseEnd::Function(place) => self.file.functions[*place].name.clone(),
            CaseEnd::Address(address) => address.to_string(),
            CaseEnd::Host => "host".to_owned(),
        };
        let Traffic { protocol, port } = Traffic::from(case.traffic);
        let protocol = match protocol {
            6 => "TCP",
            17 => "UDP",
            _ => "SCTP",
        };
        json!({ "from": end(&case.from), "to": end(&case.to), "protocol": protocol, "port": port })
    }

    /// The cases of which the analyzer says otherwise, and how many there are.
    pub fn differences(&self, allowed: &[bool]) -> (Vec<String>, usize) {
        assert_eq!(allowed.len(), self.asked.len(), "answers");
        let wrong = self.asked.iter().zip(allowed).filter(|(case, other)| case.allow != **other);
        let text = |(case, other): (&Case, &bool)| {
            format!("{} line {}: by the analyzer {other}", self.name, case.line)
        };
        (wrong.map(text).collect(), self.asked.len())
    }
}
