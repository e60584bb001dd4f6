//! Forms of names, as `apimachinery/pkg/util/validation` has them.

/// Longest DNS label, and longest name and value of a label.
const LABEL: usize = 63;
/// Longest DNS subdomain.
const SUBDOMAIN: usize = 253;
/// Longest name of a port (RFC 6335, section 5.1).
const PORT_NAME: usize = 15;

/// What [`is_subdomain`] asks for.
pub(super) const A_SUBDOMAIN: &str = "a DNS subdomain: at most 253 lowercase letters, digits, \"-\" \
                                      and \".\", with a letter or digit at both ends of each part";
/// What [`is_dns_label`] asks for.
pub(super) const A_DNS_LABEL: &str = "a DNS label: at most 63 lowercase letters, digits and \"-\", \
                                      with a letter or digit at both ends";
/// What [`is_label_key`] asks for.
pub(super) const A_LABEL_KEY: &str = "the key of a label: an optional DNS subdomain and \"/\", then \
                                      at most 63 letters, digits, \"-\", \"_\" and \".\", with a \
                                      letter or digit at both ends";
/// What [`is_label_value`] asks for.
pub(super) const A_LABEL_VALUE: &str = "the value of a label: at most 63 letters, digits, \"-\", \
                                        \"_\" and \".\", with a letter or digit at both ends";
/// What [`is_port_name`] asks for.
pub(super) const A_PORT_NAME: &str = "the name of a port: at most 15 lowercase letters, digits and \
                                      single \"-\", of which one is a letter and none at an end is \
                                      \"-\"";

/// Whether this may be the name of an object.
pub(super) fn is_subdomain(name: &str) -> bool {
    name.len() <= SUBDOMAIN && name.split('.').all(is_dns_part)
}

/// Whether this may be a namespace.
pub(super) fn is_dns_label(name: &str) -> bool {
    name.len() <= LABEL && is_dns_part(name)
}

/// Whether this may be a label's key.
pub(super) fn is_label_key(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(p, name)| (Some(p), name));
    prefix.is_none_or(is_subdomain) && !name.is_empty() && is_label_value(name)
}

/// Whether this may be a label's value.
pub(super) fn is_label_value(value: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    value.is_empty()
        || value.len() <= LABEL
            && value.bytes().all(allowed)
            && ends_are(value, |byte| byte.is_ascii_alphanumeric())
}

/// Whether this may be the name of a port.
pub(super) fn is_port_name(name: &str) -> bool {
    name.len() <= PORT_NAME
        && is_dns_part(name)
        && name.bytes().any(|byte| byte.is_ascii_lowercase())
        && !name.contains("--")
}

fn is_dns_part(part: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    part.bytes().all(|byte| alphanumeric(byte) || byte == b'-') && ends_are(part, alphanumeric)
}

/// Whether there is a first and a last byte, and both are of a kind.
fn ends_are(text: &str, kind: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|byte| kind(*byte)) && bytes.last().is_some_and(|byte| kind(*byte))
}
