//! From a pod's name to its function's.

/// The letters that Kubernetes generates names from (`k8s.io/apimachinery/pkg/util/rand`): no vowels,
/// and nothing that looks like another.
const GENERATED: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Length of what is generated for a pod.
const SUFFIX: usize = 5;
/// Lengths of the hash of a ReplicaSet's pod template: 32 bits in ten letters, without leading ones
/// that are zero.
const HASH: std::ops::RangeInclusive<usize> = 6..=10;

/// The name that a pod was given by its Deployment, ReplicaSet, DaemonSet, Job, CronJob or
/// StatefulSet: the pod's name without what these append. A pod that was named by hand keeps its
/// name, unless its last part happens to be of the generated form.
pub(super) fn function(pod: &str) -> &str {
    let Some(owner) = without(pod, |part| part.len() == SUFFIX && is_generated(part)) else {
        // A StatefulSet counts its pods.
        return without(pod, is_number).unwrap_or(pod);
    };
    without(owner, |part| HASH.contains(&part.len()) && is_generated(part))
        // A CronJob's jobs are named for the minute, an indexed Job's pods for their number.
        .or_else(|| without(owner, is_number))
        .unwrap_or(owner)
}

/// The name without its last part, if that is as it should be and something is left.
fn without(name: &str, is_appended: impl Fn(&str) -> bool) -> Option<&str> {
    let (rest, part) = name.rsplit_once('-')?;
    (!rest.is_empty() && is_appended(part)).then_some(rest)
}

fn is_generated(part: &str) -> bool {
    part.bytes().all(|letter| GENERATED.contains(&letter))
}

fn is_number(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|digit| digit.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_generated_is_no_part_of_the_function() {
        for (pod, expected) in [
            // Deployment
            ("resize-image-5d59d67564-bcd2f", "resize-image"),
            ("resize-6799fc88d8-2wdz4", "resize"),
            ("hello-00001-deployment-7c9bf4c4d9-x7kzm", "hello-00001-deployment"),
            // DaemonSet, Job
            ("resize-x7kzm", "resize"),
            // CronJob, indexed Job
            ("resize-28910405-x7kzm", "resize"),
            ("resize-3-x7kzm", "resize"),
            // StatefulSet
            ("resize-0", "resize"),
            // by hand
            ("resize", "resize"),
            ("resize-image", "resize-image"),
            ("x7kzm", "x7kzm"),
            ("-x7kzm", "-x7kzm"),
            ("", ""),
        ] {
            assert_eq!(function(pod), expected, "{pod}");
        }
    }
}
