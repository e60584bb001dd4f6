use std::{
    env,
    process::{Child, Command, Stdio},
};

use super::*;
use crate::template::{AddressSource, Operation, TemplateError, VERSION};

/// Names the folder to the process that [`two_processes_store_at_once`] starts.
const FOLDER: &str = "REPOINT_TEST_TEMPLATES";
/// How many templates each process stores.
const EACH: u32 = 20;
const CONFIRMED: TemplateSource = TemplateSource::Confirmed;

/// A container of a tenant's function.
fn container(tenant: &str, function: &str) -> TemplateSource {
    let owner = TemplateOwner {
        tenant: Some(tenant.parse().unwrap()),
        function: Some(function.parse().unwrap()),
    };
    let network = Some("functions".parse().unwrap());
    TemplateSource::Container(Box::new(Captured { owner, network, base: Some(template(1500)) }))
}

/// A record as it is written now.
fn record(template: &Template) -> Vec<u8> {
    let (digest, template) = (template.digest().unwrap(), template.clone());
    encode(&name("any"), &StoredTemplate { digest, stored: 1, source: CONFIRMED, template })
        .unwrap()
}

fn template(mtu: u32) -> Template {
    let operations = vec![
        Operation::CreateLink { mtu: Some(mtu) },
        Operation::AssignAddress { from: AddressSource::Ipam },
        Operation::AttachPrograms,
    ];
    Template { version: VERSION, origin: format!("mtu {mtu}"), operations }
}

fn name(text: &str) -> TemplateName {
    text.parse().unwrap()
}

/// Writes a record as it is.
fn put_raw(templates: &Templates, key: &str, record: &[u8]) {
    let put = templates.0.write(|mut transaction, tables| {
        transaction.put(tables.templates, &key, &record, WriteFlags::empty()).unwrap();
        transaction.commit().map_err(failed("commit"))
    });
    put.unwrap();
}

#[test]
fn what_is_stored_outlives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/templates");
    assert!(Templates::open_existing(&path).unwrap().is_none());
    assert!(!path.exists(), "looking makes no folder");
    let templates = Templates::open(&path).unwrap();
    assert_eq!(templates.put(&name("resize"), &template(1400), &CONFIRMED, 7).unwrap(), Put::New);
    drop(templates);
    let templates = Templates::open_existing(&path).unwrap().unwrap();
    let stored = templates.get(&name("resize")).unwrap().unwrap();
    assert_eq!(stored.template, template(1400));
    assert_eq!((stored.digest, stored.stored), (template(1400).digest().unwrap(), 7));
    assert_eq!(templates.get(&name("thumbs")).unwrap(), None);
}

#[test]
fn a_template_is_replaced_by_another_digest_only() {
    let folder = tempfile::tempdir().unwrap();
    let templates = Templates::open(folder.path()).unwrap();
    let resize = name("resize");
    assert_eq!(templates.put(&resize, &template(1400), &CONFIRMED, 1).unwrap(), Put::New);
    let renamed = Template { origin: "another".to_owned(), ..template(1400) };
    assert_eq!(templates.put(&resize, &renamed, &CONFIRMED, 2).unwrap(), Put::Unchanged);
    let stored = templates.get(&resize).unwrap().unwrap();
    assert_eq!((stored.template.origin.as_str(), stored.stored), ("mtu 1400", 1));
    assert_eq!(templates.put(&resize, &template(1300), &CONFIRMED, 3).unwrap(), Put::Changed);
    assert_eq!(templates.get(&resize).unwrap().unwrap().stored, 3);
    assert_eq!(templates.put(&name("a.first"), &template(1400), &CONFIRMED, 4).unwrap(), Put::New);
    let listed = templates.list().unwrap();
    let names: Vec<_> = listed.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a.first", "resize"]);
    assert!(templates.delete(&resize).unwrap());
    assert!(!templates.delete(&resize).unwrap());
    assert_eq!(templates.get(&resize).unwrap(), None);
}

#[test]
fn what_makes_no_sense_is_not_stored() {
    let folder = tempfile::tempdir().unwrap();
    let templates = Templates::open(folder.path()).unwrap();
    let error = templates.put(&name("resize"), &template(1), &CONFIRMED, 1).unwrap_err();
    assert_eq!(
        error.to_string(),
        "template resize: operation 1 (createLink): mtu 1 is not between 68 and 65535"
    );
    assert_eq!(templates.list().unwrap(), []);
}

