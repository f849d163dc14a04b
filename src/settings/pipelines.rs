use std::{borrow::Borrow, collections::BTreeMap};

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
    /// A pipeline for each of these names: a map, by reference or by value, or any other pairs of name and settings.
    ///
    /// ```
    /// use std::collections::HashMap;
    /// use withstand::{pipeline::PipelineSettings, settings::Pipelines};
    ///
    /// # fn main() -> Result<(), withstand::ConfigError> {
    /// let settings = HashMap::from([("users".to_owned(), PipelineSettings::standard())]);
    /// let pipelines = Pipelines::build(&settings)?;
    /// let pipelines = Pipelines::build([("users", PipelineSettings::standard())])?;
    /// # drop(pipelines);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// One [`ConfigError`] that names every bad setting by its path: `users.circuit_breaker.failure_rate`. A name that
    /// comes twice is one too.
    pub fn build<N, S>(settings: impl IntoIterator<Item = (N, S)>) -> Result<Self, ConfigError>
    where
        N: AsRef<str>,
        S: Borrow<PipelineSettings>,
    {
        let mut check = Check::default();
        let settings = by_name(settings, &mut check);
        let pipelines = settings.into_iter().filter_map(|(name, settings)| {
            let pipeline = check.part(&name, settings.borrow().build(Name::copied(&name)))?;
            Some((name, pipeline))
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

    /// The pipeline of this name, for a service that cannot do without it.
    ///
    /// ```
    /// # use withstand::{Pipeline, settings::Pipelines};
    /// # let pipelines = Pipelines::of([Pipeline::standard("users"), Pipeline::standard("orders")]);
    /// assert_eq!(pipelines.require("users").unwrap().name(), "users");
    /// let error = pipelines.require("stock").unwrap_err();
    /// assert_eq!(error.to_string(), "bad settings: stock is missing; the pipelines are orders, users");
    /// ```
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] that names the pipeline, and those that are there.
    pub fn require(&self, name: &str) -> Result<&Pipeline, ConfigError> {
        self.get(name).ok_or_else(|| {
            let names: Vec<_> = self.0.pipelines.keys().map(String::as_str).collect();
            let why = format!("is missing; the pipelines are {}", names.join(", "));
            ConfigError::of_set(name, why)
        })
    }

    /// All of them, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Pipeline> {
        self.0.pipelines.values()
    }

    /// The settings that are in force now.
    pub fn settings(&self) -> BTreeMap<String, PipelineSettings> {
        self.0.pipelines.iter().map(|(name, pipeline)| (name.clone(), pipeline.settings())).collect()
    }

    /// Changes the settings of all pipelines, or of none. It takes what [`build`](Self::build) takes. See
    /// [`Pipeline::apply`].
    ///
    /// # Errors
    ///
    /// One [`ConfigError`] that names every bad setting by its path; a pipeline that is missing, or that is not in the
    /// set, is one too. Then nothing has changed.
    pub fn apply<N, S>(&self, settings: impl IntoIterator<Item = (N, S)>) -> Result<(), ConfigError>
    where
        N: AsRef<str>,
        S: Borrow<PipelineSettings>,
    {
        let mut check = Check::default();
        let settings = by_name(settings, &mut check);
        for (name, pipeline) in &self.0.pipelines {
            match settings.get(name) {
                Some(settings) => check.inside(name, |check| pipeline.check(settings.borrow(), check)),
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
                pipeline.apply_checked(settings.borrow());
            }
        }
        Ok(())
    }
}

/// In the order of the names, so that an error is the same at each run.
fn by_name<N: AsRef<str>, S>(settings: impl IntoIterator<Item = (N, S)>, check: &mut Check) -> BTreeMap<String, S> {
    let mut by_name = BTreeMap::new();
    for (name, settings) in settings {
        let name = name.as_ref();
        if by_name.insert(name.to_owned(), settings).is_some() {
            check.refuse(name, "comes twice");
        }
    }
    by_name
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
