//! Where a template comes from, as text for people.

use std::time::SystemTime;

use crate::model::NetworkName;

/// The text of a template's origin: the network that it was made from, the node (`uname -n`) and
/// the time in UTC (RFC 3339).
#[must_use]
pub fn origin(network: &NetworkName, node: &str, made: SystemTime) -> String {
    let made = humantime::format_rfc3339_seconds(made);
    format!("network {network} on {node}, {made}")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn it_tells_network_node_and_time() {
        let made = UNIX_EPOCH + Duration::from_millis(1_763_909_594_750);
        assert_eq!(
            origin(&"functions".parse().unwrap(), "worker-1", made),
            "network functions on worker-1, 2025-11-23T14:53:14Z"
        );
    }
}
