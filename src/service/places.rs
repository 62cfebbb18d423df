//! Who may be connected: so many in all and so many from one address. Beyond them a few places are
//! kept for probes; whoever comes there last displaces the one who came first, so that a storm of
//! silent connections cannot fill them.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio_util::sync::CancellationToken;

/// Places that are kept for probes: more than clients can connect while one is answered.
const SPARE: usize = 512;
/// More descriptors than this are never asked for.
const MOST_DESCRIPTORS: u64 = 65_536;

/// Why a connection gets no place of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// So many are connected in all.
    Total,
    /// So many are connected from this address.
    Address,
}

impl Full {
    pub fn name(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Address => "address",
        }
    }
}

pub struct Places {
    total: usize,
    from_one_address: usize,
    spare: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
    spare: BTreeMap<u64, CancellationToken>,
    next_spare: u64,
}

impl Places {
    pub fn new(total: usize, from_one_address: usize) -> Arc<Self> {
        Arc::new(Self { total, from_one_address, spare: SPARE, taken: Mutex::default() })
    }

    /// Fewer where the descriptors of the process do not suffice: half of them are for these
    /// places, and a quarter for those that are kept for probes.
    pub fn with_descriptors(total: usize, from_one_address: usize) -> Arc<Self> {
        let descriptors = descriptors();
        let room = descriptors / 2;
        if room < total {
            tracing::warn!(descriptors, max_connections = room, "too few descriptors for more");
        }
        let (total, spare) = (total.min(room), SPARE.min(descriptors / 4));
        Arc::new(Self { total, from_one_address, spare, taken: Mutex::default() })
    }

    pub fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, Full> {
        let address = network(address);
        let mut taken = self.taken.lock();
        if taken.all >= self.total {
            return Err(Full::Total);
        }
        let from_there = taken.by_address.entry(address).or_default();
        if *from_there >= self.from_one_address {
            return Err(Full::Address);
        }
        *from_there += 1;
        taken.all += 1;
        Ok(Place { places: self.clone(), address })
    }

    /// A place for a probe, which the next ones may displace.
    pub fn spare(self: &Arc<Self>) -> SparePlace {
        let displaced = CancellationToken::new();
        let mut taken = self.taken.lock();
        while taken.spare.len() >= self.spare {
            let Some((_, first)) = taken.spare.pop_first() else { break };
            first.cancel();
        }
        let number = taken.next_spare;
        taken.next_spare += 1;
        taken.spare.insert(number, displaced.clone());
        SparePlace { places: self.clone(), number, displaced }
    }
}

/// Whoever has an IPv6 address has 2^64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let bits = address.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        }
        address => address,
    }
}

/// Given back when it is dropped.
pub struct Place {
    places: Arc<Places>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        taken.all -= 1;
        if let Some(from_there) = taken.by_address.get_mut(&self.address) {
            *from_there -= 1;
            if *from_there == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

/// Given back when it is dropped.
pub struct SparePlace {
    places: Arc<Places>,
    number: u64,
    pub displaced: CancellationToken,
}

impl Drop for SparePlace {
    fn drop(&mut self) {
        self.places.taken.lock().spare.remove(&self.number);
    }
}

/// As many file descriptors as this process may have, which it asks for.
fn descriptors() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let most = maximum.unwrap_or(MOST_DESCRIPTORS).min(MOST_DESCRIPTORS);
    let mut descriptors = current.unwrap_or(MOST_DESCRIPTORS);
    if descriptors < most {
        match setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum }) {
            Ok(()) => descriptors = most,
            Err(error) => tracing::warn!(%error, descriptors, "no more descriptors are to be had"),
        }
    }
    usize::try_from(descriptors).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn places_are_bounded_in_all_and_from_one_address_and_given_back() {
        let places = Places::new(3, 2);
        let here = address("10.0.0.1");
        let (first, _second) = (places.take(here).unwrap(), places.take(here).unwrap());
        // The same address, as a socket of both families writes it.
        assert_eq!(places.take(address("::ffff:10.0.0.1")).err(), Some(Full::Address));
        let _third = places.take(address("10.0.0.2")).unwrap();
        assert_eq!(places.take(address("10.0.0.3")).err(), Some(Full::Total));
        drop(first);
        let _fourth = places.take(here).unwrap();
        assert_eq!(places.taken.lock().by_address.len(), 2);
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let places = Places::new(9, 1);
        let _one = places.take(address("2001:db8:1:2::1")).unwrap();
        assert_eq!(places.take(address("2001:db8:1:2:ffff::9")).err(), Some(Full::Address));
        places.take(address("2001:db8:1:3::1")).unwrap();
    }

    #[test]
    fn the_newest_has_a_spare_place_whoever_came_before() {
        let places = Places::new(0, 0);
        let mut storm: Vec<_> = (0..SPARE * 3).map(|_| places.spare()).collect();
        let probe = places.spare();
        assert!(!probe.displaced.is_cancelled());
        let left = storm.iter().filter(|one| !one.displaced.is_cancelled()).count();
        assert_eq!(left, SPARE - 1);
        storm.clear();
        drop(probe);
        assert!(places.taken.lock().spare.is_empty());
    }
}
