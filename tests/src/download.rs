//! A download over TCP that goes on until it is dropped.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{traffic::Host, wait};

/// How long one read or write may wait: the threads look as often whether the download is over.
const TURN: Duration = Duration::from_millis(100);
/// How long a download may take to go on: TCP waits longer after each packet that is lost.
const LIMIT: Duration = Duration::from_secs(20);

/// A server that sends without end to its client.
#[derive(Debug)]
pub struct Download {
    bytes: Arc<AtomicU64>,
    done: Arc<AtomicBool>,
    ends: Vec<JoinHandle<()>>,
}

impl Download {
    /// Starts a download by `client` from `server` at this address.
    pub fn start(client: &Host, server: &Host, address: SocketAddr) -> Result<Self> {
        let listener = server.run(|| TcpListener::bind(address).context("listen"))?;
        let target = listener.local_addr().context("address of a listener")?;
        let client_end = client.run(|| TcpStream::connect(target).context("connect"))?;
        let (server_end, _) = listener.accept().context("accept")?;
        client_end.set_read_timeout(Some(TURN)).context("limit reads")?;
        server_end.set_write_timeout(Some(TURN)).context("limit writes")?;
        let (bytes, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (sender_done, receiver_done) = (Arc::clone(&done), Arc::clone(&done));
        let count = Arc::clone(&bytes);
        let ends = vec![
            thread::spawn(move || send(server_end, &sender_done)),
            thread::spawn(move || receive(client_end, &count, &receiver_done)),
        ];
        Ok(Self { bytes, done, ends })
    }

    /// Bytes that have arrived.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Waits until the download runs: until a million bytes more have arrived.
    pub fn wait_until_it_runs(&self) -> Result<()> {
        let before = self.received();
        wait::until(LIMIT, "the download runs", || {
            let more = self.received() - before;
            ensure!(more > 1_000_000, "{more} bytes");
            Ok(())
        })
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        for end in self.ends.drain(..) {
            if end.join().is_err() {
                eprintln!("an end of a download panicked");
            }
        }
    }
}

fn send(mut stream: TcpStream, done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        // A stream that is stopped takes nothing for a while.
        drop(stream.write(&[7; 4096]));
    }
}

fn receive(mut stream: TcpStream, bytes: &AtomicU64, done: &AtomicBool) {
    let mut buffer = vec![0; 65_536];
    while !done.load(Ordering::Relaxed) {
        if let Ok(read) = stream.read(&mut buffer) {
            bytes.fetch_add(read as u64, Ordering::Relaxed);
        }
    }
}
