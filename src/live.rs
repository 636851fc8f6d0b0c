//! A value that can be replaced while it is in use.
//!
//! What of the configuration counts without a restart is held in cells of this kind by the parts
//! that use it. Whoever takes a value keeps it as it was; whoever takes one later gets the new one.

use std::sync::{Arc, PoisonError, RwLock};

/// A value that can be replaced. The lock is held for the time of a copied pointer.
#[derive(Debug, Default)]
pub struct Live<T>(RwLock<Arc<T>>);

impl<T> Live<T> {
    /// A cell with a value.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self(RwLock::new(Arc::new(value)))
    }

    /// The value as it is now. Take it once where two looks at it have to agree.
    #[must_use]
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the value.
    pub fn set(&self, value: T) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_took_a_value_keeps_it_and_who_comes_later_gets_the_new_one() {
        let cell = Live::new((1, 1));
        let taken = cell.get();
        std::thread::scope(|scope| {
            scope.spawn(|| (2..1000).for_each(|number| cell.set((number, number))));
            for _ in 0..1000 {
                let value = cell.get();
                assert_eq!(value.0, value.1);
            }
        });
        assert_eq!((*taken, *cell.get()), ((1, 1), (999, 999)));
    }
}