#[test]
fn records_of_an_unknown_version_are_named_and_can_be_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let templates = Templates::open(folder.path()).unwrap();
    templates.put(&name("good"), &template(1400), &CONFIRMED, 1).unwrap();
    let mut newer = record(&template(1400));
    newer[0] += 1;
    put_raw(&templates, "newer", &newer);
    put_raw(&templates, "newest", &record(&Template { version: 2, ..template(1400) }));

    let reported = templates.get(&name("newer")).unwrap_err().to_string();
    assert!(
        reported.contains("newer") && reported.contains("its version is 3, known is 2"),
        "{reported}"
    );
    assert_eq!(templates.list().unwrap_err().to_string(), reported);
    let error = templates.get(&name("newest")).unwrap_err();
    assert!(
        matches!(error, StoreError::Template { source: TemplateError::Version { found: 2 }, .. }),
        "{error}"
    );
    assert!(templates.delete(&name("newer")).unwrap());
    // A template that cannot be read can be replaced as well.
    assert_eq!(
        templates.put(&name("newest"), &template(1300), &CONFIRMED, 2).unwrap(),
        Put::Changed
    );
    assert_eq!(templates.list().unwrap().len(), 2);
}

#[test]
fn damaged_records_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let templates = Templates::open(folder.path()).unwrap();
    let (digest, source) = (template(1400).digest().unwrap(), container("a", "resize"));
    let captured = StoredTemplate { digest, stored: 1, source, template: template(1400) };
    for whole in [record(&template(1400)), encode(&name("broken"), &captured).unwrap()] {
        for length in 0..whole.len() {
            put_raw(&templates, "broken", &whole[..length]);
            assert!(templates.get(&name("broken")).is_err(), "{length} bytes of {}", whole.len());
        }
    }
}

#[test]
fn another_schema_is_refused_with_advice() {
    let folder = tempfile::tempdir().unwrap();
    let templates = Templates::open(folder.path()).unwrap();
    let put = templates.0.write(|mut transaction, tables| {
        let next = (SCHEMA + 1).to_le_bytes();
        transaction.put(tables.meta, &SCHEMA_KEY, &next, WriteFlags::empty()).unwrap();
        transaction.commit().map_err(failed("commit"))
    });
    put.unwrap();
    drop(templates);
    let error = Templates::open(folder.path()).unwrap_err();
    assert!(error.to_string().contains("repoint template export"), "{error}");
    assert!(matches!(error, StoreError::Schema { found, .. } if found == SCHEMA + 1), "{error}");
}

#[test]
fn threads_that_store_the_same_agree_on_who_was_first() {
    let folder = tempfile::tempdir().unwrap();
    let templates = Templates::open(folder.path()).unwrap();
    let put = || templates.put(&name("resize"), &template(1400), &CONFIRMED, 1).unwrap();
    let puts: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(put)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(puts.iter().filter(|put| **put == Put::New).count(), 1, "{puts:?}");
    assert_eq!(puts.iter().filter(|put| **put == Put::Unchanged).count(), 7, "{puts:?}");
}

/// Stores templates of this process, and a template that all processes store.
fn store_some(templates: &Templates, process: &str) {
    for number in 0..EACH {
        let own = name(&format!("{process}-{number}"));
        assert_eq!(templates.put(&own, &template(1000 + number), &CONFIRMED, 1).unwrap(), Put::New);
        templates.put(&name("shared"), &template(1000 + number), &CONFIRMED, 1).unwrap();
        assert_eq!(templates.get(&own).unwrap().unwrap().template, template(1000 + number));
    }
}

#[test]
fn two_processes_store_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let start = |name: &str| -> Child {
        Command::new(env::current_exe().unwrap())
            .args(["--exact", "store::templates::tests::a_process_that_stores"])
            .env(FOLDER, folder.path())
            .env("NAME", name)
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let children = ["one", "two"].map(start);
    let templates = Templates::open(folder.path()).unwrap();
    store_some(&templates, "three");
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(templates.list().unwrap().len(), 3 * EACH as usize + 1);
}

/// The other side of [`two_processes_store_at_once`]; it does nothing of its own.
#[test]
fn a_process_that_stores() {
    if let Some(folder) = env::var_os(FOLDER) {
        let templates = Templates::open(Path::new(&folder)).unwrap();
        store_some(&templates, &env::var("NAME").unwrap());
    }
}

#[test]
fn where_a_template_comes_from_is_read_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let templates = Templates::open(folder.path()).unwrap();
    let anonymous = TemplateSource::Container(Box::default());
    for (number, source) in [CONFIRMED, container("a", "resize"), anonymous].iter().enumerate() {
        let one = name(&format!("t{number}"));
        assert_eq!(templates.put(&one, &template(1400), source, 1).unwrap(), Put::New);
        assert_eq!(templates.get(&one).unwrap().unwrap().source, *source);
    }
}

