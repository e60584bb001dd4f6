//! Derives a function's name from a pod's name.

/// The characters of generated names (`k8s.io/apimachinery/pkg/util/rand`).
///
/// Kubernetes leaves out vowels, and characters that look alike.
const GENERATED: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Length of the suffix that Kubernetes generates for a pod.
const SUFFIX: usize = 5;
/// Lengths of the hash of a ReplicaSet's pod template.
///
/// The hash is a 32-bit number in decimal, without leading zeros, with one letter for each digit.
const HASH: std::ops::RangeInclusive<usize> = 6..=10;

/// The function's name: the pod's name without the suffixes of its owner.
///
/// A Deployment, ReplicaSet, DaemonSet, Job, CronJob or StatefulSet appends these suffixes. A pod that
/// a person named keeps its name, unless its last part happens to have the generated form.
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

/// The name without its last part, if `is_appended` accepts that part.
///
/// None where nothing would be left.
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
