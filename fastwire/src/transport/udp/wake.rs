//! Ends a sleep on sockets from another thread.

use std::io;
use std::sync::Arc;
use std::task::Wake;

use crate::sync::atomic::{AtomicBool, Ordering};

/// A file descriptor that becomes readable when a waker is called.
#[derive(Debug)]
pub(super) struct WakeSignal {
    pub(super) signal: Signal,
    /// Raised and not yet lowered: further wakers need not raise it again.
    raised: AtomicBool,
}

impl WakeSignal {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { signal: Signal::new()?, raised: AtomicBool::new(false) })
    }

    /// Called by the sleeper after it woke up, before it looks at its inputs. A waker that comes between the two
    /// lines finds `raised` still set and raises nothing, but the sleeper sees its input: both sides swap.
    pub(super) fn lower(&self) {
        self.signal.lower();
        self.raised.swap(false, Ordering::AcqRel);
    }
}

impl Wake for WakeSignal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.raised.swap(true, Ordering::AcqRel) {
            self.signal.raise();
        }
    }
}

#[cfg(all(any(target_os = "linux", target_os = "android"), not(fastwire_portable)))]
pub(super) use event_fd::Signal;

#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(fastwire_portable))))]
pub(super) use loopback::Signal;

#[cfg(all(any(target_os = "linux", target_os = "android"), not(fastwire_portable)))]
mod event_fd {
    use std::fs::File;
    use std::io::{self, Read, Write};
    use std::os::fd::{AsFd, BorrowedFd};

    use rustix::event::{EventfdFlags, eventfd};

    /// A kernel counter (eventfd(2)).
    #[derive(Debug)]
    pub(crate) struct Signal(File);

    impl Signal {
        pub(crate) fn new() -> io::Result<Self> {
            Ok(Self(File::from(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?)))
        }

        /// Fails only when the counter is full, and then it is raised already.
        pub(crate) fn raise(&self) {
            let _ = (&self.0).write(&1u64.to_ne_bytes());
        }

        pub(crate) fn lower(&self) {
            let _ = (&self.0).read(&mut [0; 8]);
        }
    }

    impl AsFd for Signal {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }
}

#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(fastwire_portable))))]
mod loopback {
    use std::io;
    use std::net::{Ipv4Addr, UdpSocket};

    /// A UDP socket connected to itself: it takes datagrams from nobody else.
    #[derive(Debug)]
    pub(crate) struct Signal(UdpSocket);

    impl Signal {
        pub(crate) fn new() -> io::Result<Self> {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.connect(socket.local_addr()?)?;
            socket.set_nonblocking(true)?;
            Ok(Self(socket))
        }

        /// Fails only when the queue is full, and then it is raised already.
        pub(crate) fn raise(&self) {
            let _ = self.0.send(&[0]);
        }

        pub(crate) fn lower(&self) {
            while self.0.recv(&mut [0; 1]).is_ok() {}
        }
    }

    #[cfg(unix)]
    impl std::os::fd::AsFd for Signal {
        fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
            self.0.as_fd()
        }
    }

    #[cfg(windows)]
    impl std::os::windows::io::AsSocket for Signal {
        fn as_socket(&self) -> std::os::windows::io::BorrowedSocket<'_> {
            self.0.as_socket()
        }
    }
}

#[cfg(all(test, fastwire_model, not(fastwire_portable), any(target_os = "linux", target_os = "android")))]
mod model {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use shuttle::thread;

    use super::*;
    use crate::sync::atomic::AtomicUsize;
    use crate::sync::model::check;

    fn is_raised(wake: &WakeSignal) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(&wake.signal, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
    }

    #[test]
    fn model_whoever_wakes_the_sleeper_is_seen_by_it() {
        check(|| {
            let (wake, inputs) = (Arc::new(WakeSignal::new().unwrap()), Arc::new(AtomicUsize::new(0)));
            let wakers: Vec<_> = (0..3)
                .map(|_| {
                    let (wake, inputs) = (Arc::clone(&wake), Arc::clone(&inputs));
                    thread::spawn(move || {
                        inputs.fetch_add(1, Ordering::SeqCst);
                        wake.wake_by_ref();
                    })
                })
                .collect();
            let mut seen = 0;
            let mut turn = || {
                if is_raised(&wake) {
                    wake.lower();
                    seen = inputs.load(Ordering::SeqCst);
                }
            };
            for _ in 0..3 {
                turn();
                thread::yield_now();
            }
            wakers.into_iter().for_each(|waker| waker.join().unwrap());
            turn();
            assert_eq!(seen, 3);
        });
    }
}