#[test]
fn a_container_replaces_only_what_one_of_its_function_made() {
    let folder = tempfile::tempdir().unwrap();
    let templates = Templates::open(folder.path()).unwrap();
    let (resize, own) = (name("resize"), container("a", "resize"));
    assert_eq!(templates.put(&resize, &template(1400), &own, 1).unwrap(), Put::New);
    assert_eq!(templates.put(&resize, &template(1300), &own, 2).unwrap(), Put::Changed);
    for other in [container("b", "resize"), container("a", "thumbs")] {
        for mtu in [1300, 1200] {
            let error = templates.put(&resize, &template(mtu), &other, 3).unwrap_err();
            assert!(matches!(error, StoreError::TemplateOfOther { .. }), "{error}");
            assert!(error.to_string().contains("function resize of tenant a"), "{error}");
        }
    }
    assert_eq!(templates.put(&resize, &template(1300), &CONFIRMED, 4).unwrap(), Put::Confirmed);
    assert_eq!(templates.put(&resize, &template(1300), &own, 5).unwrap(), Put::Unchanged);
    let error = templates.put(&resize, &template(1200), &own, 6).unwrap_err();
    assert!(matches!(error, StoreError::TemplateConfirmed { .. }), "{error}");
    let stored = templates.get(&resize).unwrap().unwrap();
    assert_eq!((stored.template, stored.source, stored.stored), (template(1300), CONFIRMED, 2));
}

#[test]
fn an_operator_replaces_what_a_container_made() {
    let folder = tempfile::tempdir().unwrap();
    let templates = Templates::open(folder.path()).unwrap();
    let resize = name("resize");
    templates.put(&resize, &template(1400), &container("a", "resize"), 1).unwrap();
    assert_eq!(templates.put(&resize, &template(1300), &CONFIRMED, 2).unwrap(), Put::Changed);
    assert_eq!(templates.get(&resize).unwrap().unwrap().source, CONFIRMED);
}

#[test]
fn what_is_confirmed_is_what_was_shown() {
    let folder = tempfile::tempdir().unwrap();
    let templates = Templates::open(folder.path()).unwrap();
    let (resize, own) = (name("resize"), container("a", "resize"));
    let shown = template(1400).digest().unwrap();
    assert_eq!(templates.confirm(&resize, shown).unwrap(), None);
    templates.put(&resize, &template(1400), &own, 1).unwrap();
    templates.put(&resize, &template(1300), &own, 2).unwrap();
    let error = templates.confirm(&resize, shown).unwrap_err();
    assert!(matches!(error, StoreError::TemplateReplaced { .. }), "{error}");
    assert_eq!(templates.get(&resize).unwrap().unwrap().source, own);
    let shown = template(1300).digest().unwrap();
    assert_eq!(templates.confirm(&resize, shown).unwrap(), Some(false));
    assert_eq!(templates.get(&resize).unwrap().unwrap().source, CONFIRMED);
    assert_eq!(templates.confirm(&resize, shown).unwrap(), Some(true));
}

/// A record of the previous version.
fn older(template: &Template) -> Vec<u8> {
    let mut encoder = Encoder::new(WITHOUT_SOURCE);
    let (digest, json) = (template.digest().unwrap(), template.to_json().unwrap());
    encoder.raw(&digest.0).u64(7).long(json.as_bytes());
    encoder.finish()
}

#[test]
fn what_an_older_build_made_of_a_container_is_for_nobody_until_it_is_confirmed() {
    let folder = tempfile::tempdir().unwrap();
    let templates = Templates::open(folder.path()).unwrap();
    let set = |key: &str| {
        let key = key.parse().unwrap();
        Operation::SetSysctl { key, value: "1".to_owned() }
    };
    let origin = "network functions on worker-1, 2026-11-23T14:53:14Z".to_owned();
    let mut plain = Template { origin, ..template(1400) };
    plain.operations.push(Operation::Masquerade);
    let mut changed = plain.clone();
    changed.operations.push(set("net.ipv4.tcp_keepalive_time"));
    let written = Template { origin: "by hand".to_owned(), ..changed.clone() };
    for (one, template, is_confirmed) in
        [("plain", &plain, true), ("changed", &changed, false), ("written", &written, true)]
    {
        put_raw(&templates, one, &older(template));
        let stored = templates.get(&name(one)).unwrap().unwrap();
        assert_eq!((&stored.template, stored.stored), (template, 7), "{one}");
        assert_eq!(stored.source == CONFIRMED, is_confirmed, "{one}: {:?}", stored.source);
    }
    let owner = TemplateOwner::default();
    let changed_now = templates.get(&name("changed")).unwrap().unwrap();
    assert_eq!(changed_now.source.owner(), Some(&owner));
    templates.confirm(&name("changed"), changed.digest().unwrap()).unwrap();
    assert_eq!(templates.get(&name("changed")).unwrap().unwrap().source, CONFIRMED);
}
