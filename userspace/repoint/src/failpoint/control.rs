//! What the environment asks of points, and doing it.

use std::{
    env,
    fs::File,
    io::Write as _,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use nix::sys::signal::{Signal, raise};

static CONTROL: LazyLock<Control> = LazyLock::new(|| Control {
    points: env::var("REPOINT_FAILPOINT").map(|text| parse_all(&text)).unwrap_or_default(),
    // Opened once: some points are passed in another mount namespace.
    trace: env::var_os("REPOINT_FAILPOINT_TRACE")
        .and_then(|path| File::options().create(true).append(true).open(path).ok()),
});

/// What the environment asks for: each point with the number of times that it was passed.
struct Control {
    points: Vec<(Point, AtomicUsize)>,
    trace: Option<File>,
}

/// Where the process is to end or stop.
#[derive(Debug, PartialEq, Eq)]
struct Point {
    name: String,
    number: usize,
    signal: Signal,
}

/// Points that are separated by commas.
fn parse_all(text: &str) -> Vec<(Point, AtomicUsize)> {
    text.split(',').filter_map(parse).map(|point| (point, AtomicUsize::new(0))).collect()
}

fn parse(text: &str) -> Option<Point> {
    let (point, signal) = match text.split_once('=') {
        None => (text, Signal::SIGKILL),
        Some((point, "stop")) => (point, Signal::SIGSTOP),
        Some(_) => return None,
    };
    let (name, number) = match point.split_once('#') {
        None => (point, 1),
        Some((name, number)) => (name, number.parse().ok()?),
    };
    Some(Point { name: name.to_owned(), number, signal })
}

pub(super) fn pass(name: &str) {
    let Control { points, trace } = &*CONTROL;
    if let Some(mut file) = trace.as_ref() {
        // One write: lines of threads and processes do not mix.
        drop(file.write_all(format!("{name}\n").as_bytes()));
    }
    for (point, passed) in points.iter().filter(|(point, _)| point.name == name) {
        if passed.fetch_add(1, Ordering::Relaxed) + 1 == point.number {
            // The kernel kills or stops before this returns. A signal to the process might be taken by
            // another thread, while this one goes on for some steps.
            raise(point.signal).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_named_with_its_passing_and_what_is_to_be_done() {
        let wanted = |name: &str, number, signal| Point { name: name.into(), number, signal };
        assert_eq!(parse("add:built"), Some(wanted("add:built", 1, Signal::SIGKILL)));
        assert_eq!(parse("add:built#3"), Some(wanted("add:built", 3, Signal::SIGKILL)));
        assert_eq!(parse("a:b#2=stop"), Some(wanted("a:b", 2, Signal::SIGSTOP)));
        assert_eq!(parse("a:b=stop"), Some(wanted("a:b", 1, Signal::SIGSTOP)));
        assert_eq!((parse("a:b#x"), parse("a:b=go")), (None, None));
    }
}
