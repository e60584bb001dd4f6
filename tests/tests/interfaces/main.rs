//! Interfaces that are not alone: guests behind them, filters of others on them, several in one
//! container.
#![cfg(test)]
#![expect(unsafe_code, reason = "a tap is attached by ioctl")]

mod guests;
mod machines;
mod others;
mod services;
mod several;

use repoint_tests::{dist, missing, web::BUSYBOX};

fn skipped() -> bool {
    missing([dist::plugin(), dist::cli(), BUSYBOX.into()])
}
