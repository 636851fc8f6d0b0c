use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::*;

/// A question that counts how often it was put, and is answered by that number when it may be.
struct Oracle {
    fresh: Fresh<&'static str, u32>,
    put: Arc<AtomicU32>,
    on: Arc<AtomicU32>,
    may_end: Arc<Semaphore>,
}

impl Oracle {
    fn new(collecting: Collecting) -> Self {
        Self {
            fresh: Fresh::new(collecting),
            put: Arc::default(),
            on: Arc::default(),
            may_end: Arc::new(Semaphore::new(0)),
        }
    }

    fn ask(&self, key: &'static str) -> JoinHandle<Result<u32, GivenUp>> {
        let (put, on) = (Arc::clone(&self.put), Arc::clone(&self.on));
        let (fresh, may_end) = (self.fresh.clone(), Arc::clone(&self.may_end));
        tokio::spawn(async move {
            let question = || async move {
                let number = put.fetch_add(1, Ordering::SeqCst) + 1;
                on.fetch_add(1, Ordering::SeqCst);
                may_end.acquire().await.unwrap().forget();
                on.fetch_sub(1, Ordering::SeqCst);
                number
            };
            fresh.get(&key, question).await
        })
    }

    fn waiting(&self, key: &str) -> usize {
        self.fresh
            .lock()
            .get(key)
            .map_or(0, |waiting| waiting.callers.len())
    }

    async fn until(&self, what: impl Fn(&Self) -> bool) {
        let limit = Instant::now() + Duration::from_secs(20);
        while !what(self) {
            assert!(Instant::now() < limit, "it does not come true");
            tokio::task::yield_now().await;
        }
    }

    async fn until_put(&self, times: u32) {
        self.until(|this| this.put.load(Ordering::SeqCst) == times)
            .await;
    }

    async fn until_forgotten(&self) {
        self.until(|this| this.fresh.lock().is_empty()).await;
    }
}

#[tokio::test]
async fn who_comes_while_a_question_is_on_shares_the_next_one_with_all_who_do() {
    let oracle = Oracle::new(Collecting::Returning);
    let first = oracle.ask("a");
    oracle.until_put(1).await;
    let later: Vec<_> = (0..100).map(|_| oracle.ask("a")).collect();
    oracle.until(|this| this.waiting("a") == 100).await;
    assert_eq!(oracle.on.load(Ordering::SeqCst), 1);
    oracle.may_end.add_permits(1);
    assert_eq!(first.await.unwrap(), Ok(1));
    oracle.until_put(2).await;
    assert_eq!(oracle.on.load(Ordering::SeqCst), 1);
    oracle.may_end.add_permits(1);
    for one in later {
        assert_eq!(one.await.unwrap(), Ok(2));
    }
    oracle.until_forgotten().await;
    // Nothing is kept for who comes afterwards.
    oracle.may_end.add_permits(1);
    assert_eq!(oracle.ask("a").await.unwrap(), Ok(3));
    oracle.until_forgotten().await;
}

#[tokio::test]
async fn different_questions_are_on_side_by_side() {
    let oracle = Oracle::new(Collecting::Returning);
    let asked = [oracle.ask("a"), oracle.ask("b")];
    oracle
        .until(|this| this.on.load(Ordering::SeqCst) == 2)
        .await;
    oracle.may_end.add_permits(2);
    for one in asked {
        one.await.unwrap().unwrap();
    }
    oracle.until_forgotten().await;
}

#[tokio::test]
async fn who_goes_away_takes_the_answer_from_nobody() {
    let oracle = Oracle::new(Collecting::Returning);
    let first = oracle.ask("a");
    oracle.until_put(1).await;
    let gone = oracle.ask("a");
    oracle.until(|this| this.waiting("a") == 1).await;
    let stays = oracle.ask("a");
    oracle.until(|this| this.waiting("a") == 2).await;
    // The one whose question is on, and the one whose question is the next.
    first.abort();
    gone.abort();
    assert!(first.await.is_err() && gone.await.is_err());
    oracle.may_end.add_permits(2);
    assert_eq!(stays.await.unwrap(), Ok(2));
    oracle.until_forgotten().await;
}

