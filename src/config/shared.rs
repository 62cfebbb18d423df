//! The configuration that holds now, for all who read, follow or change it.

use std::convert::Infallible;
use std::sync::Arc;

use tokio::sync::watch;

use super::options::Config;
use super::runtime_changes::RuntimeChanges;

/// Swapped whole: a reader sees one configuration or the other, never a mixture.
pub struct SharedConfig {
    current: watch::Sender<Arc<Config>>,
    /// Without the changes made at run time.
    base: Arc<Config>,
}

impl SharedConfig {
    pub fn new(config: Config) -> Self {
        let base = Arc::new(config);
        Self { current: watch::Sender::new(base.clone()), base }
    }

    pub fn current(&self) -> Arc<Config> {
        self.current.borrow().clone()
    }

    pub fn subscribe(&self) -> watch::Receiver<Arc<Config>> {
        self.current.subscribe()
    }

    /// Puts in the place of the configuration what `change` makes of it, read, checked and written
    /// under one lock: of two changes at once neither loses what the other did. What is equal, or
    /// an error, changes nothing.
    pub fn update<T, E>(
        &self,
        change: impl FnOnce(&Config) -> Result<(Config, T), E>,
    ) -> Result<T, E> {
        let mut change = Some(change);
        let mut result = None;
        self.current.send_if_modified(|current| {
            let Some(changed) = change.take().map(|change| change(current)) else { return false };
            let (config, value) = match changed {
                Ok(changed) => changed,
                Err(error) => {
                    result = Some(Err(error));
                    return false;
                }
            };
            result = Some(Ok(value));
            let differs = config != **current;
            if differs {
                *current = Arc::new(config);
            }
            differs
        });
        match result {
            Some(result) => result,
            None => unreachable!("the closure is called once"),
        }
    }

    /// What has been changed at run time.
    pub fn changes(&self) -> RuntimeChanges {
        RuntimeChanges::between(&self.base, &self.current())
    }

    /// Takes over the changes that an earlier process or another replica has stored, instead of
    /// those made here.
    pub fn adopt(&self, changes: &RuntimeChanges) {
        let adopted = changes.onto(&self.base);
        let Ok(()) = self.update(|_| Ok::<_, Infallible>((adopted, ())));
    }
}
