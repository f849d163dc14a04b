//! The core: in which order entries were last used, as far as it was told. Time is a number.
//!
//! A look-up does not come here: it only writes the time into its entry. So the place that an entry has here may be
//! older than its last use, but never younger. Whoever looks for the entry that has been idle for the longest time
//! begins at the front, and moves back what was used since.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
};

/// Where an entry is: by its last use. The number tells two of one moment apart, and never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) last_used: u64,
    pub(super) number: u64,
}

#[derive(Debug)]
pub(super) struct IdleOrder<T> {
    entries: BTreeMap<Place, T>,
}

impl<T> IdleOrder<T> {
    pub(super) fn new() -> Self {
        Self { entries: BTreeMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn insert(&mut self, place: Place, entry: T) {
        self.entries.insert(place, entry);
    }

    pub(super) fn remove(&mut self, place: Place) -> Option<T> {
        self.entries.remove(&place)
    }

    /// The first entry behind this place that was not used since it has its place; the last use is told by `last_use`.
    /// Those that were used are moved back on the way.
    ///
    /// A use that is later than `now` counts as one at `now`. So an entry moves at most once for one `now`, however often
    /// other threads use it meanwhile.
    pub(super) fn next(
        &mut self,
        behind: Option<Place>,
        now: u64,
        last_use: impl Fn(&T) -> u64,
        moved: impl Fn(&T, Place),
    ) -> Option<(Place, &T)> {
        let place = loop {
            let (place, entry) = match behind {
                None => self.entries.first_key_value()?,
                Some(behind) => self.entries.range((Excluded(behind), Unbounded)).next()?,
            };
            let (place, used) = (*place, last_use(entry).min(now));
            if used <= place.last_used {
                break place;
            }
            let to = Place { last_used: used, ..place };
            moved(entry, to);
            if let Some(entry) = self.entries.remove(&place) {
                self.entries.insert(to, entry);
            }
        };
        self.entries.get(&place).map(|entry| (place, entry))
    }
}
