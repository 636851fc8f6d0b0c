//! One answer for all who ask the same at the same time, and never an answer older than the asking.
//!
//! Whoever asks while nothing is on has the question put at once. Whoever asks while it is being
//! answered may not have that answer, which can be of a time before they asked; they wait for the
//! next one, together. So however many ask, one question is on at a time, nobody waits for more than
//! two of them, and who comes back with every answer shares each of them with all others who do.
//!
//! Nothing is kept. An answer is gone when those who waited for it have it or have gone away, and
//! with the last of them goes every trace of the question.

mod collecting;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;
use tracing::Instrument;

pub use collecting::Collecting;
use collecting::Roll;

/// Nobody knows the answer any more: whoever worked on it died, or the service ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the question was given up before there was an answer; ask again")]
pub struct GivenUp;

/// Questions by their key, each with those who wait for its next answer.
pub struct Fresh<K, T> {
    asked: Arc<Mutex<HashMap<K, Waiting<T>>>>,
    collecting: Collecting,
}

/// Who waits for the next answer to a question. It is there from the first who asks to the moment
/// when an answer has left and nobody waits for another.
struct Waiting<T> {
    /// Finds the answer: the way of the first who waits.
    question: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    callers: Vec<oneshot::Sender<T>>,
    /// Who is waited for, while somebody is.
    roll: Option<Roll>,
}

impl<K, T> Clone for Fresh<K, T> {
    fn clone(&self) -> Self {
        Self {
            asked: Arc::clone(&self.asked),
            collecting: self.collecting,
        }
    }
}

impl<K, T> fmt::Debug for Fresh<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fresh").finish_non_exhaustive()
    }
}

impl<K, T> Fresh<K, T> {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(collecting: Collecting) -> Self {
        Self {
            asked: Arc::default(),
            collecting,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Waiting<T>>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, T> Fresh<K, T>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    T: Clone + Send + 'static,
{
    /// The answer to a question that is put after this was called. `question` is called when nobody
    /// else waits for that answer yet; what it returns goes on when the caller goes away.
    ///
    /// Whether the caller may know the answer is decided before.
    ///
    /// # Errors
    /// When whoever looked for the answer died.
    pub async fn get<Q>(&self, key: &K, question: impl FnOnce() -> Q) -> Result<T, GivenUp>
    where
        Q: Future<Output = T> + Send + 'static,
    {
        let (caller, answer) = oneshot::channel();
        let is_first = self.join(key, caller, question);
        if is_first {
            let seen_to = SeenTo {
                fresh: self.clone(),
                key: key.clone(),
                is_over: false,
            };
            tokio::spawn(seen_to.serve());
        }
        answer.await.map_err(|_| GivenUp)
    }

    /// Puts a caller among those who wait; says whether somebody has to see to the question now.
    fn join<Q>(&self, key: &K, caller: oneshot::Sender<T>, question: impl FnOnce() -> Q) -> bool
    where
        Q: Future<Output = T> + Send + 'static,
    {
        let mut asked = self.lock();
        let is_first = !asked.contains_key(key);
        let is_asked = asked
            .get(key)
            .is_some_and(|waiting| waiting.question.is_some());
        // Before anything is noted: one that dies while it is made leaves nothing that others would
        // wait for.
        let question = (!is_asked).then(|| Box::pin(question().in_current_span()));
        if is_first {
            asked.insert(key.clone(), Waiting::nobody());
        }
        let Some(waiting) = asked.get_mut(key) else {
            return false;
        };
        if let Some(question) = question {
            waiting.question = Some(question);
        }
        waiting.callers.push(caller);
        if let Some(roll) = &waiting.roll {
            roll.call(waiting.callers.len());
        }
        is_first
    }

    /// Takes the question and those who wait; who comes from here on has come after it was put.
    /// Nothing when nobody waits: then the question is forgotten.
    #[expect(clippy::type_complexity, reason = "the two parts of what waits")]
    fn begin(
        &self,
        key: &K,
    ) -> Option<(
        Pin<Box<dyn Future<Output = T> + Send>>,
        Vec<oneshot::Sender<T>>,
    )> {
        let mut asked = self.lock();
        let waiting = asked.get_mut(key)?;
        waiting.callers.retain(|caller| !caller.is_closed());
        let question = waiting.question.take();
        if let Some(question) = question
            && !waiting.callers.is_empty()
        {
            return Some((question, std::mem::take(&mut waiting.callers)));
        }
        asked.remove(key);
        None
    }
}

/// A question that somebody sees to.
struct SeenTo<K: Eq + Hash, T> {
    fresh: Fresh<K, T>,
    key: K,
    is_over: bool,
}

impl<K, T> SeenTo<K, T>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    T: Clone + Send + 'static,
{
    /// Has the question answered until nobody waits for it.
    async fn serve(mut self) {
        let (fresh, key) = (&self.fresh, &self.key);
        if fresh.collecting == Collecting::Always {
            collecting::a_moment().await;
        }
        while let Some((question, callers)) = fresh.begin(key) {
            let began = Instant::now();
            // In a task of its own: when it dies, those who come later still have somebody.
            let answer = tokio::spawn(question).await;
            let took = began.elapsed();
            let mut heard = 0;
            if let Ok(answer) = answer {
                for caller in callers {
                    heard += usize::from(caller.send(answer.clone()).is_ok());
                }
            }
            fresh.collect(key, heard, took).await;
        }
        self.is_over = true;
    }
}

/// Whoever sees to a question may die; nobody must wait for them then. Those who do are told, and
/// who comes next is the first again.
impl<K: Eq + Hash, T> Drop for SeenTo<K, T> {
    fn drop(&mut self) {
        if !self.is_over {
            let waiting = self.fresh.lock().remove(&self.key);
            drop(waiting);
        }
    }
}

impl<T> Waiting<T> {
    fn nobody() -> Self {
        Self {
            question: None,
            callers: Vec::new(),
            roll: None,
        }
    }
}
