//! One answer for all who wait for it.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Mutex;

use crate::dispatch::{Refusal, RefusalKind};

/// The last answer to a question. Whoever came before a question was put shares its answer, a
/// failure too; whoever comes later has it put anew. So an answer is never older than the wish for
/// it, and however many wait, at most two questions follow one another.
#[derive(Debug)]
pub(super) struct Shared<T>(Mutex<Option<Answered<T>>>);

#[derive(Debug)]
struct Answered<T> {
    asked: Instant,
    answer: Result<Arc<T>, Told>,
}

/// A refusal as it is told again. Its cause was logged for the first one who heard of it.
#[derive(Debug)]
struct Told {
    kind: RefusalKind,
    message: String,
    reason: Option<&'static str>,
    retry_after: Option<u32>,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Shared<T> {
    /// The answer to a question that is put after this call began.
    ///
    /// # Errors
    /// Those of the question.
    pub(super) async fn get<Q>(&self, question: Q) -> Result<Arc<T>, Refusal>
    where
        Q: Future<Output = Result<T, Refusal>>,
    {
        let arrived = Instant::now();
        let mut last = self.0.lock().await;
        if let Some(answered) = &*last
            && answered.asked >= arrived
        {
            return answered.again();
        }
        let asked = Instant::now();
        let answer = question.await.map(Arc::new);
        *last = Some(Answered {
            asked,
            answer: match &answer {
                Ok(answer) => Ok(Arc::clone(answer)),
                Err(refusal) => Err(Told::of(refusal)),
            },
        });
        answer
    }
}

impl<T> Answered<T> {
    /// The answer, given once more.
    fn again(&self) -> Result<Arc<T>, Refusal> {
        match &self.answer {
            Ok(answer) => Ok(Arc::clone(answer)),
            Err(told) => Err(told.again()),
        }
    }
}

impl Told {
    fn of(refusal: &Refusal) -> Self {
        Self {
            kind: refusal.kind,
            message: refusal.message.clone(),
            reason: refusal.reason,
            retry_after: refusal.retry_after,
        }
    }

    fn again(&self) -> Refusal {
        Refusal {
            reason: self.reason,
            retry_after: self.retry_after,
            ..Refusal::new(self.kind, self.message.clone())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn who_waits_shares_and_who_comes_later_has_it_asked_anew() {
        let shared = Arc::new(Shared::<u32>::default());
        let asked = Arc::new(AtomicU32::new(0));
        let ask = |shared: Arc<Shared<u32>>, asked: Arc<AtomicU32>| async move {
            let question = async {
                tokio::time::sleep(Duration::from_millis(30)).await;
                Ok(asked.fetch_add(1, Ordering::SeqCst))
            };
            shared.get(question).await.map(|answer| *answer).unwrap()
        };
        let waiting: Vec<_> = (0..50)
            .map(|_| tokio::spawn(ask(Arc::clone(&shared), Arc::clone(&asked))))
            .collect();
        for one in waiting {
            assert!(one.await.unwrap() <= 1);
        }
        let before = asked.load(Ordering::SeqCst);
        assert!(before <= 2, "{before}");
        // It came after every question so far.
        assert_eq!(ask(Arc::clone(&shared), Arc::clone(&asked)).await, before);
    }

    #[tokio::test]
    async fn a_failure_is_told_to_all_who_waited() {
        let shared = Arc::new(Shared::<u32>::default());
        let asked = Arc::new(AtomicU32::new(0));
        let ask = |shared: Arc<Shared<u32>>, asked: Arc<AtomicU32>| async move {
            let question = async {
                asked.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(30)).await;
                Err(Refusal::new(RefusalKind::BarmanUnreachable, "away"))
            };
            shared.get(question).await.unwrap_err()
        };
        let waiting: Vec<_> = (0..50)
            .map(|_| tokio::spawn(ask(Arc::clone(&shared), Arc::clone(&asked))))
            .collect();
        for one in waiting {
            let refusal = one.await.unwrap();
            assert_eq!(refusal.kind, RefusalKind::BarmanUnreachable);
            assert_eq!(refusal.message, "away");
        }
        assert!(asked.load(Ordering::SeqCst) <= 2);
    }
}
