//! The last answer of a process that cannot go on: a CNI error on standard output.
//!
//! By default each of these ends a process without an answer: a signal of the kernel where the
//! stack cannot grow or a file would be too large, a refused allocation, and a panic. What was
//! begun is on record, for the DEL that follows a failed ADD.

use std::{panic, ptr};

/// Bytes of the stack on which the handler of a stack that cannot grow runs: it makes two system calls,
/// and the kernel saves the registers there, vector registers included (`AT_MINSIGSTKSZ`).
const STACK: usize = 16 << 10;

/// What is printed where the stack cannot grow. The codes are `ErrorCode::NODE_FAILURE`.
const NO_STACK: &[u8] =
    b"{\"cniVersion\":\"1.1.0\",\"code\":100,\"msg\":\"the plugin's stack cannot grow (SIGSEGV): raise the \
    limit of the stack (RLIMIT_STACK, `ulimit -s`) or of the address space (RLIMIT_AS, `ulimit -v`); if they \
    are high, it is a fault of the plugin\"}\n";
/// What is printed where memory is refused: nothing can be allocated to make the text.
const NO_MEMORY: &[u8] =
    b"{\"cniVersion\":\"1.1.0\",\"code\":100,\"msg\":\"the plugin has no memory left: raise the limit of its \
    address space (RLIMIT_AS, `ulimit -v`) or data (RLIMIT_DATA, `ulimit -d`)\"}\n";

/// Prepares the process: three system calls, of the 50 or so of a call.
pub fn prepare() {
    static mut ON_SIGNAL: [u8; STACK] = [0; STACK];
    let stack =
        libc::stack_t { ss_sp: ptr::addr_of_mut!(ON_SIGNAL).cast(), ss_flags: 0, ss_size: STACK };
    // SAFETY: all zeros is an action without flags and with an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(libc::c_int) = no_stack;
    action.sa_sigaction = handler as libc::sighandler_t;
    action.sa_flags = libc::SA_ONSTACK | libc::SA_RESETHAND;
    // SAFETY: the stack is static, and nothing else uses it; the handler calls what a handler may
    // (signal-safety(7)). Should one of the calls fail, the process is as it was.
    unsafe {
        libc::sigaltstack(&raw const stack, ptr::null_mut());
        libc::sigaction(libc::SIGSEGV, &raw const action, ptr::null_mut());
        // The write fails then, with EFBIG.
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
    panic::set_hook(Box::new(|panicked| {
        let text = panicked.to_string();
        let answer = serde_json::json!({
            "cniVersion": "1.1.0",
            "code": 100,
            "msg": format!("the plugin has a fault: {text}"),
        });
        end(format!("{answer}\n").as_bytes())
    }));
}

extern "C" fn no_stack(_: libc::c_int) {
    end(NO_STACK)
}

/// Prints that there is no memory, and ends the process.
pub fn no_memory() -> ! {
    end(NO_MEMORY)
}

/// Prints a text, and ends the process: it cannot go on.
fn end(text: &[u8]) -> ! {
    // SAFETY: the text is valid for reading; `_exit` returns to nothing.
    unsafe {
        libc::write(libc::STDOUT_FILENO, text.as_ptr().cast(), text.len());
        libc::_exit(1)
    }
}
