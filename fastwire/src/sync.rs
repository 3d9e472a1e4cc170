//! Locks and atomics of what threads share: the standard library's, or a model checker's that tries interleavings of them.
//!
//! `cargo xtask ci model` compiles the unit tests with `--cfg fastwire_model` and runs those whose names contain `model`. Each runs its
//! body under many schedules, the same ones every time; a schedule that breaks a law is printed for `shuttle::replay`. The schedules
//! are of sequential consistency: weaker orders of memory are not tried.

#[cfg(not(all(test, fastwire_model)))]
pub(crate) use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, atomic};

#[cfg(all(test, fastwire_model))]
pub(crate) use shuttle::sync::{Mutex, MutexGuard, PoisonError, RwLock, atomic};

#[cfg(all(test, fastwire_model))]
pub(crate) mod model {
    use std::sync::Arc;
    use std::task::Wake;

    use shuttle::scheduler::PctScheduler;
    use shuttle::{Config, Runner};

    use super::atomic::{AtomicBool, Ordering};

    /// Schedules of each kind.
    const RUNS: usize = 1500;

    /// Runs `body` under schedules drawn at random, and under such as leave a thread at only a few points, which are drawn (Burckhardt
    /// and others 2010, "A randomized scheduler with probabilistic guarantees of finding bugs").
    pub(crate) fn check(body: impl Fn() + Send + Sync + 'static) {
        let body = Arc::new(body);
        let again = Arc::clone(&body);
        shuttle::check_random_with_seed(move || body(), 1, RUNS);
        Runner::new(PctScheduler::new_from_seed(1, 3, RUNS), Config::new()).run(move || again());
    }

    /// What a sleeper's waker sets.
    #[derive(Default)]
    pub(crate) struct Bell(AtomicBool);

    impl Bell {
        /// Whether it rang since the last time.
        pub(crate) fn take(&self) -> bool {
            self.0.swap(false, Ordering::SeqCst)
        }
    }

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
}
