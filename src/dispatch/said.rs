//! What Barman said, once for all who asked for it at the same time, and the answers made of it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::{Refusal, Text};
use crate::blocking;
use crate::jobs::direct::Finished;
use crate::store::record::DataForm;

/// What an answer is made of an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// The answer of a command, with its data in this form.
    Answer(DataForm),
    /// The document that the output is, as pg-backup-api sends it.
    Document,
}

/// An answer that is made once, by the first who wants it.
type Made = Arc<OnceCell<Result<Text, Arc<Refusal>>>>;

/// A run that has ended. It lasts as long as somebody works on an answer.
#[derive(Debug)]
pub struct Said {
    finished: Finished,
    made: Mutex<Vec<(Form, Made)>>,
}

impl Said {
    pub(super) fn new(finished: Finished) -> Self {
        Self {
            finished,
            made: Mutex::default(),
        }
    }

    /// How it ended, and what it printed, masked and capped.
    #[must_use]
    pub fn finished(&self) -> &Finished {
        &self.finished
    }

    /// The answer in a form. It is made once, by the `make` of somebody who wants it: all who want
    /// the same form make it alike.
    ///
    /// # Errors
    /// Those of `make`.
    pub async fn made<F>(self: &Arc<Self>, form: Form, make: F) -> Result<Text, Refusal>
    where
        F: FnOnce(&Finished) -> Result<Vec<u8>, Refusal> + Send + 'static,
    {
        let cell = self.cell(form);
        let text = cell.get_or_init(async || {
            let said = Arc::clone(self);
            let answer = blocking::run(move || make(&said.finished)).await;
            let answer = answer.map_err(Refusal::internal).flatten();
            answer.map(Text::from).map_err(Arc::new)
        });
        text.await
            .clone()
            .map_err(|refusal| Refusal::told(&refusal))
    }

    fn cell(&self, form: Form) -> Made {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, cell)) = made.iter().find(|(of, _)| *of == form) {
            return Arc::clone(cell);
        }
        let cell = Made::default();
        made.push((form, Arc::clone(&cell)));
        cell
    }
}
