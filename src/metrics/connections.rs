//! Counts who is connected to the service, who is not let in, and who is cut off.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

type ByReason = Family<[(&'static str, &'static str); 1], Counter>;

#[derive(Clone, Default)]
pub struct Connections {
    open: Gauge,
    refused: ByReason,
    cut: ByReason,
}

impl Connections {
    pub fn register(&self, registry: &mut Registry) {
        registry.register("connections", "Connections that are open", self.open.clone());
        let help = "Connections beyond a bound, which may ask for probes alone, by the bound";
        registry.register("connections_refused", help, self.refused.clone());
        let help = "Connections that were cut off, by the reason";
        registry.register("connections_cut", help, self.cut.clone());
    }

    /// Counted until what is returned is dropped.
    pub fn opened(&self) -> Open {
        self.open.inc();
        Open(self.open.clone())
    }

    pub fn refused(&self, bound: &'static str) {
        self.refused.get_or_create(&[("reason", bound)]).inc();
    }

    pub fn cut(&self, reason: &'static str) {
        self.cut.get_or_create(&[("reason", reason)]).inc();
    }
}

pub struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