#[tokio::test]
async fn a_question_that_nobody_waits_for_is_not_put() {
    let oracle = Oracle::new(Collecting::Returning);
    let first = oracle.ask("a");
    oracle.until_put(1).await;
    let gone = oracle.ask("a");
    oracle.until(|this| this.waiting("a") == 1).await;
    gone.abort();
    assert!(gone.await.is_err());
    oracle.may_end.add_permits(1);
    assert_eq!(first.await.unwrap(), Ok(1));
    oracle.until_forgotten().await;
    assert_eq!(oracle.put.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_question_that_dies_is_given_up_for_those_who_joined_it_alone() {
    let fresh = Fresh::<u32, u32>::new(Collecting::Returning);
    let may_die = Arc::new(Semaphore::new(0));
    let dies = tokio::spawn({
        let (fresh, may_die) = (fresh.clone(), Arc::clone(&may_die));
        async move {
            let question = || async move {
                drop(may_die.acquire().await);
                panic!("it dies")
            };
            fresh.get(&1, question).await
        }
    });
    while fresh
        .lock()
        .get(&1)
        .is_none_or(|waiting| waiting.question.is_some())
    {
        tokio::task::yield_now().await;
    }
    let lives = tokio::spawn({
        let fresh = fresh.clone();
        async move { fresh.get(&1, || async { 7 }).await }
    });
    while fresh.lock()[&1].callers.is_empty() {
        tokio::task::yield_now().await;
    }
    may_die.add_permits(1);
    assert_eq!(dies.await.unwrap(), Err(GivenUp));
    assert_eq!(lives.await.unwrap(), Ok(7));
}

/// Clients that ask again as soon as they are answered share every question.
#[tokio::test]
async fn those_who_come_back_at_once_stay_together() {
    let fresh = Fresh::<u32, ()>::new(Collecting::Returning);
    let put = Arc::new(AtomicU32::new(0));
    let clients: Vec<_> = (0..16)
        .map(|_| {
            let (fresh, put) = (fresh.clone(), Arc::clone(&put));
            tokio::spawn(async move {
                for _ in 0..20 {
                    let put = Arc::clone(&put);
                    let question = || async move {
                        put.fetch_add(1, Ordering::SeqCst);
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    };
                    fresh.get(&1, question).await.unwrap();
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    // In two groups that take turns there would be forty; the first one may go by itself.
    let put = put.load(Ordering::SeqCst);
    assert!((20..=30).contains(&put), "{put}");
}

#[test]
fn who_is_alone_is_not_made_to_wait_for_others() {
    let fresh = Fresh::<u32, u32>::new(Collecting::Returning);
    fresh.lock().insert(1, Waiting::nobody());
    assert!(fresh.call_roll(&1, 1).is_none());
    assert!(fresh.call_roll(&1, 0).is_none());
    assert!(fresh.call_roll(&1, 2).is_some());
    let (caller, _answer) = oneshot::channel();
    assert!(!fresh.join(&1, caller, || async { 1 }));
    // One was answered and may come back, another one waits.
    assert!(fresh.call_roll(&1, 1).is_some());
    assert!(fresh.call_roll(&1, 0).is_none());
}

#[tokio::test]
async fn who_collects_always_has_one_question_for_all_who_come_together() {
    let oracle = Oracle::new(Collecting::Always);
    oracle.may_end.add_permits(10);
    let asked: Vec<_> = (0..50).map(|_| oracle.ask("a")).collect();
    for one in asked {
        assert_eq!(one.await.unwrap(), Ok(1));
    }
}

/// An answer that can't be handed out.
struct Unclonable;

impl Clone for Unclonable {
    fn clone(&self) -> Self {
        panic!("it dies")
    }
}

#[tokio::test]
async fn who_sees_to_a_question_and_dies_leaves_nobody_waiting() {
    let fresh = Fresh::<u32, Unclonable>::new(Collecting::Returning);
    let may_end = Arc::new(Semaphore::new(0));
    let ask = |fresh: Fresh<u32, Unclonable>, may_end: Arc<Semaphore>| {
        tokio::spawn(async move {
            let question = || async move {
                may_end.acquire().await.unwrap().forget();
                Unclonable
            };
            fresh.get(&1, question).await.is_err()
        })
    };
    let first = ask(fresh.clone(), Arc::clone(&may_end));
    let is_put = |waiting: &Waiting<_>| waiting.question.is_none();
    while !fresh.lock().get(&1).is_some_and(is_put) {
        tokio::task::yield_now().await;
    }
    // This one waits for the question after the one that is on.
    let second = ask(fresh.clone(), Arc::clone(&may_end));
    while fresh.lock()[&1].callers.is_empty() {
        tokio::task::yield_now().await;
    }
    may_end.add_permits(2);
    let limit = Duration::from_secs(20);
    for asked in [first, second, ask(fresh.clone(), may_end)] {
        let given_up = tokio::time::timeout(limit, asked).await;
        assert!(given_up.expect("nobody is told").unwrap());
    }
    assert!(fresh.lock().is_empty());
}

#[tokio::test]
async fn a_question_that_dies_while_it_is_made_keeps_nobody_from_asking() {
    let fresh = Fresh::<u32, u32>::new(Collecting::Returning);
    let dies = tokio::spawn({
        let fresh = fresh.clone();
        let question = || -> std::future::Ready<u32> { panic!("it dies") };
        async move { fresh.get(&1, question).await }
    });
    assert!(dies.await.is_err());
    let asked = fresh.get(&1, || async { 7 });
    let answer = tokio::time::timeout(Duration::from_secs(20), asked).await;
    assert_eq!(answer.expect("nobody sees to it"), Ok(7));
}
