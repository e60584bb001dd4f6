//! Key `ipam.resolvConf`: DNS settings out of a file of resolv.conf(5)'s form.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::cni::Dns;

/// The file could not be read.
#[derive(Debug, thiserror::Error)]
#[error("reading {}, which ipam.resolvConf names", path.display())]
pub struct ResolvConfError {
    /// The file.
    path: PathBuf,
    /// Why.
    source: io::Error,
}

/// Reads the DNS settings of a file.
pub fn read(path: &Path) -> Result<Dns, ResolvConfError> {
    let text = fs::read_to_string(path);
    text.map(|text| parse(&text))
        .map_err(|source| ResolvConfError { path: path.to_owned(), source })
}

/// Parses the text as host-local does.
///
/// Lists add up, the last `domain` counts, and unknown lines are skipped.
fn parse(text: &str) -> Dns {
    let mut dns = Dns::default();
    for line in text.lines().filter(|line| !line.trim_start().starts_with(['#', ';'])) {
        let mut words = line.split_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            Some("nameserver") => dns.nameservers.extend(words.next()),
            Some("domain") => dns.domain = words.next().or(dns.domain),
            Some("search") => dns.search.extend(words),
            Some("options") => dns.options.extend(words),
            _ => {}
        }
    }
    dns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_becomes_settings() {
        let text = "# made by hand\n; indeed\nnameserver 192.0.2.53 # not a comment here\n\
                    nameserver 2001:db8::53\n  domain example.org\nsearch a.example b.example\n\
                    search c.example\noptions ndots:5\nsortlist 10.0.0.0\nnameserver\n\n";
        let expected = Dns {
            nameservers: vec!["192.0.2.53".to_owned(), "2001:db8::53".to_owned()],
            domain: Some("example.org".to_owned()),
            search: vec!["a.example".to_owned(), "b.example".to_owned(), "c.example".to_owned()],
            options: vec!["ndots:5".to_owned()],
        };
        assert_eq!(parse(text), expected);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read(Path::new("/nonexistent/resolv.conf")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/resolv.conf"), "{error}");
        assert_eq!(error.source.kind(), io::ErrorKind::NotFound);
    }
}
