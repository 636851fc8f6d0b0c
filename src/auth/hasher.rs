//! The threads that hash passwords.
//!
//! argon2id needs 19 MiB and some 20 ms a time. A fixed pair of threads does all of it, in memory
//! they keep while there is work and give back after 10 s without; 16 tasks may wait, further ones
//! are told to come back. A task whose caller has gone is not begun.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use super::password::{HashError, Scratch, Stored, Verdict};
use super::secret::Secret;

/// Hashing threads.
const WORKERS: usize = 2;

/// Tasks that may wait for a thread.
const WAITING: usize = 16;

/// Time without work after which a thread gives its memory back.
const IDLE: Duration = Duration::from_secs(10);

/// Checks and makes password hashes on threads of its own; they end when it is dropped.
#[derive(Debug)]
pub(super) struct Hasher {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    pepper: Secret,
    queue: Mutex<Queue>,
    ready: Condvar,
    runs: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    tasks: VecDeque<Task>,
    closed: bool,
}

type Answer<T> = oneshot::Sender<Result<T, HashError>>;

/// Work, and where its outcome goes. A password is kept as a secret while it waits.
#[derive(Debug)]
enum Task {
    Check(Option<Stored>, Secret, Answer<Verdict>),
    Hash(Secret, Answer<String>),
}

impl Hasher {
    /// Starts the threads; they hold no memory yet.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(super) fn new(pepper: Secret) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            pepper,
            queue: Mutex::default(),
            ready: Condvar::new(),
            runs: AtomicU64::new(0),
        });
        let hasher = Self { shared };
        for number in 0..WORKERS {
            let shared = Arc::clone(&hasher.shared);
            let name = format!("hasher-{number}");
            thread::Builder::new()
                .name(name)
                .spawn(move || work(&shared))?;
        }
        Ok(hasher)
    }

    /// Checks a password against what is stored; `None` stands for a user who does not exist.
    /// The cost is the same.
    ///
    /// # Errors
    /// When too many wait, or memory runs out.
    pub(super) async fn check(
        &self,
        stored: Option<Stored>,
        password: &str,
    ) -> Result<Verdict, HashError> {
        let (answer, outcome) = oneshot::channel();
        self.submit(Task::Check(stored, Secret::plain(password), answer))?;
        outcome.await.unwrap_or_else(|_| Err(lost()))
    }

    /// Hashes a new password.
    ///
    /// # Errors
    /// When it is empty, too long or has a control character, when too many wait, or memory runs out.
    pub(super) async fn hash(&self, password: &str) -> Result<String, HashError> {
        let (answer, outcome) = oneshot::channel();
        self.submit(Task::Hash(Secret::plain(password), answer))?;
        outcome.await.unwrap_or_else(|_| Err(lost()))
    }

    /// How many tasks have been done.
    #[must_use]
    pub(super) fn runs(&self) -> u64 {
        self.shared.runs.load(Ordering::Relaxed)
    }

    fn submit(&self, task: Task) -> Result<(), HashError> {
        let mut queue = self.shared.lock();
        if queue.tasks.len() >= WAITING {
            queue.tasks.retain(|task| !task.is_abandoned());
        }
        if queue.tasks.len() >= WAITING {
            return Err(HashError::Busy);
        }
        queue.tasks.push_back(task);
        drop(queue);
        self.shared.ready.notify_one();
        Ok(())
    }
}

