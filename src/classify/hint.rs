use std::time::Duration;

use super::verdict::Verdict;

/// What an answer's headers say.
///
/// Sealed: its methods may change.
pub trait Hint<T>: sealed::Hint {
    /// How long the dependency asks to be left alone.
    fn hint(&self, answer: &T) -> Option<Duration>;

    /// The verdict, where the headers decide it and not the status.
    fn verdict(&self, answer: &T) -> Option<Verdict> {
        let _ = answer;
        None
    }
}

pub(crate) mod sealed {
    pub trait Hint {}
    impl Hint for () {}
    impl<T> Hint for fn(&T) -> Option<std::time::Duration> {}
}

impl<T> Hint<T> for () {
    fn hint(&self, _: &T) -> Option<Duration> {
        None
    }
}

impl<T> Hint<T> for fn(&T) -> Option<Duration> {
    fn hint(&self, answer: &T) -> Option<Duration> {
        self(answer)
    }
}
