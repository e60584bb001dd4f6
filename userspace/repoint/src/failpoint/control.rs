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
    wanted: env::var("REPOINT_FAILPOINT").ok().and_then(|text| parse(&text)),
    // Opened once: some points are passed in another mount namespace.
    trace: env::var_os("REPOINT_FAILPOINT_TRACE")
        .and_then(|path| File::options().create(true).append(true).open(path).ok()),
    passed: AtomicUsize::new(0),
});

/// What the environment asks for.
struct Control {
    wanted: Option<SlotRequest>,
    trace: Option<File>,
    /// How often the point that is wanted was passed.
    passed: AtomicUsize,
}

/// Where the process is to end or stop.
#[derive(Debug, PartialEq, Eq)]
struct SlotRequest {
    name: String,
    number: usize,
    signal: Signal,
}

fn parse(text: &str) -> Option<SlotRequest> {
    let (point, signal) = match text.split_once('=') {
        None => (text, Signal::SIGKILL),
        Some((point, "stop")) => (point, Signal::SIGSTOP),
        Some(_) => return None,
    };
    let (name, number) = match point.split_once('#') {
        None => (point, 1),
        Some((name, number)) => (name, number.parse().ok()?),
    };
    Some(SlotRequest { name: name.to_owned(), number, signal })
}

pub(super) fn pass(name: &str) {
    let Control { wanted, trace, passed } = &*CONTROL;
    if let Some(mut file) = trace.as_ref() {
        // One write: lines of threads and processes do not mix.
        drop(file.write_all(format!("{name}\n").as_bytes()));
    }
    if let Some(wanted) = wanted.as_ref().filter(|wanted| wanted.name == name)
        && passed.fetch_add(1, Ordering::Relaxed) + 1 == wanted.number
    {
        // The kernel kills or stops before this returns. A signal to the process might be taken by
        // another thread, while this one goes on for some steps.
        raise(wanted.signal).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_named_with_its_passing_and_what_is_to_be_done() {
        let wanted = |name: &str, number, signal| SlotRequest { name: name.into(), number, signal };
        assert_eq!(parse("add:built"), Some(wanted("add:built", 1, Signal::SIGKILL)));
        assert_eq!(parse("add:built#3"), Some(wanted("add:built", 3, Signal::SIGKILL)));
        assert_eq!(parse("a:b#2=stop"), Some(wanted("a:b", 2, Signal::SIGSTOP)));
        assert_eq!(parse("a:b=stop"), Some(wanted("a:b", 1, Signal::SIGSTOP)));
        assert_eq!((parse("a:b#x"), parse("a:b=go")), (None, None));
    }
}