impl Drop for Hasher {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.ready.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a task; gives the memory back when none comes for a while. `None`: it is over.
    fn next(&self, scratch: &mut Scratch) -> Option<Task> {
        let mut queue = self.lock();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(task) = queue.tasks.pop_front() {
                return Some(task);
            }
            if scratch.is_held() {
                let wait = self.ready.wait_timeout(queue, IDLE);
                let (guard, timeout) = wait.unwrap_or_else(PoisonError::into_inner);
                queue = guard;
                if timeout.timed_out() && queue.tasks.is_empty() {
                    scratch.release();
                }
            } else {
                let wait = self.ready.wait(queue);
                queue = wait.unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl Task {
    fn is_abandoned(&self) -> bool {
        match self {
            Self::Check(_, _, answer) => answer.is_closed(),
            Self::Hash(_, answer) => answer.is_closed(),
        }
    }

    fn run(self, pepper: &Secret, scratch: &mut Scratch) {
        match self {
            Self::Check(stored, password, answer) => {
                let outcome = scratch.check(pepper, stored.as_ref(), text(&password));
                drop(answer.send(outcome));
            }
            Self::Hash(password, answer) => {
                drop(answer.send(scratch.hash(pepper, text(&password))));
            }
        }
    }
}

/// The password in a task; it went in as text.
fn text(password: &Secret) -> &str {
    std::str::from_utf8(password.bytes()).unwrap_or_default()
}

fn work(shared: &Shared) {
    let mut scratch = Scratch::default();
    while let Some(task) = shared.next(&mut scratch) {
        if task.is_abandoned() {
            continue;
        }
        shared.runs.fetch_add(1, Ordering::Relaxed);
        // A panic must not take the thread along: its caller gets an error, the next one a hash.
        let ran = catch_unwind(AssertUnwindSafe(|| task.run(&shared.pepper, &mut scratch)));
        if ran.is_err() {
            scratch.release();
        }
    }
}

fn lost() -> HashError {
    HashError::Failed("the hashing thread gave no answer".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::task::{Context, Poll, Waker};

    fn hasher() -> Hasher {
        Hasher::new(Secret::plain("pepper")).unwrap()
    }

    #[tokio::test]
    async fn a_missing_user_costs_a_run_like_any_other() {
        let hasher = hasher();
        let stored = Stored::parse(&hasher.hash("right").await.unwrap());
        let md5 = Stored::parse("26588e932c7ccfa1df309280702fe1b5");
        let bad = Stored::parse("nonsense");
        let long = "x".repeat(5000);
        let tries = [
            (None, "right"),
            (Some(bad), "right"),
            (Some(stored.clone()), "wrong"),
            (Some(stored.clone()), "nul\0"),
            (Some(stored.clone()), ""),
            (Some(stored), long.as_str()),
            (Some(md5), "wrong"),
        ];
        for (count, (stored, password)) in tries.into_iter().enumerate() {
            let before = hasher.runs();
            assert_eq!(before, 1 + u64::try_from(count).unwrap());
            let verdict = hasher.check(stored, password).await.unwrap();
            assert_eq!((verdict, hasher.runs()), (Verdict::Wrong, before + 1));
        }
    }

    #[tokio::test]
    async fn what_the_queue_cannot_hold_is_told_to_come_back() {
        let hasher = hasher();
        let mut context = Context::from_waker(Waker::noop());
        let mut waiting = Vec::new();
        let mut busy = 0;
        for _ in 0..60 {
            let mut check = Box::pin(hasher.check(None, "x"));
            match check.as_mut().poll(&mut context) {
                Poll::Ready(Err(HashError::Busy)) => busy += 1,
                Poll::Ready(other) => panic!("{other:?}"),
                Poll::Pending => waiting.push(check),
            }
        }
        assert!(
            busy > 0 && waiting.len() >= WAITING,
            "{busy} {}",
            waiting.len()
        );
        for check in waiting {
            assert_eq!(check.await.unwrap(), Verdict::Wrong);
        }
        assert_eq!(hasher.runs(), 60 - busy);
    }

    #[tokio::test]
    async fn a_task_whose_caller_left_makes_room() {
        let hasher = hasher();
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..100 {
            let mut check = Box::pin(hasher.check(None, "x"));
            drop(check.as_mut().poll(&mut context));
        }
        assert_eq!(hasher.check(None, "x").await.unwrap(), Verdict::Wrong);
        assert!(hasher.runs() < 100);
    }
}
