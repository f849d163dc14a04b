use std::collections::BTreeMap;

use crate::{
    error::{Check, ConfigError, Name},
    pipeline::{Pipeline, PipelineSettings},
    sync::{Arc, Lock},
};

/// A set of pipelines whose settings are read, and changed, together: those of one file.
///
/// Each of them has its name in the set. The set is fixed once it is made. Clones share it.
///
/// ```
/// use std::collections::BTreeMap;
/// use withstand::{pipeline::PipelineSettings, settings::Pipelines};
///
/// # fn main() -> Result<(), withstand::ConfigError> {
/// let names = ["users", "orders"];
/// let mut settings = BTreeMap::from(names.map(|name| (name.to_owned(), PipelineSettings::standard())));
/// let pipelines = Pipelines::build(&settings)?;
/// let users = pipelines.get("users").expect("it is in the set").clone();
///
/// settings.get_mut("users").expect("just made").timeout = None;
/// pipelines.apply(&settings)?;
/// assert_eq!(users.timeout(), None);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Pipelines(Arc<Set>);

#[derive(Debug)]
struct Set {
    pipelines: BTreeMap<String, Pipeline>,
    /// Held while settings are applied.
    changes: Lock<()>,
}

impl Pipelines {
    /// A pipeline for each of these names.
    ///
    /// # Errors
    ///
    /// One [`ConfigError`] that names every bad setting by its path: `users.circuit_breaker.failure_rate`.
    pub fn build(settings: &BTreeMap<String, PipelineSettings>) -> Result<Self, ConfigError> {
        let mut check = Check::default();
        let pipelines = settings.iter().filter_map(|(name, settings)| {
            let pipeline = check.part(name, settings.build(Name::copied(name)))?;
            Some((name.clone(), pipeline))
        });
        let pipelines = pipelines.collect();
        check.finish_all()?;
        Ok(Self::new(pipelines))
    }

    /// A set of pipelines that were built one by one, with listeners for example. Of two that have the same name the
    /// later one is in the set.
    pub fn of(pipelines: impl IntoIterator<Item = Pipeline>) -> Self {
        Self::new(pipelines.into_iter().map(|pipeline| (pipeline.name().to_owned(), pipeline)).collect())
    }

    fn new(pipelines: BTreeMap<String, Pipeline>) -> Self {
        Self(Arc::new(Set { pipelines, changes: Lock::new(()) }))
    }

    /// The pipeline of this name. A classifier and a fallback are views on it: [`Pipeline::classify`].
    pub fn get(&self, name: &str) -> Option<&Pipeline> {
        self.0.pipelines.get(name)
    }

    /// All of them, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Pipeline> {
        self.0.pipelines.values()
    }

    /// The settings that are in force now.
    pub fn settings(&self) -> BTreeMap<String, PipelineSettings> {
        self.0.pipelines.iter().map(|(name, pipeline)| (name.clone(), pipeline.settings())).collect()
    }

    /// Changes the settings of all pipelines, or of none. See [`Pipeline::apply`].
    ///
    /// # Errors
    ///
    /// One [`ConfigError`] that names every bad setting by its path; a pipeline that is missing, or that is not in the
    /// set, is one too. Then nothing has changed.
    pub fn apply(&self, settings: &BTreeMap<String, PipelineSettings>) -> Result<(), ConfigError> {
        let mut check = Check::default();
        for (name, pipeline) in &self.0.pipelines {
            match settings.get(name) {
                Some(settings) => check.inside(name, |check| pipeline.check(settings, check)),
                None => check.refuse(name, "cannot be removed while it is in use"),
            }
        }
        for name in settings.keys().filter(|name| !self.0.pipelines.contains_key(*name)) {
            check.refuse(name, "cannot be added: the set of pipelines is fixed once it is made");
        }
        check.finish_all()?;
        // Two threads that apply settings do not end with some of each.
        let _one_at_a_time = self.0.changes.lock();
        for (name, pipeline) in &self.0.pipelines {
            if let Some(settings) = settings.get(name) {
                pipeline.apply_checked(settings);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[cfg(not(withstand_loom))]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;

    /// Each pipeline alone has a lock. So a thread overtakes another one only in between, which no test can bring about.
    #[test]
    fn c3_who_applies_settings_to_a_set_waits_for_others_that_do() {
        let settings = |timeout| {
            let all = ["orders", "users"].map(|name| {
                let mut settings = PipelineSettings::standard();
                settings.timeout = timeout;
                (name.to_owned(), settings)
            });
            BTreeMap::from(all)
        };
        let pipelines = Pipelines::build(&settings(None)).expect("good settings");
        let (before, after) = (pipelines.settings(), settings(Some(std::time::Duration::from_secs(9))));
        let (begins, wait) = mpsc::channel();
        thread::scope(|scope| {
            let held = pipelines.0.changes.lock();
            let changes = scope.spawn(|| {
                begins.send(()).expect("someone waits");
                pipelines.apply(&after)
            });
            wait.recv().expect("it begins");
            (0..10_000).for_each(|_| thread::yield_now());
            assert_eq!(pipelines.settings(), before);
            drop(held);
            changes.join().expect("no panic").expect("good settings");
        });
        assert_eq!(pipelines.settings(), after);
    }
}
